/** What every event log does, and the store of machines that goes with it. Run against each adapter. */
import { type EventDraft, VmError, type VmEvent, eventTypeOf } from '@vmpulse/wire';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import type { EventLog } from '../../packages/server/src/event/log.ts';
import type { DocumentStore, MachineStore } from '../../packages/server/src/machine-record.ts';
import { describeMachines } from './machine-store.ts';
import {
  machineRecord,
  machineReference,
  resumedDraft,
  runningDraft,
  stoppedDraft,
  testTimeMs,
} from '../support/machines.ts';

/** A log under test, and what the suite must be able to do to it. */
export interface EventLogFixture {
  readonly log: EventLog & MachineStore & DocumentStore;
  /** Makes retention delete the events of a time before this, some minutes more or less; there must be some. */
  readonly expireBefore: (timeMs: number) => Promise<void>;
  /** From now on no large event can be written, as on a full disk. */
  readonly failWrites: () => Promise<void>;
  /** Writing works again, and has been tried again. */
  readonly mendWrites: () => Promise<void>;
  /** Closes and opens the same log again; null where nothing outlives it. */
  readonly reopen: (() => Promise<EventLog & MachineStore & DocumentStore>) | null;
  readonly dispose: () => Promise<void>;
}

/** What a fixture is opened with. */
export interface FixtureOptions {
  readonly maxPending?: number;
}

const hourMs = 3_600_000;
const seqs = (events: readonly VmEvent[]): number[] => events.map(({ seq }) => seq);
const count = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index);

/** Too large for what room a full disk has left. */
const largeDraft: EventDraft = {
  type: 'taskFailed',
  timeMs: testTimeMs,
  data: {
    task: 'task-1',
    operation: 'startup',
    messageId: 100,
    error: { code: 'E_FAIL', hresult: '0x80004005', detail: 'x'.repeat(300_000) },
  },
};

async function waitUntil(condition: () => boolean): Promise<void> {
  const endMs = Date.now() + 120_000;
  while (!condition()) {
    if (Date.now() > endMs) throw new Error('the condition did not come true within two minutes');
    await delay(2);
  }
}

async function code(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'none',
    (error: unknown) => (error instanceof VmError ? error.code : 'another error'),
  );
}

