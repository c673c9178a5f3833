import { stateSequences, VmError } from '@vmpulse/wire';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { ServedMachines } from '../../../../test/support/served-machines.ts';
import { FakeMachine } from '../hypervisor/fake-machine.ts';

let served: ServedMachines;
let vm: string;

beforeEach(async () => {
  served = new ServedMachines();
  await served.server.start();
  vm = await served.create();
});

describe('shutdown', () => {
  beforeEach(() => served.bring(vm, 'running'));

  it('by the agent where it answers, and ends when the guest is off', async () => {
    const agent = served.agent(vm);
    agent.onShutdown = () => served.host.machine(vm).guestShutdown();
    served.host.machine(vm).setPort('agent', true);
    await served.settle();
    expect(served.server.guest(vm).canShutdown).toBe(true);
    const { seq } = served;
    const task = await served.run(vm, 'shutdown');
    expect(agent.asked).toContain('shutdown');
    expect(task.result).toBe('success');
    expect(await served.types(seq)).toEqual([
      'turnedOffByGuest',
      'stateChanged',
      'stateChanged',
      'stateChanged',
    ]);
    expect(await served.states(seq)).toEqual(stateSequences.turnOff);
  });

  it('by the power button where no agent answers, which is told as shutdownRequested', async () => {
    const { seq } = served;
    const { id } = served.server.operate(vm, 'shutdown');
    await served.settle();
    expect(await served.types(seq)).toEqual(['shutdownRequested']);
    served.host.machine(vm).guestShutdown();
    await served.settle();
    expect(served.server.task(id).result).toBe('success');
    expect(served.state(vm)).toBe('turnedOff');
  });

  it('of a guest that was still booting and missed the button, by its agent once that answers', async () => {
    const { id } = served.server.operate(vm, 'shutdown');
    await served.clock.advanceAsync(5_000);
    const agent = served.agent(vm);
    expect(agent.asked).not.toContain('shutdown');
    agent.onShutdown = () => served.host.machine(vm).guestShutdown();
    served.host.machine(vm).setPort('agent', true);
    await served.clock.advanceAsync(3_000);
    expect(agent.asked).toContain('shutdown');
    expect(served.server.task(id).result).toBe('success');
  });

  it('of a guest that does not go down ends after 120 s, and the guest is watched again', async () => {
    const { id } = served.server.operate(vm, 'shutdown');
    await served.clock.advanceAsync(119_000);
    expect(served.server.task(id).isComplete).toBe(false);
    await served.clock.advanceAsync(2_000);
    expect(served.server.task(id)).toMatchObject({
      result: 'timeOutError',
      error: { code: 'VM_E_TIMED_OUT' },
    });
    expect(served.state(vm)).toBe('running');
    expect(served.watch(vm).calls.slice(-1)).toEqual(['unsuspend']);
  });

  it('can be cancelled', async () => {
    const { id } = served.server.operate(vm, 'shutdown');
    await served.settle();
    served.server.cancelTask(id);
    await served.settle();
    expect(served.server.task(id).result).toBe('cancelled');
    expect(served.server.get(vm)).toMatchObject({ state: 'running', task: null });
    expect(served.watch(vm).calls.slice(-1)).toEqual(['unsuspend']);
  });

  it('during which the process dies is a stop, and fails', async () => {
    const { seq } = served;
    const { id } = served.server.operate(vm, 'shutdown');
    await served.settle();
    served.host.machine(vm).kill();
    await served.settle();
    expect(served.server.task(id).error?.code).toBe('VMPULSE_E_HYPERVISOR');
    expect(await served.types(seq)).toContain('heartbeatStopped');
  });
});

describe('turnOff', () => {
  it('kills a process that does not answer', async () => {
    await served.bring(vm, 'running');
    const { seq } = served;
    served.host.machine(vm).hang();
    const { id } = served.server.operate(vm, 'turnOff');
    await served.clock.advanceAsync(11_000);
    expect(served.server.task(id).result).toBe('success');
    expect(await served.states(seq)).toEqual(stateSequences.turnOff);
    expect(await served.types(seq)).not.toContain('heartbeatStopped');
  });

  it.each(['running', 'paused'] as const)(
    'whose process cannot be ended goes back to %s, watched, and may be asked again',
    async (state) => {
      await served.bring(vm, state);
      const { seq } = served;
      const stuck = new VmError('VM_E_TIMED_OUT', 'The host blocks it.');
      const quit = vi.spyOn(FakeMachine.prototype, 'quit').mockRejectedValueOnce(stuck);
      expect((await served.run(vm, 'turnOff')).result).toBe('timeOutError');
      quit.mockRestore();
      expect(await served.states(seq)).toEqual(['turningOff', state]);
      expect((await served.record(vm)).activeConfiguration).not.toBeNull();
      expect(served.watch(vm).calls.slice(-1)).toEqual(['unsuspend']);
      expect((await served.run(vm, 'turnOff')).result).toBe('success');
    },
  );

  it('a saved machine whose process cannot be ended is paused, and its saved state is never used again', async () => {
    await served.bring(vm, 'running');
    const { seq } = served;
    const stuck = new VmError('VM_E_TIMED_OUT', 'The host blocks it.');
    const quit = vi.spyOn(FakeMachine.prototype, 'quit').mockRejectedValueOnce(stuck);
    expect((await served.run(vm, 'save')).result).toBe('timeOutError');
    quit.mockRestore();
    expect(await served.states(seq)).toEqual(['saving', 'turningOff', 'running', 'paused']);
    expect(served.host.savedStates.has(vm)).toBe(false);
    await served.run(vm, 'turnOff');
    expect(served.state(vm)).toBe('turnedOff');
  });
});
