import { type EventDraft, VmError } from '@vmpulse/wire';
import { beforeEach, expect, it } from 'vitest';
import { RecoveredMachines } from '../../../../test/support/recovered-machines.ts';
import type { EventLog } from '../event/log.ts';

let served: RecoveredMachines;

beforeEach(() => {
  served = new RecoveredMachines();
});

const refused = (): VmError =>
  new VmError('VMPULSE_E_LOG_UNAVAILABLE', 'This was not recorded: at the bound');

/** The log, whose next event that `isMeant` is dropped at the bound. */
function dropping(isMeant: (draft: EventDraft) => boolean): EventLog {
  let left = 1;
  const { log } = served;
  return {
    ...log,
    append: (draft, effect) => {
      if (left === 0 || !isMeant(draft)) return log.append(draft, effect);
      left -= 1;
      return Promise.reject(refused());
    },
  };
}

it('a reset that was done and whose end is lost once is not done again before its time', async () => {
  const log = dropping(({ type, data }) => {
    const { step, phase } = data as { step?: string; phase?: string };
    return type === 'recoveryStep' && step === 'reset' && phase === 'done';
  });
  await served.serve({ log });
  await served.see();
  const id = await served.running({ action: 'reset', settleMs: 120_000, backoffMs: 1_000 });
  await served.stopped(id);
  await served.settleAll();
  served.watch(id).verdict = 'hung';
  await served.clock.advanceAsync(60_000);
  // The guest has 120 s to come back after the reset.
  expect({
    resets: served.resets(id),
    told: (await served.told()).filter((word) => word.includes('failed')),
  }).toEqual({
    resets: 1,
    told: [],
  });
});

it('a step whose event is no longer kept when it is to be read back does not stand for ever', async () => {
  let canRead = true;
  const { log } = served;
  const cut: EventLog = {
    ...log,
    read: (query) => (canRead ? log.read(query) : Promise.reject(refused())),
    append: (draft, effect) => {
      // From here on the database cannot be read for a while.
      if (draft.type === 'recoveryStep') canRead = false;
      return log.append(draft, effect);
    },
  };
  await served.serve({ log: cut });
  await served.see();
  const id = await served.running({ action: 'reset' });
  await served.stopped(id);
  expect(await served.told()).toEqual(['Planned', 'reset begun']);
  // Retention goes on meanwhile, and others tell.
  const vm = { id: 'bbbbbbbb-0000-4000-8000-000000000001', name: 'other' };
  await served.memory.append({ type: 'vmCreated', vm, timeMs: 0, data: { hypervisor: 'fake' } });
  served.memory.deleteThrough(served.seq - 1);
  canRead = true;
  await served.clock.advanceAsync(3_600_000);
  const { state, reason } = served.recovery.info(id);
  expect([state, reason, served.resets(id)]).not.toEqual(['step', 'being carried out', 0]);
});

it('a rearm while a step waits for the log has no evidence gathered again', async () => {
  const gathered: number[] = [];
  const evidence = {
    gather: () => {
      gathered.push(served.clock.monotonicMs());
      return Promise.resolve('kept');
    },
  };
  await served.serve({ evidence });
  await served.see();
  const id = await served.running({ action: 'reset', minRunningMs: 60_000 });
  await served.stopped(id);
  await served.settleAll();
  expect(gathered).toHaveLength(1);
  const go = served.stallWrites();
  await served.clock.advanceAsync(60_000);
  const rearmed = served.recovery.rearm(id);
  await served.settleAll();
  go();
  await rearmed;
  await served.settleAll();
  await served.clock.advanceAsync(10_000);
  expect([gathered.length, await served.told()]).toEqual([
    1,
    ['Planned', 'evidence begun', 'evidence done', 'reset begun', 'reset done'],
  ]);
});

it('the log keeps no listener of a stream that recovery no longer reads', async () => {
  const { log, documents } = served;
  let listeners = 0;
  const counted: EventLog = {
    ...log,
    onCommit: (listener) => {
      listeners += 1;
      const stop = log.onCommit(listener);
      let isOn = true;
      return () => {
        if (isOn) listeners -= 1;
        isOn = false;
        stop();
      };
    },
  };
  const store = {
    loadDocuments: (kind: string) => documents.loadDocuments(kind),
    putDocuments: (): Promise<void> => Promise.reject(refused()),
  };
  await served.memory.putDocuments([{ kind: 'recoveryPlace', key: 'place', value: 0 }]);
  await served.serve({ log: counted, store });
  const id = await served.create();
  const before = listeners;
  for (let round = 0; round < 5; round += 1) {
    for (let n = 0; n < 500; n += 1) {
      const vm = { id, name: 'web-1' };
      void served.memory.append({ type: 'vmCreated', vm, timeMs: 0, data: { hypervisor: 'fake' } });
    }
    await served.clock.advanceAsync(5_000);
  }
  expect([before, listeners]).toEqual([1, 1]);
});

it('says when it goes on by the clock that people read, also after that was set', async () => {
  await served.serve();
  await served.see();
  const id = await served.running({ action: 'reset', minRunningMs: 600_000 });
  served.clock.stepWall(3_600_000);
  await served.stopped(id);
  const { nextAt } = served.recovery.info(id);
  expect(Date.parse(nextAt ?? '')).toBeGreaterThan(served.clock.wallMs());
});

it('turned off by recovery it is started, however late recovery reads of that in the log', async () => {
  const { log, clock } = served;
  const late: EventLog = {
    ...log,
    onCommit: (listener) => log.onCommit((events) => void clock.sleep(50).then(() => listener(events))),
  };
  await served.serve({ log: late });
  await served.see();
  const id = await served.running({ action: 'restart' });
  await served.stopped(id);
  await served.clock.advanceAsync(1_000);
  expect([await served.told(), served.state(id)]).toEqual([
    ['Planned', 'turnOff begun', 'turnOff done', 'start begun', 'start done'],
    'running',
  ]);
});
