import { once } from 'node:events';
import { stateSequences, VmError } from '@vmpulse/wire';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ServedMachines } from '../../../../test/support/served-machines.ts';
import { FakeMachine } from '../hypervisor/fake-machine.ts';

let served: ServedMachines;
let vm: string;

beforeEach(async () => {
  served = new ServedMachines();
  await served.server.start();
  vm = await served.create({ autostart: { action: 'ifRunningAtQuit' } });
});

afterEach(() => void vi.restoreAllMocks());

/** Stops the service; answers whether that ended within so much time. */
async function stopped(withinMs: number): Promise<boolean> {
  let done = false;
  const stop = async (): Promise<void> => {
    await served.server.stop();
    done = true;
  };
  void stop();
  await served.clock.advanceAsync(withinMs);
  await served.settle();
  return done;
}

describe('a stop while a machine starts', () => {
  it('gives the start up, and starts the machine with the next service', async () => {
    served.hypervisor.script.startDelayMs = 20_000;
    served.server.operate(vm, 'startup');
    await served.settle();
    const { seq } = served;
    expect(await stopped(100)).toBe(true);
    expect(await served.types(seq)).toEqual(['stateChanged', 'serviceStopped']);
    expect(served.host.machine(vm).end).not.toBeNull();
    expect((await served.record(vm)).runningAtQuit).toBe(true);
    await served.clock.advanceAsync(60_000);
    expect((await served.types(seq)).at(-1)).toBe('serviceStopped');
    await served.kill().start();
    await served.settle();
    expect(served.state(vm)).toBe('running');
  });

  it.each([
    { what: 'in its time', afterMs: 3_000, told: ['stateChanged', 'serviceStopped'] },
    { what: 'too late', afterMs: 90_000, told: ['serviceStopped'] },
  ])('that cannot be given up lets go of a process that comes $what', async ({ afterMs, told }) => {
    const start = served.hypervisor.start.bind(served.hypervisor);
    served.hypervisor.start = async (request) => {
      const machine = await start({ ...request, signal: new AbortController().signal });
      await served.clock.sleep(afterMs);
      return machine;
    };
    const detach = vi.spyOn(FakeMachine.prototype, 'detach');
    served.server.operate(vm, 'startup');
    await served.settle();
    const { seq } = served;
    expect(await stopped(81_000)).toBe(true);
    await served.clock.advanceAsync(60_000);
    await served.settle();
    expect(await served.types(seq)).toEqual(told);
    expect(detach).toHaveBeenCalledTimes(1);
    expect(served.ticks.listeners.size).toBe(0);
    expect(served.host.machine(vm).end).toBeNull();
    await served.kill().start();
    await served.settle();
    expect(served.state(vm)).toBe('running');
    expect(await served.types()).not.toContain('heartbeatStopped');
  });
});

describe('a stop while a machine is saved', () => {
  /** A save that takes 3 s to be cancelled, as QEMU's does, and cannot be any more without its process. */
  function slowToCancel(): void {
    vi.spyOn(FakeMachine.prototype, 'save').mockImplementation(async (_progress, signal) => {
      const process = served.host.machine(vm);
      process.setRunState('saving');
      await once(signal, 'abort');
      await served.clock.sleep(3_000);
      process.setRunState('running');
      throw new VmError('E_ABORT', 'Saving was cancelled; the guest goes on.');
    });
  }

  /** The guest's run state when it was let go of. */
  function letGoIn(): string[] {
    const states: string[] = [];
    vi.spyOn(FakeMachine.prototype, 'detach').mockImplementation(() => {
      states.push(served.host.machine(vm).runState);
      return Promise.resolve();
    });
    return states;
  }

  it('lets go of the guest when it runs again', async () => {
    await served.bring(vm, 'running');
    slowToCancel();
    const states = letGoIn();
    served.server.operate(vm, 'save');
    await served.settle();
    expect(await stopped(4_000)).toBe(true);
    expect(states).toEqual(['running']);
    expect(await served.states()).toEqual(['turningOn', 'running', 'saving', 'running']);
  });

  it('by the stop itself, which takes too long, does so too, within the time of a stop', async () => {
    await served.server.change(vm, { shutdownActionOnQuit: 'save' });
    await served.bring(vm, 'running');
    slowToCancel();
    const states = letGoIn();
    expect(await stopped(80_000)).toBe(true);
    expect(states).toEqual(['running']);
  });

  it('that someone asked for, of a machine that the stop would save, lets it be saved', async () => {
    await served.server.change(vm, { shutdownActionOnQuit: 'save' });
    await served.bring(vm, 'running');
    served.hypervisor.script.saveDelayMs = 8_000;
    const { seq } = served;
    served.server.operate(vm, 'save');
    await served.settle();
    expect(await stopped(9_000)).toBe(true);
    expect(served.state(vm)).toBe('saved');
    expect(await served.states(seq)).toEqual(stateSequences.save);
  });
});

it.each(['startup', 'save'] as const)(
  'a %s is given up at once, not after the saves of others',
  async (operation) => {
    const other = await served.create({ name: 'web-2', shutdownActionOnQuit: 'save' });
    await served.bring(other, 'running');
    if (operation === 'save') await served.bring(vm, 'running');
    served.hypervisor.script.saveDelayMs = served.hypervisor.script.startDelayMs = 20_000;
    served.server.operate(vm, operation);
    await served.settle();
    expect(await stopped(1_000)).toBe(false);
    expect(served.state(other)).toBe('saving');
    expect(served.state(vm)).toBe(operation === 'save' ? 'running' : 'turnedOff');
  },
);

it('a stop waits for no operation for ever', async () => {
  await served.bring(vm, 'running');
  vi.spyOn(FakeMachine.prototype, 'pause').mockReturnValue(Promise.race<never>([]));
  served.server.operate(vm, 'pause');
  await served.settle();
  expect(await stopped(10_000)).toBe(false);
  await served.clock.advanceAsync(12_000);
  await served.settle();
  expect((await served.types()).at(-1)).toBe('serviceStopped');
});

describe('a stop while a machine found again is repaired ends no guest', () => {
  const cases = [
    { what: 'its start', stored: 'turningOn', found: 'restoring' },
    { what: 'its start, just as it goes on', stored: 'turningOn', found: 'preparing' },
    { what: 'after a save that was cut off', stored: 'saving', found: 'saving' },
  ] as const;

  it.each(cases)('$what', async ({ stored, found }) => {
    await served.bring(vm, 'running');
    const record = await served.record(vm);
    const data = { state: stored, stateCode: 3, previousState: 'running' as const };
    const draft = { type: 'stateChanged' as const, vm: { id: vm, name: 'web-1' }, timeMs: 0, data };
    await served.memory.append(draft, { put: record });
    served.host.machine(vm).setRunState(found);
    // The hold on the process is lost by the stop: what waits for it is told so, after the bound at the latest.
    vi.spyOn(FakeMachine.prototype, 'resume').mockImplementation(async () => {
      await served.clock.sleep(1_000);
      throw new VmError('VMPULSE_E_HYPERVISOR', 'The service stopped observing this machine.');
    });
    await served.kill().start();
    await served.settle();
    const { seq } = served;
    expect(await stopped(30_000)).toBe(true);
    expect(served.host.machine(vm).end).toBeNull();
    expect(await served.types(seq)).toEqual(['serviceStopped']);
  });
});
