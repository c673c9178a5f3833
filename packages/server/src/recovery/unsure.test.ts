import { type RecoveryEventData, VmError, eventTypeOf } from '@vmpulse/wire';
import { beforeEach, describe, expect, it } from 'vitest';
import { RecoveredMachines } from '../../../../test/support/recovered-machines.ts';
import type { EventLog } from '../event/log.ts';
import { evidenceTimeoutMs, recoveryRecheckMs } from '../limits.ts';
import { Sight } from './sight.ts';

let served: RecoveredMachines;

beforeEach(async () => {
  served = new RecoveredMachines();
  await served.serve();
  await served.see();
});

describe('what an earlier service knew', () => {
  it('of a machine is not forgotten when the end of one before it under its id is read again', async () => {
    const other = await served.running({ action: 'reset', attempts: 1 }, 'web-1');
    await served.stopped(other);
    await served.clock.advanceAsync(60_000);
    // Known of a machine that was given up, and not stored: the log is read from here on by the next service.
    await served.stopped(other, 'panicked');
    const id = await served.running({ action: 'none' }, 'web-2');
    await served.run(id, 'turnOff');
    await served.server.delete(id);
    const recovery = { action: 'restart', minRunningMs: 0 } as const;
    await served.server.create({ name: 'web-2', recovery }, id);
    await served.bring(id, 'running');
    served.server.perform = () => Promise.race<never>([]);
    await served.stopped(id);
    expect(await served.told(0, 'web-2')).toEqual(['Planned', 'turnOff begun']);
    await served.restart();
    await served.clock.advanceAsync(60_000);
    expect((await served.told(0, 'web-2'))[2]).toBe('turnOff cancelled');
  });

  it('is no reason for a reset: a guest that came back while no service ran has its time to say so', async () => {
    const id = await served.running({ action: 'reset' });
    await served.recovery.close();
    await served.stopped(id);
    await served.restart();
    served.watch(id).verdict = 'hung';
    await served.clock.advanceAsync(10_000);
    expect(served.recovery.info(id)).toMatchObject({ state: 'waiting' });
    await served.resumed(id);
    await served.clock.advanceAsync(600_000);
    expect([await served.told(), served.resets(id)]).toEqual([['Planned'], 0]);
  });

  it('takes three intervals of a guest that ticks slowly to be outdated', async () => {
    const id = await served.running({ action: 'reset' });
    await served.recovery.close();
    await served.stopped(id);
    await served.restart();
    Object.assign(served.watch(id), { verdict: 'hung', shown: { intervalMs: 60_000 } });
    await served.clock.advanceAsync(170_000);
    expect(served.resets(id)).toBe(0);
    await served.clock.advanceAsync(11_000);
    expect(served.resets(id)).toBe(1);
  });

  it('takes as long to be outdated as the port of its heartbeat is not read to its end', async () => {
    const id = await served.running({ action: 'reset' });
    await served.recovery.close();
    await served.stopped(id);
    await served.restart();
    served.watch(id).verdict = 'hung';
    served.ticks.backlogged = true;
    await served.clock.advanceAsync(60_000);
    expect([served.recovery.info(id).state, served.resets(id)]).toEqual(['heldBack', 0]);
    served.ticks.backlogged = false;
    await served.clock.advanceAsync(5_000);
    expect(served.resets(id)).toBe(1);
  });

  it('a stall of the service is like its start, whoever notices it', async () => {
    const sight = new Sight(served.clock);
    for (const notice of ['late', 'told'] as const) {
      await served.restart({ seeingSinceMs: () => sight.sinceMs });
      await served.see();
      const id = await served.running({ action: 'reset', minRunningMs: 30_000 }, notice);
      await served.stopped(id);
      if (notice === 'late') served.clock.stall(3_600_000);
      else {
        await served.clock.advanceAsync(29_000);
        sight.stalled(3_600_000);
      }
      await served.clock.advanceAsync(10_000);
      expect([notice, served.resets(id)]).toEqual([notice, 0]);
      await served.resumed(id);
      await served.clock.advanceAsync(120_000);
      expect([notice, served.resets(id)]).toEqual([notice, 0]);
    }
  });
});

