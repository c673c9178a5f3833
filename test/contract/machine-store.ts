/** What every store of machines does with the log it belongs to: the second part of the event log's contract. */
import type { EventDraft, VmState } from '@vmpulse/wire';
import { describe, expect, test } from 'vitest';
import type { StoredDocument } from '../../packages/server/src/machine-record.ts';
import type { EventLogFixture } from './event-log.ts';
import {
  holdDraft,
  holdEndedDraft,
  machineRecord,
  machineReference,
  resumedDraft,
  runningDraft,
  stoppedDraft,
  testTimeMs,
} from '../support/machines.ts';

/** Registers the part about machines. `start` opens the log under test. */
export function describeMachines(start: () => Promise<EventLogFixture>): void {
  describe('machines', () => {
    test('are stored with the event, changed by it, and removed by it', async () => {
      const { log } = await start();
      const created = (n: number): EventDraft => ({
        type: 'vmCreated',
        vm: machineReference(n),
        timeMs: testTimeMs,
        data: { hypervisor: 'fake' },
      });
      await log.append(created(1), { put: machineRecord(1) });
      await log.append(created(2), { put: machineRecord(2) });
      await log.putMachine(machineRecord(2, { runningAtQuit: true }));
      await log.append(runningDraft(1));
      expect(await log.loadMachines()).toEqual([
        { record: machineRecord(1), state: 'running', conditions: [] },
        { record: machineRecord(2, { runningAtQuit: true }), state: 'turnedOff', conditions: [] },
      ]);
      const deleted: EventDraft = {
        type: 'vmDeleted',
        vm: machineReference(1),
        timeMs: testTimeMs,
        data: {},
      };
      await log.append(deleted, { remove: machineReference(1).id });
      expect((await log.loadMachines()).map(({ record }) => record.id)).toEqual([machineReference(2).id]);
      // The same id anew begins anew.
      await log.putMachine(machineRecord(1));
      expect((await log.loadMachines())[0]).toEqual({
        record: machineRecord(1),
        state: 'turnedOff',
        conditions: [],
      });
    });

    test('have the state and conditions of their id, also of events from before they were stored', async () => {
      const { log } = await start();
      await log.append(runningDraft(1));
      await log.append(stoppedDraft(1));
      await log.putMachine(machineRecord(1));
      expect(await log.loadMachines()).toMatchObject([
        { state: 'running', conditions: [{ condition: 'heartbeatStopped', seq: 2 }] },
      ]);
    });

    test('have a condition open once: the first opening counts, closing what is not open does nothing', async () => {
      const { log } = await start();
      const { evidence } = stoppedDraft(1).data as { evidence: never };
      const vm = machineReference(1);
      await log.putMachine(machineRecord(1));
      const conditions = async (): Promise<unknown> =>
        (await log.loadMachines())[0]?.conditions.map(({ condition, seq }) => [condition, seq]);
      await log.append(resumedDraft(1));
      expect(await conditions()).toEqual([]);
      await log.append(stoppedDraft(1, testTimeMs + 1));
      await log.append(stoppedDraft(1, testTimeMs + 2));
      await log.append({
        type: 'visibilityLost',
        vm,
        timeMs: testTimeMs,
        data: { verdict: 'unknown', reason: 'stopped', evidence },
      });
      await log.append({
        type: 'additionsStopped',
        vm,
        timeMs: testTimeMs,
        data: { cause: 'bye', evidence },
      });
      await log.append(stoppedDraft(2));
      expect(await conditions()).toEqual([
        ['heartbeatStopped', 2],
        ['visibilityLost', 4],
        ['additionsStopped', 5],
      ]);
      expect((await log.loadMachines())[0]?.conditions[0]?.sinceMs).toBe(testTimeMs + 1);
      await log.append(resumedDraft(1));
      await log.append({ type: 'visibilityRegained', vm, timeMs: testTimeMs, data: { outageMs: 1 } });
      expect(await conditions()).toEqual([['additionsStopped', 5]]);
      await log.append({ type: 'vmDeleted', vm, timeMs: testTimeMs, data: {} });
      expect(await conditions()).toEqual([]);
    });

    test('have the verdict of an open stop that was told last, and none where no stop is open', async () => {
      const { log } = await start();
      await log.putMachine(machineRecord(1));
      const verdicts = async (): Promise<unknown> =>
        (await log.loadMachines())[0]?.conditions.map(({ seq, verdict }) => [seq, verdict]);
      await log.append(stoppedDraft(1));
      expect(await verdicts()).toEqual([[1, 'hung']]);
      const { evidence } = stoppedDraft(1).data as { evidence: never };
      const exited: EventDraft = {
        type: 'heartbeatStopped',
        vm: machineReference(1),
        timeMs: testTimeMs,
        data: { verdict: 'exited', cause: 'processExit', evidence },
      };
      await log.append(exited);
      await log.append({
        type: 'visibilityLost',
        vm: machineReference(1),
        timeMs: testTimeMs,
        data: { verdict: 'unknown', reason: 'stopped', evidence },
      });
      expect(await verdicts()).toEqual([
        [1, 'exited'],
        [3, undefined],
      ]);
      await log.append(resumedDraft(1));
      await log.append(stoppedDraft(1));
      expect(await verdicts()).toEqual([
        [3, undefined],
        [5, 'hung'],
      ]);
    });

    test('have no verdict of an open stop once the guest was reset or turned on, until another is told', async () => {
      const { log } = await start();
      await log.putMachine(machineRecord(1));
      const vm = machineReference(1);
      const reset = { reason: 'host-qmp-system-reset', byGuest: false };
      const changed = (state: VmState, previousState: VmState = 'running') =>
        ({ state, stateCode: 3, previousState }) as const;
      const stops = async (): Promise<unknown> =>
        (await log.loadMachines())[0]?.conditions.map(({ seq, sinceMs, verdict }) => [seq, sinceMs, verdict]);
      const told = [[1, testTimeMs, 'hung']];
      const untold = [[1, testTimeMs, undefined]];
      await log.append(stoppedDraft(1));
      expect(await stops()).toEqual(told);
      await log.append({ type: 'guestReset', vm: machineReference(2), timeMs: testTimeMs, data: reset });
      for (const data of [changed('paused'), changed('turningOn', 'saved')]) {
        await log.append({ type: 'stateChanged', vm, timeMs: testTimeMs, data });
        expect(await stops()).toEqual(told);
      }
      for (const draft of [
        { type: 'guestReset', vm, timeMs: testTimeMs, data: reset },
        { type: 'stateChanged', vm, timeMs: testTimeMs, data: changed('turningOn') },
      ] as EventDraft[]) {
        await log.append(draft);
        expect(await stops()).toEqual(untold);
        await log.append(stoppedDraft(1, testTimeMs + 5));
        expect(await stops()).toEqual(told);
      }
    });

    test('are held from holdStarted until holdEnded, one hold for each and one for all', async () => {
      const { log } = await start();
      const held = async (): Promise<unknown> =>
        (await log.loadHolds()).toSorted((a, b) => ((a.vmId ?? '') < (b.vmId ?? '') ? -1 : 1));
      const stored = (vmId: string | null, reason: string, forMs: number): object => ({
        vmId,
        reason,
        sinceMs: testTimeMs,
        untilMs: testTimeMs + forMs,
      });
      const { id } = machineReference(1);
      expect(await held()).toEqual([]);
      await log.append(holdDraft(1, 'backup', 60_000));
      await log.append(holdDraft(null, 'upgrade', 5_000));
      await log.append(holdDraft(2, 'move', 1_000));
      expect(await held()).toEqual([
        stored(null, 'upgrade', 5_000),
        stored(id, 'backup', 60_000),
        stored(machineReference(2).id, 'move', 1_000),
      ]);
      await log.append(holdEndedDraft(null, 'upgrade'));
      await log.append(holdEndedDraft(1, 'backup'));
      await log.append(holdDraft(1, 'again', 2_000));
      await log.append({ type: 'vmDeleted', vm: machineReference(2), timeMs: testTimeMs, data: {} });
      expect(await held()).toEqual([stored(id, 'again', 2_000)]);
      await log.append(holdEndedDraft(2, 'move'));
      expect(await held()).toEqual([stored(id, 'again', 2_000)]);
    });

    test('keep values of the server', async () => {
      const { log } = await start();
      expect(await log.getValue('cleanStop')).toBeNull();
      await log.setValue('cleanStop', 'yes');
      await log.setValue('cleanStop', 'no');
      expect(await log.getValue('cleanStop')).toBe('no');
      expect(log.state().lastSeq).toBe(0);
    });

    test('keep documents, those of an event with the event', async () => {
      const { log, reopen } = await start();
      const document = (key: string, value: unknown): StoredDocument => ({ kind: 'plan', key, value });
      expect(await log.loadDocuments('plan')).toEqual([]);
      await log.putDocuments([
        document('b', { n: 1 }),
        document('a', [1]),
        { ...document('a', 2), kind: 'other' },
      ]);
      await log.append(stoppedDraft(1), { documents: [document('b', { n: 2 }), document('c', 'x')] });
      await log.putDocuments([document('a', null), document('never', null)]);
      const expected = [document('b', { n: 2 }), document('c', 'x')];
      expect(await log.loadDocuments('plan')).toEqual(expected);
      expect(await log.loadDocuments('other')).toEqual([{ kind: 'other', key: 'a', value: 2 }]);
      if (reopen !== null) expect(await (await reopen()).loadDocuments('plan')).toEqual(expected);
    });
  });
}
