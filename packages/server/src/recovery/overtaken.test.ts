import { VmError } from '@vmpulse/wire';
import { beforeEach, describe, expect, it } from 'vitest';
import { RecoveredMachines } from '../../../../test/support/recovered-machines.ts';

let served: RecoveredMachines;

beforeEach(async () => {
  served = new RecoveredMachines();
  await served.serve();
  await served.see();
});

/** Stops the guest; its first step is told and written only once `meanwhile` is done. */
async function whileWritten(id: string, meanwhile: () => unknown): Promise<void> {
  await served.stopped(id);
  const go = served.stallWrites();
  await served.clock.advanceAsync(60_000);
  await meanwhile();
  go();
  await served.settleAll();
}

const waits = { minRunningMs: 60_000 };

describe('between a step that is told and the step that is done', () => {
  it.each<[string, (id: string) => unknown, string[]]>([
    [
      'its guest ticks again, which is not told yet',
      (id) => (served.watch(id).verdict = 'alive'),
      ['booting'],
    ],
    ['its guest cannot be seen', (id) => (served.watch(id).verdict = 'unknown'), ['unknown']],
    ['its guest writes its dump', (id) => (served.watch(id).verdict = 'suspended'), ['suspended']],
    [
      'an operator holds it',
      (id) => void served.server.holds.hold(id, { seconds: 60, reason: 'x' }),
      ['hold'],
    ],
    ['an operator saves it', (id) => void served.server.operate(id, 'save'), []],
    ['an operator pauses it', (id) => void served.server.operate(id, 'pause'), ['suspended']],
    [
      'an operator takes its policy away',
      (id) => void served.server.change(id, { recovery: { action: 'none' } }),
      [],
    ],
  ])('%s: it is not done', async (_name, meanwhile, held) => {
    for (const action of ['reset', 'restart'] as const) {
      const id = await served.running({ action, ...waits }, action);
      await whileWritten(id, () => meanwhile(id));
      const [planned, begun, cancelled, ...rest] = await served.told(0, action);
      const step = action === 'reset' ? 'reset' : 'turnOff';
      expect([planned, begun, cancelled]).toEqual(['Planned', `${step} begun`, `${step} cancelled`]);
      const expected = held.map((reason) => `HeldBack ${reason}`);
      expect(rest.filter((each) => each !== 'HeldBack operation').slice(0, 1)).toEqual(expected);
      expect([served.resets(id), served.recovery.info(id).history]).toEqual([0, []]);
      await served.clock.advanceAsync(120_000);
    }
  });

  it('an operator resets it: it is not reset again', async () => {
    const id = await served.running({ action: 'reset', ...waits });
    await whileWritten(id, () => served.run(id, 'reset'));
    expect(await served.told()).toEqual(['Planned', 'reset begun', 'reset cancelled']);
    expect(served.resets(id)).toBe(1);
  });

  it('an operator resets it, whose boot is not over: a later step does not reset it again', async () => {
    const id = await served.running({ action: 'reset' });
    await served.stopped(id);
    const goStep = served.stallWrites();
    await served.clock.advanceAsync(60_000);
    const goReset = served.stallWrites();
    const reset = served.run(id, 'reset');
    await served.clock.advanceAsync(10_000);
    served.watch(id).verdict = 'booting';
    // What recovery reads back ends with its own event: the reset is known of the machine alone.
    goStep();
    await served.settleAll();
    goReset();
    await reset;
    await served.settleAll();
    await served.clock.advanceAsync(600_000);
    const told = ['Planned', 'reset begun', 'reset done', 'reset begun', 'reset cancelled'];
    expect((await served.told()).slice(0, 5)).toEqual(told);
    expect([served.resets(id), served.recovery.info(id).state]).toEqual([2, 'idle']);
  });

  it('an operator turns it off: it stays off', async () => {
    const id = await served.running({ action: 'reset', ...waits });
    await whileWritten(id, () => void served.server.operate(id, 'turnOff'));
    await served.clock.advanceAsync(600_000);
    expect([await served.told(), served.state(id)]).toEqual([
      ['Planned', 'reset begun', 'reset cancelled'],
      'turnedOff',
    ]);
  });

  it('an operator turns it off while the end of its start waits to be told: it stays off', async () => {
    const id = await served.running({ action: 'reset' });
    const { server } = served;
    const perform = server.perform.bind(server);
    server.perform = async (...asked) => {
      await perform(...asked);
      await served.run(id, 'turnOff');
    };
    served.host.machine(id).kill();
    await served.stopped(id, 'exited');
    await served.clock.advanceAsync(600_000);
    expect([await served.told(), served.state(id)]).toEqual([
      ['Planned', 'start begun', 'start done'],
      'turnedOff',
    ]);
  });

  it('an operator turns it off, and the service is killed: it stays off', async () => {
    const id = await served.running({ action: 'reset', ...waits });
    served.server.perform = () => Promise.race<never>([]);
    await served.stopped(id);
    await served.clock.advanceAsync(61_000);
    expect((await served.told()).at(-1)).toBe('reset begun');
    await served.recovery.close();
    await served.run(id, 'turnOff');
    await served.restart();
    await served.clock.advanceAsync(600_000);
    expect([(await served.told()).slice(2), served.state(id)]).toEqual([[], 'turnedOff']);
  });

  it('an operator starts it, and its heartbeat returns: that is no success of recovery', async () => {
    const id = await served.running({ action: 'restart', ...waits });
    served.host.machine(id).kill();
    await served.settleAll();
    const go = served.stallWrites();
    await served.clock.advanceAsync(60_000);
    void served.server.operate(id, 'startup');
    await served.settleAll();
    served.watch(id).verdict = 'alive';
    const resumed = { outageMs: 1, stoppedSeq: null };
    const vm = { id, name: 'web-1' };
    const timeMs = served.clock.wallMs();
    void served.log.append({ type: 'heartbeatResumed', vm, timeMs, data: resumed } as never);
    go();
    await served.settleAll();
    expect(await served.told()).toEqual(['Planned', 'start begun', 'start cancelled']);
    expect(served.recovery.info(id).history).toEqual([]);
  });

  it('an operator deletes it: nothing is left of it', async () => {
    const id = await served.running({ action: 'restart', ...waits });
    served.host.machine(id).kill();
    await served.settleAll();
    const go = served.stallWrites();
    await served.clock.advanceAsync(60_000);
    const deleted = served.server.delete(id);
    await served.settle();
    go();
    await deleted;
    await served.settleAll();
    await served.clock.advanceAsync(600_000);
    expect(await served.memory.loadDocuments('recovery')).toEqual([]);
    expect(await served.told()).toEqual(['Planned', 'start begun']);
    expect(served.host.machine(id).record.pid).toBe(1_000);
  });

  it('an operator shuts its guest down: no turning off cuts in on it', async () => {
    const id = await served.running({ action: 'restart', ...waits });
    await whileWritten(id, () => void served.server.operate(id, 'shutdown'));
    expect((await served.told()).slice(1, 4)).toEqual([
      'turnOff begun',
      'turnOff cancelled',
      'HeldBack operation',
    ]);
    expect(served.state(id)).toBe('running');
  });
});