describe('a step whose intent is not on disk', () => {
  it('counts as an attempt from when it was done, however long the disk took', async () => {
    const bounds = { attempts: 1, windowMs: 60_000, minRunningMs: 60_000 };
    const id = await served.running({ action: 'reset', ...bounds });
    await served.stopped(id);
    const go = served.stallWrites();
    await served.clock.advanceAsync(100_000);
    go();
    await served.settleAll();
    expect(served.resets(id)).toBe(1);
    await served.resumed(id);
    await served.clock.advanceAsync(30_000);
    await served.stopped(id);
    await served.clock.advanceAsync(10_000);
    expect([(await served.told()).at(-1), served.resets(id)]).toEqual(['GaveUp attempts', 1]);
  });

  it('is not done while the disk is full, and is done and told later', async () => {
    const id = await served.running({ action: 'reset', minRunningMs: 60_000 });
    await served.stopped(id);
    served.memory.failWrites('disk full');
    await served.clock.advanceAsync(600_000);
    expect([await served.told(), served.resets(id)]).toEqual([['Planned'], 0]);
    served.memory.mendWrites();
    await served.settleAll();
    expect([await served.told(), served.resets(id)]).toEqual([['Planned', 'reset begun', 'reset done'], 1]);
  });

  it('nor when it was full and the guest came back meanwhile', async () => {
    const id = await served.running({ action: 'reset', minRunningMs: 60_000 });
    await served.stopped(id);
    served.memory.failWrites('disk full');
    await served.clock.advanceAsync(600_000);
    served.watch(id).verdict = 'alive';
    served.memory.mendWrites();
    await served.settleAll();
    expect((await served.told()).slice(1, 3)).toEqual(['reset begun', 'reset cancelled']);
    expect(served.resets(id)).toBe(0);
  });

  it('nor where the event was lost: it is told again, and then done', async () => {
    let lose = 2;
    const log: EventLog = Object.create(served.log) as EventLog;
    log.append = (draft, effect) => {
      const isIntent = draft.type === 'recoveryStep' && draft.data.phase === 'begun';
      if (!isIntent || lose === 0) return served.log.append(draft, effect);
      lose -= 1;
      return Promise.reject(new VmError('VMPULSE_E_LOG_UNAVAILABLE', 'too many'));
    };
    await served.restart({ log });
    await served.see();
    const id = await served.running({ action: 'reset', attempts: 1 });
    await served.stopped(id);
    expect([await served.told(), served.resets(id)]).toEqual([['Planned'], 0]);
    await served.clock.advanceAsync(recoveryRecheckMs);
    expect([lose, served.resets(id)]).toEqual([0, 0]);
    await served.clock.advanceAsync(recoveryRecheckMs);
    await served.settleAll();
    expect([await served.told(), served.resets(id)]).toEqual([['Planned', 'reset begun', 'reset done'], 1]);
  });
});

describe('evidence that is never had', () => {
  it('holds the reset up for its deadline, and no longer', async () => {
    const evidence = { gather: () => Promise.race<never>([]) };
    await served.restart({ evidence });
    await served.see();
    const id = await served.running({ action: 'reset' });
    await served.stopped(id);
    await served.clock.advanceAsync(evidenceTimeoutMs - 1_000);
    expect(await served.told()).toEqual(['Planned', 'evidence begun']);
    await served.clock.advanceAsync(2_000);
    await served.settleAll();
    expect((await served.told()).slice(2)).toEqual(['evidence done', 'reset begun', 'reset done']);
  });
});

describe('what was given up', () => {
  it('stays so when autostart starts the machine, and attempts count on', async () => {
    const id = await served.running({ action: 'reset', attempts: 1 });
    await served.server.change(id, { autostart: { action: 'always' } });
    await served.stopped(id);
    await served.clock.advanceAsync(60_000);
    expect((await served.told()).at(-1)).toBe('GaveUp attempts');
    served.kill();
    served.host.machine(id).kill();
    await served.serve();
    await served.settleAll();
    await served.see();
    expect([served.state(id), served.recovery.info(id).state]).toEqual(['running', 'gaveUp']);
    await served.resumed(id);
    await served.stopped(id);
    expect([(await served.told()).at(-1), served.resets(id)]).toEqual(['HeldBack gaveUp', 0]);
    // An operator's own start takes it back.
    await served.run(id, 'turnOff');
    await served.run(id, 'startup');
    expect(served.recovery.info(id)).toMatchObject({ state: 'idle', history: [] });
  });
});

describe('a stop from before the policy', () => {
  it('is left alone, which is said, until an operator rearms it', async () => {
    const id = await served.running({ action: 'none' });
    await served.stopped(id);
    served.watch(id).shown = { stoppedSeq: served.seq };
    await served.server.change(id, { recovery: { action: 'reset' } });
    await served.clock.advanceAsync(600_000);
    const { state, reason } = served.recovery.info(id);
    expect([state, reason]).toEqual([
      'idle',
      expect.stringMatching(/hung\) before .* vmpulse recovery rearm web-1/u),
    ]);
    expect(served.resets(id)).toBe(0);
    await served.recovery.rearm(id);
    await served.settleAll();
    expect(await served.told()).toEqual(['Planned', 'reset begun', 'reset done']);
  });

  it('is not taken up by rearm where an operator turned the machine off since', async () => {
    const id = await served.running({ action: 'none' });
    await served.stopped(id);
    await served.run(id, 'turnOff');
    served.watch(id).shown = { stoppedSeq: 3 };
    await served.server.change(id, { recovery: { action: 'restart' } });
    await served.recovery.rearm(id);
    await served.clock.advanceAsync(120_000);
    expect([await served.told(), served.state(id)]).toEqual([[], 'turnedOff']);
  });
});