/** Registers the suite for one adapter. */
export function describeEventLog(
  name: string,
  open: (options: FixtureOptions) => Promise<EventLogFixture>,
): void {
  describe(`the event log contract: ${name}`, () => {
    let fixture: EventLogFixture | undefined;
    const start = async (options: FixtureOptions = {}): Promise<EventLogFixture> =>
      (fixture = await open(options));
    afterEach(async () => {
      await fixture?.dispose();
      fixture = undefined;
    });

    describe('appending', () => {
      test('numbers events from 1 without gap in the order of the calls', async () => {
        const { log } = await start();
        expect(log.state()).toMatchObject({
          writable: true,
          error: null,
          pending: 0,
          lost: 0,
          lastSeq: 0,
          oldestSeq: 1,
        });
        const first = await log.append(stoppedDraft(1));
        const many = await Promise.all(count(2, 2_500).map((n) => log.append(stoppedDraft(n))));
        expect(first.seq).toBe(1);
        expect(seqs(many)).toEqual(count(2, 2_500));
        expect(many.map(({ subject }) => subject)).toEqual(count(2, 2_500).map((n) => `web-${n}`));
        expect(log.state()).toMatchObject({ pending: 0, lastSeq: 2_500, oldestSeq: 1 });
      });

      test('resolves with the CloudEvent that a read gives too', async () => {
        const { log } = await start();
        const draft = stoppedDraft(7, testTimeMs + 123);
        const event = await log.append(draft);
        expect(event).toEqual({
          specversion: '1.0',
          id: `${log.serverId}-1`,
          source: `/v1/server/${log.serverId}`,
          type: 'io.vmpulse.heartbeatStopped',
          subject: 'web-7',
          time: '2026-01-01T00:00:00.123Z',
          datacontenttype: 'application/json',
          seq: 1,
          data: { vm: machineReference(7), eventType: 8, ...draft.data },
        });
        expect((await log.read({ after: 0, limit: 10 })).events).toEqual([event]);
      });

      test('records what the draft was at the call, whatever becomes of it', async () => {
        const { log } = await start();
        const data = { messageId: 1, version: '1.0.0', pid: 1, unclean: false };
        const appended = log.append({ type: 'serviceStarted', timeMs: testTimeMs, data });
        data.version = 'changed';
        expect((await appended).data).toMatchObject({ version: '1.0.0' });
        expect((await log.read({ after: 0, limit: 1 })).events[0]?.data).toMatchObject({ version: '1.0.0' });
      });

      test('refuses what is no event, and goes on', async () => {
        const { log } = await start();
        const before = log.append(stoppedDraft(1));
        const bad = log.append({ ...stoppedDraft(2), timeMs: Number.NaN });
        const unknown = log.append({ type: 'nonsense', timeMs: 1, data: {} } as unknown as EventDraft);
        const after = log.append(stoppedDraft(3));
        expect([await code(bad), await code(unknown)]).toEqual(['E_INVALIDARG', 'E_INVALIDARG']);
        expect(seqs(await Promise.all([before, after]))).toEqual([1, 2]);
      });

      test('keeps text of any kind as it is', async () => {
        const { log } = await start();
        const reason = `"quotes" \\ \u0000 \u2028 \u{1F4A9} ' ; DROP TABLE events; --`;
        const vm = { id: 'id with \u0000 and \u{1F4A9}', name: `ünï'"` };
        const event = await log.append({ type: 'turnedOffByGuest', vm, timeMs: 0, data: { reason } });
        expect(event.data).toMatchObject({ vm, reason });
        expect((await log.read({ after: 0, limit: 9, vmId: vm.id })).events).toEqual([event]);
      });

      test('wakes listeners after the commit, when the event can be read', async () => {
        const { log } = await start();
        const woken: number[] = [];
        const reads: Promise<number>[] = [];
        const stop = log.onCommit((lastSeq) => {
          woken.push(lastSeq);
          reads.push(log.read({ after: 0, limit: 1_000 }).then(({ next }) => next));
        });
        const appended = log.append(stoppedDraft(1));
        expect(woken).toEqual([]);
        await appended;
        await Promise.all([log.append(stoppedDraft(2)), log.append(stoppedDraft(3))]);
        await waitUntil(() => woken.at(-1) === 3);
        expect(woken.toSorted((a, b) => a - b)).toEqual(woken);
        for (const [index, next] of (await Promise.all(reads)).entries()) {
          expect(next).toBeGreaterThanOrEqual(woken[index] ?? 0);
        }
        stop();
        await log.append(stoppedDraft(4));
        expect(woken.at(-1)).toBe(3);
      });
    });

    describe('reading', () => {
      test('goes page by page, and shows an empty page at the end', async () => {
        const { log } = await start();
        await Promise.all(count(1, 25).map((n) => log.append(stoppedDraft(n))));
        const pages: number[][] = [];
        let after = 0;
        for (let round = 0; round < 4; round += 1) {
          const page = await log.read({ after, limit: 10 });
          pages.push(seqs(page.events));
          after = page.next;
        }
        expect(pages).toEqual([count(1, 10), count(11, 20), count(21, 25), []]);
        expect(after).toBe(25);
      });

      test('gives at most 1,000 events at once', async () => {
        const { log } = await start();
        await Promise.all(count(1, 1_200).map((n) => log.append(stoppedDraft(n))));
        const page = await log.read({ after: 0, limit: 1_000_000 });
        expect([page.events.length, page.next]).toEqual([1_000, 1_000]);
      });

      test('lets through by machine, by type, by both, and goes on where a filter lets nothing through', async () => {
        const { log } = await start();
        const drafts = count(1, 1_500).map((n) => (n % 10 === 0 ? resumedDraft(n % 7) : stoppedDraft(n % 7)));
        const all = await Promise.all(drafts.map((draft) => log.append(draft)));
        const vmId = machineReference(3).id;
        const filters = [
          { vmId },
          { types: ['heartbeatResumed'] as const },
          { vmId, types: ['heartbeatResumed', 'tripleFault'] as const },
          { types: ['heartbeatStopped', 'heartbeatResumed'] as const },
          { types: ['heartbeatResumed', 'heartbeatResumed'] as const },
          { vmId: 'nobody' },
          { types: ['tripleFault'] as const },
          { types: [] },
        ];
        for (const filter of filters) {
          const expected = all.filter(
            (event) =>
              (filter.vmId === undefined || event.data.vm?.id === filter.vmId) &&
              (filter.types === undefined ||
                (filter.types as readonly string[]).includes(eventTypeOf(event))),
          );
          for (const limit of [1_000, 7]) {
            const found: VmEvent[] = [];
            let after = 0;
            for (let calls = 0; after < 1_500 && calls < 1_500; calls += 1) {
              const page = await log.read({ after, limit, ...filter });
              expect(page.events.length).toBeLessThanOrEqual(limit);
              expect(page.next).toBeGreaterThan(after);
              found.push(...page.events);
              after = page.next;
            }
            expect(after).toBe(1_500);
            expect(found).toEqual(expected);
          }
        }
      });

      test('refuses a cursor or a limit that is no whole number', async () => {
        const { log } = await start();
        await log.append(stoppedDraft(1));
        const bad = [
          { after: -1, limit: 1 },
          { after: 0.5, limit: 1 },
          { after: Number.NaN, limit: 1 },
          { after: 0, limit: 0 },
          { after: 0, limit: Number.NaN },
        ];
        for (const query of bad) expect(await code(log.read(query))).toBe('E_INVALIDARG');
      });

      test('refuses a cursor that the log has not reached: it is of another log', async () => {
        const { log } = await start();
        expect((await log.read({ after: 0, limit: 1 })).events).toEqual([]);
        expect(await code(log.read({ after: 1, limit: 1 }))).toBe('VMPULSE_E_CURSOR_EXPIRED');
        await log.append(stoppedDraft(1));
        expect(await log.read({ after: 1, limit: 1 })).toEqual({ events: [], next: 1 });
        expect(await code(log.read({ after: 2, limit: 1 }))).toBe('VMPULSE_E_CURSOR_EXPIRED');
      });
    });

    describe('retention', () => {
      test('refuses a cursor whose events are gone, a newcomer from 0 too, and says where to go on', async () => {
        const { log, expireBefore } = await start();
        for (const n of count(1, 10)) await log.append(stoppedDraft(n, testTimeMs + n * hourMs));
        await expireBefore(testTimeMs + 5 * hourMs);
        expect(log.state()).toMatchObject({ oldestSeq: 5, lastSeq: 10 });
        for (const after of [0, 1, 3]) {
          expect(await code(log.read({ after, limit: 10 }))).toBe('VMPULSE_E_CURSOR_EXPIRED');
          expect(await code(log.read({ after, limit: 10, vmId: machineReference(7).id }))).toBe(
            'VMPULSE_E_CURSOR_EXPIRED',
          );
        }
        await expect(log.read({ after: 0, limit: 10 })).rejects.toThrow(/5.*10|10.*5/s);
        expect(seqs((await log.read({ after: 4, limit: 10 })).events)).toEqual(count(5, 10));
      });

      test('may delete everything: numbers go on, not from the beginning', async () => {
        const { log, expireBefore, reopen } = await start();
        await Promise.all(count(1, 700).map((n) => log.append(stoppedDraft(n))));
        await expireBefore(testTimeMs + hourMs);
        expect(log.state()).toMatchObject({ oldestSeq: 701, lastSeq: 700 });
        expect((await log.append(stoppedDraft(1, testTimeMs + hourMs))).seq).toBe(701);
        await expireBefore(testTimeMs + 2 * hourMs);
        const again = reopen === null ? log : await reopen();
        expect(again.state()).toMatchObject({ oldestSeq: 702, lastSeq: 701 });
        expect(await again.read({ after: 701, limit: 5 })).toEqual({ events: [], next: 701 });
        expect((await again.append(stoppedDraft(1, testTimeMs + 2 * hourMs))).seq).toBe(702);
      });

      test('leaves machines, states and conditions alone', async () => {
        const { log, expireBefore } = await start();
        await log.append(runningDraft(1), { put: machineRecord(1) });
        await log.append(stoppedDraft(1));
        await expireBefore(testTimeMs + hourMs);
        expect(await log.loadMachines()).toEqual([
          {
            record: machineRecord(1),
            state: 'running',
            conditions: [{ condition: 'heartbeatStopped', seq: 2, sinceMs: testTimeMs, verdict: 'hung' }],
          },
        ]);
      });
    });

    describeMachines(start);

    describe('while writing fails', () => {
      test('events wait in order and are written when it works again, no number burnt', async () => {
        const { log, failWrites, mendWrites } = await start();
        await log.append(stoppedDraft(1));
        const woken: number[] = [];
        log.onCommit((lastSeq) => woken.push(lastSeq));
        await failWrites();
        const large = log.append(largeDraft);
        await waitUntil(() => !log.state().writable);
        const waiting = count(2, 40).map((n) => log.append(stoppedDraft(n)));
        const put = log.putMachine(machineRecord(1));
        expect(log.state()).toMatchObject({ writable: false, pending: 41, lost: 0, lastSeq: 1 });
        expect(log.state().error).toBeTruthy();
        expect(seqs((await log.read({ after: 0, limit: 9 })).events)).toEqual([1]);
        expect(woken).toEqual([]);
        await mendWrites();
        expect((await large).seq).toBe(2);
        expect(seqs(await Promise.all(waiting))).toEqual(count(3, 41));
        await put;
        expect(log.state()).toMatchObject({ writable: true, error: null, pending: 0, lastSeq: 41 });
        expect((await log.read({ after: 0, limit: 99 })).events.map(({ subject }) => subject)).toEqual([
          'web-1',
          undefined,
          ...count(2, 40).map((n) => `web-${n}`),
        ]);
      });

      test('the newest are dropped at the bound, counted, and told in their place when it works again', async () => {
        const { log, failWrites, mendWrites } = await start({ maxPending: 10 });
        await failWrites();
        const large = log.append(largeDraft);
        await waitUntil(() => !log.state().writable);
        const waiting = count(2, 10).map((n) => log.append(stoppedDraft(n)));
        const dropped = await Promise.all(count(11, 15).map((n) => code(log.append(stoppedDraft(n)))));
        expect(dropped).toEqual(Array.from({ length: 5 }, () => 'VMPULSE_E_LOG_UNAVAILABLE'));
        expect(log.state()).toMatchObject({ pending: 10, lost: 5 });
        await mendWrites();
        await Promise.all([large, ...waiting]);
        const next = await log.append(stoppedDraft(16));
        const { events } = await log.read({ after: 9, limit: 99 });
        expect(events.map(eventTypeOf)).toEqual(['heartbeatStopped', 'eventsLost', 'heartbeatStopped']);
        expect(events[1]?.data).toMatchObject({ lost: 5, messageId: 101 });
        expect([events[2]?.seq, events[2]?.subject]).toEqual([12, 'web-16']);
        expect(next.seq).toBe(12);
        expect(log.state()).toMatchObject({ writable: true, lost: 5, pending: 0 });
      });

      test('what dropped events meant for machines is written later; conditions follow what was told', async () => {
        const { log, failWrites, mendWrites } = await start({ maxPending: 1 });
        await log.putMachine(machineRecord(1));
        await log.append(stoppedDraft(1));
        await failWrites();
        const large = log.append(largeDraft);
        await waitUntil(() => !log.state().writable);
        const vm = machineReference(1);
        const dropped = [
          log.append(runningDraft(1), { put: machineRecord(1, { createdMs: 1 }) }),
          log.append(resumedDraft(1)),
          log.append(
            { type: 'vmCreated', vm: machineReference(2), timeMs: 0, data: { hypervisor: 'fake' } },
            { put: machineRecord(2) },
          ),
          log.append({ type: 'vmDeleted', vm, timeMs: 0, data: {} }, { remove: vm.id }),
          log.putMachine(machineRecord(1, { createdMs: 2 })),
        ];
        for (const promise of dropped) expect(await code(promise)).toBe('VMPULSE_E_LOG_UNAVAILABLE');
        expect(log.state().lost).toBe(4);
        await mendWrites();
        await large;
        await waitUntil(() => log.state().pending === 0);
        expect(await log.loadMachines()).toEqual([
          {
            record: machineRecord(1, { createdMs: 2 }),
            state: 'running',
            conditions: [{ condition: 'heartbeatStopped', seq: 1, sinceMs: testTimeMs, verdict: 'hung' }],
          },
        ]);
      });
    });

    describe('closing', () => {
      test('writes what is pending, then takes nothing more', async () => {
        const { log, reopen } = await start();
        const appended = count(1, 1_500).map((n) => log.append(stoppedDraft(n)));
        await log.close();
        expect(seqs(await Promise.all(appended))).toEqual(count(1, 1_500));
        expect(await code(log.append(stoppedDraft(1)))).toBe('VMPULSE_E_LOG_UNAVAILABLE');
        expect(await code(log.putMachine(machineRecord(1)))).toBe('VMPULSE_E_LOG_UNAVAILABLE');
        expect(log.state().writable).toBe(false);
        await log.close();
        if (reopen === null) return;
        const again = await reopen();
        expect(again.serverId).toBe(log.serverId);
        expect(again.state()).toMatchObject({ lastSeq: 1_500, oldestSeq: 1 });
        expect((await again.read({ after: 1_490, limit: 99 })).events).toHaveLength(10);
      });
    });
  });
}