describe('a heartbeat that comes once the operation has begun', () => {
  it.each(['reset', 'restart'] as const)('and before QEMU is told calls off a %s', async (action) => {
    const id = await served.running({ action });
    const perform = served.server.perform.bind(served.server);
    served.server.perform = (...args) => {
      const go = served.stallWrites();
      const done = perform(...args);
      served.clock.setTimer(() => {
        // As a watch shows it while an operation suspends it.
        served.watch(id).verdict = 'suspended';
        served.watch(id).shown = { lastTickAgoMs: 0 };
        go();
      }, 1);
      return done;
    };
    const pid = served.server.get(id).pid;
    await served.stopped(id);
    const step = action === 'reset' ? 'reset' : 'turnOff';
    expect((await served.told()).slice(0, 3)).toEqual(['Planned', `${step} begun`, `${step} cancelled`]);
    expect([served.state(id), served.server.get(id).pid]).toEqual(['running', pid]);
    expect(served.watch(id).calls).not.toContain('event reset');
    expect(served.watch(id).calls.at(-1)).toBe('unsuspend');
  });

  it('and is told before QEMU is told is no success of a step that is never done, and no attempt', async () => {
    const id = await served.running({ action: 'reset', attempts: 1 });
    const perform = served.server.perform.bind(served.server);
    let cutIn = true;
    served.server.perform = (...args) => {
      if (!cutIn) return perform(...args);
      cutIn = false;
      const go = served.stallWrites();
      const done = perform(...args);
      served.clock.setTimer(() => {
        served.watch(id).verdict = 'alive';
        const vm = { id, name: 'web-1' };
        const data = { outageMs: 1, stoppedSeq: null };
        void served.log.append({
          type: 'heartbeatResumed',
          vm,
          timeMs: served.clock.wallMs(),
          data,
        } as never);
        go();
      }, 1);
      return done;
    };
    await served.stopped(id);
    expect(await served.told()).toEqual(['Planned', 'reset begun', 'reset cancelled']);
    expect([served.recovery.info(id).history, served.watch(id).calls.includes('event reset')]).toEqual([
      [],
      false,
    ]);
    await served.stopped(id);
    await served.resumed(id);
    const again = ['Planned', 'reset begun', 'reset done', 'Succeeded'];
    expect((await served.told()).slice(3)).toEqual(again);
  });
});