describe('events that are no longer kept', () => {
  it('stops that stand are taken up, those that are over forgotten', async () => {
    const dead = await served.running({ action: 'reset' }, 'dead');
    const back = await served.running({ action: 'reset', minRunningMs: 60_000 }, 'back');
    await served.stopped(back);
    await served.recovery.close();
    await served.stopped(dead);
    const stoppedSeq = served.seq;
    await served.resumed(back);
    const { seq } = served;
    served.memory.deleteThrough(seq);
    await served.restart();
    Object.assign(served.watch(dead), { verdict: 'hung', shown: { stoppedSeq } });
    Object.assign(served.watch(back), { verdict: 'alive' });
    await served.see();
    expect(await served.told(seq, 'dead')).toEqual(['Planned', 'reset begun', 'reset done']);
    expect([await served.told(seq, 'back'), served.recovery.info(back).state]).toEqual([[], 'idle']);
  });
});

it('a rehearsal that becomes real begins from the beginning', async () => {
  const id = await served.running({ action: 'staged', dryRun: true });
  await served.stopped(id);
  expect((await served.told()).at(-1)).toBe('reset done (dry)');
  await served.server.change(id, { recovery: { action: 'staged', minRunningMs: 0, settleMs: 30_000 } });
  await served.settleAll();
  expect((await served.told()).slice(3)).toEqual(['Planned', 'reset begun', 'reset done']);
});

it('a machine of which one stop follows the other is no mass by itself', async () => {
  served.trouble = 'load 90';
  const id = await served.running({ action: 'reset' });
  await served.stopped(id);
  await served.resumed(id);
  await served.clock.advanceAsync(20_000);
  await served.stopped(id);
  expect(served.resets(id)).toBe(2);
});

it('what is done is counted, a rehearsal is not', async () => {
  const counted: string[] = [];
  const observer = {
    stepEnded: (...what: RecoveryEventData['recoveryStep']['phase'][]) => void counted.push(what.join(' ')),
    heldBack: (reason: string) => void counted.push(`held ${reason}`),
    gaveUp: () => void counted.push('gave up'),
    succeeded: (step: string, recoveryMs: number, outageMs: number) =>
      void counted.push(`back by ${step} ${recoveryMs >= 4_000} ${outageMs >= recoveryMs}`),
  };
  await served.restart({ observer: observer as never });
  await served.see();
  const rehearsed = await served.running({ action: 'reset', dryRun: true, attempts: 1 }, 'dry');
  await served.stopped(rehearsed);
  await served.clock.advanceAsync(60_000);
  expect(counted).toEqual([]);
  await served.resumed(rehearsed);
  const id = await served.running({ action: 'reset', attempts: 1 });
  await served.stopped(id, 'busy');
  served.watch(id).verdict = 'hung';
  await served.clock.advanceAsync(4_000);
  expect(served.recovery.counts()).toEqual({ underWay: 1, givenUp: 1 });
  await served.clock.advanceAsync(4_000);
  await served.resumed(id);
  await served.stopped(id);
  await served.settleAll();
  expect(counted).toEqual(['held busy', 'reset done', 'back by reset true true', 'gave up']);
  expect((await served.events()).map(eventTypeOf)).toContain('recoverySucceeded');
});

it('a service that stops in the middle of a step tells nothing more, and the next knows what was done', async () => {
  const id = await served.running({ action: 'reset' });
  served.hypervisor.script.commandDelayMs = 5_000;
  await served.stopped(id);
  const closed = served.recovery.close();
  await served.clock.advanceAsync(10_000);
  await closed;
  await served.server.stop();
  expect(await served.told()).toEqual(['Planned', 'reset begun']);
  expect(served.clock.pendingTimers).toBe(0);
  await served.restart();
  await served.clock.advanceAsync(recoveryRecheckMs);
  await served.settleAll();
  expect([(await served.told()).slice(2), served.resets(id)]).toEqual([['reset done'], 0]);
});

it('what was learned of one machine is not passed over for what is told of another', async () => {
  const id = await served.running({ action: 'reset' }, 'slow');
  const other = await served.running({ action: 'reset' }, 'other');
  served.hypervisor.script.commandDelayMs = 60_000;
  await served.stopped(id);
  expect(await served.told()).toEqual(['Planned', 'reset begun']);
  // Told with recovery's place in the log, which is after the reset's first event by now.
  await served.stopped(other, 'busy');
  expect(await served.told(0, 'other')).toEqual(['Planned', 'HeldBack busy']);
  await served.restart();
  served.watch(id).verdict = 'hung';
  await served.see();
  expect(await served.told(0, 'slow')).toEqual(['Planned', 'reset begun', 'reset done']);
  expect(served.resets(id)).toBe(0);
});

it('a stop that was read, and not planned for yet, is not forgotten by a stop in order', async () => {
  const log: EventLog = Object.create(served.log) as EventLog;
  log.append = () => Promise.race<never>([]);
  await served.restart({ log });
  const id = await served.running({ action: 'reset' });
  await served.stopped(id);
  await served.recovery.close();
  await served.restart();
  served.watch(id).verdict = 'hung';
  await served.see();
  expect([await served.told(), served.resets(id)]).toEqual([['reset begun', 'reset done'], 1]);
});