describe('a start of recovery', () => {
  it('whose machine an operator turns off before its first tick leaves it off', async () => {
    const id = await served.running({ action: 'reset' });
    served.host.machine(id).kill();
    await served.settleAll();
    await served.stopped(id, 'exited');
    expect((await served.told()).at(-1)).toBe('start done');
    await served.run(id, 'turnOff');
    await served.clock.advanceAsync(600_000);
    const told = (await served.told()).filter((each) => each !== 'HeldBack operation');
    expect([told.at(-1), served.state(id)]).toEqual(['start done', 'turnedOff']);
    expect(served.recovery.info(id).state).toBe('idle');
  });

  it('that an operator turns off is not begun again', async () => {
    const id = await served.running({ action: 'restart' });
    served.hypervisor.script.startDelayMs = 10_000;
    await served.stopped(id);
    expect((await served.told()).at(-1)).toBe('start begun');
    served.server.operate(id, 'turnOff');
    await served.clock.advanceAsync(600_000);
    expect([(await served.told()).at(-1), served.state(id)]).toEqual(['start cancelled', 'turnedOff']);
    expect(served.recovery.info(id).state).toBe('idle');
  });

  it('is made of a machine that it turned off, also under a new policy', async () => {
    const id = await served.running({ action: 'restart' });
    const perform = served.server.perform.bind(served.server);
    served.server.perform = async (vm, operation, wanted) => {
      await perform(vm, operation, wanted);
      if (operation === 'turnOff') await served.server.change(vm, { recovery: { action: 'none' } });
    };
    await served.stopped(id);
    expect([(await served.told()).slice(1), served.state(id)]).toEqual([
      ['turnOff begun', 'turnOff done', 'start begun', 'start done'],
      'running',
    ]);
  });

  it('is made also where that was the last attempt, and the service was killed before it', async () => {
    const id = await served.running({ action: 'restart', attempts: 1 });
    served.hypervisor.start = () => Promise.race<never>([]);
    await served.stopped(id);
    expect((await served.told()).at(-1)).toBe('start begun');
    await served.restart();
    await served.clock.advanceAsync(10_000);
    expect([(await served.told()).slice(4), served.state(id)]).toEqual([
      ['start cancelled', 'start begun', 'start done'],
      'running',
    ]);
  });

  it('that fails is tried again in stages, within the attempts', async () => {
    const id = await served.running({ action: 'staged', attempts: 4 });
    await served.stopped(id);
    served.hypervisor.script.startError = new VmError('VMPULSE_E_HYPERVISOR', 'no memory');
    await served.clock.advanceAsync(45_000);
    served.hypervisor.script.startError = null;
    await served.clock.advanceAsync(60_000);
    expect((await served.told()).slice(3)).toEqual([
      'turnOff begun',
      'turnOff done',
      'start begun',
      'start failed',
      'start begun',
      'start done',
      'GaveUp stages',
    ]);
  });
});

describe('the process of a guest that hangs', () => {
  it('ends by itself: that is no turning off by an operator, and it is started', async () => {
    const id = await served.running({ action: 'reset', ...waits });
    await served.stopped(id);
    // The stop was told; of its process nothing more is.
    served.watch(id).hypervisorEvent = () => undefined;
    served.host.machine(id).kill();
    await served.settleAll();
    expect(served.state(id)).toBe('turnedOff');
    await served.clock.advanceAsync(62_000);
    expect([await served.told(), served.state(id)]).toEqual([
      ['Planned', 'start begun', 'start done'],
      'running',
    ]);
  });
});
