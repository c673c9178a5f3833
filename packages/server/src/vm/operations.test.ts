import {
  allowedStates,
  isEvent,
  refusal,
  stateSequences,
  VmError,
  vmOperations,
  type VmState,
} from '@vmpulse/wire';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { ServedMachines } from '../../../../test/support/served-machines.ts';
import { FakeMachine } from '../hypervisor/fake-machine.ts';
import type { TaskOperation } from './machine-service.ts';

const operations = vmOperations.filter((each): each is TaskOperation => each !== 'delete');
const restingStates = ['turnedOff', 'saved', 'running', 'paused'] as const;

let served: ServedMachines;
let vm: string;

beforeEach(async () => {
  served = new ServedMachines();
  await served.server.start();
  vm = await served.create();
});

/** The error that a call throws at once. */
function thrownBy(call: () => unknown): VmError {
  try {
    call();
  } catch (error) {
    if (error instanceof VmError) return error;
    throw error;
  }
  throw new Error('It was not refused.');
}

describe('an operation raises the state events of the table, in its order', () => {
  const cases: {
    operation: TaskOperation;
    from: (typeof restingStates)[number];
    told: readonly VmState[];
    rests: VmState;
  }[] = [
    { operation: 'startup', from: 'turnedOff', told: stateSequences.startup, rests: 'running' },
    { operation: 'startup', from: 'saved', told: stateSequences.restore, rests: 'running' },
    { operation: 'save', from: 'running', told: stateSequences.save, rests: 'saved' },
    { operation: 'save', from: 'paused', told: stateSequences.save, rests: 'saved' },
    { operation: 'reset', from: 'running', told: stateSequences.reset, rests: 'running' },
    { operation: 'reset', from: 'paused', told: stateSequences.reset, rests: 'running' },
    { operation: 'pause', from: 'running', told: stateSequences.pause, rests: 'paused' },
    { operation: 'resume', from: 'paused', told: stateSequences.resume, rests: 'running' },
    { operation: 'turnOff', from: 'running', told: stateSequences.turnOff, rests: 'turnedOff' },
    { operation: 'turnOff', from: 'paused', told: stateSequences.turnOff, rests: 'turnedOff' },
    { operation: 'discardSavedState', from: 'saved', told: ['turnedOff'], rests: 'turnedOff' },
    { operation: 'injectNmi', from: 'running', told: [], rests: 'running' },
  ];

  it.each(cases)('$operation of a machine that is $from', async ({ operation, from, told, rests }) => {
    await served.bring('web-1', from);
    const { seq } = served;

    const task = await served.run('WEB-1', operation);

    expect(task).toMatchObject({
      result: 'success',
      resultCode: 0,
      percent: 100,
      isComplete: true,
      error: null,
    });
    expect(await served.states(seq)).toEqual(told);
    expect(served.state(vm)).toBe(rests);
    expect(await served.types(seq)).not.toContain('heartbeatStopped');
    const changes = (await served.events(seq)).filter((event) => isEvent(event, 'stateChanged'));
    const previous = [from, ...told.slice(0, -1)];
    expect(changes.map(({ data }) => data.previousState)).toEqual(told.length === 0 ? [] : previous);
  });
});

describe('an operation that its state does not allow is refused with the code of the table', () => {
  const cases = operations.flatMap((operation) =>
    restingStates
      .filter((state) => !allowedStates[operation].includes(state))
      .map((state) => ({ operation, state, code: refusal(operation, state) })),
  );

  it.each(cases)('$operation of a machine that is $state: $code', async ({ operation, state, code }) => {
    await served.bring(vm, state);
    const { seq } = served;

    const error = thrownBy(() => served.server.operate(vm, operation));

    expect(error.code).toBe(code);
    expect(error.message).toContain(`web-1 is ${state}`);
    await served.settle();
    expect(served.seq).toBe(seq);
    expect(served.state(vm)).toBe(state);
  });
});

describe('while an operation is under way', () => {
  const underWay: { first: TaskOperation; from: (typeof restingStates)[number]; during: VmState }[] = [
    { first: 'startup', from: 'turnedOff', during: 'turningOn' },
    { first: 'startup', from: 'saved', during: 'restoring' },
    { first: 'save', from: 'running', during: 'saving' },
    { first: 'turnOff', from: 'running', during: 'turningOff' },
    { first: 'reset', from: 'running', during: 'turningOff' },
    { first: 'shutdown', from: 'running', during: 'running' },
    { first: 'pause', from: 'running', during: 'running' },
  ];
  const cases = underWay.flatMap((each) => operations.map((second) => ({ ...each, second })));

  it.each(cases)('$first in $during lets $second in only where turnOff may cut in', async (each) => {
    const { first, from, during, second } = each;
    await served.bring(vm, from);
    const { script } = served.hypervisor;
    script.startDelayMs = script.saveDelayMs = script.quitDelayMs = script.commandDelayMs = 1_000;
    const task = served.server.operate(vm, first);
    await served.settle();
    expect(served.state(vm)).toBe(during);

    if (second === 'turnOff' && (first === 'startup' || first === 'shutdown')) {
      expect(served.server.get(vm).operations).toEqual(['turnOff']);
      const cuttingIn = served.server.operate(vm, 'turnOff');
      await served.clock.advanceAsync(10_000);
      await served.settle();
      expect(served.server.task(task.id).result).toBe('cancelled');
      expect(served.server.task(cuttingIn.id).result).toBe('success');
      expect(served.state(vm)).toBe(from === 'saved' ? 'saved' : 'turnedOff');
      return;
    }
    const error = thrownBy(() => served.server.operate(vm, second));
    expect(error.code).toBe('VMPULSE_E_OPERATION_IN_PROGRESS');
    expect(error.message).toContain(first);
    expect(error.message).toContain(task.id);
  });

  it('exactly one of two that come at once wins', async () => {
    await served.bring(vm, 'running');
    const first = served.server.operate(vm, 'save');
    expect(thrownBy(() => served.server.operate(vm, 'turnOff')).code).toBe('VMPULSE_E_OPERATION_IN_PROGRESS');
    await served.settle();
    expect(served.server.task(first.id).result).toBe('success');
    expect(served.state(vm)).toBe('saved');
  });

  it('a hang of one machine does not delay another', async () => {
    await served.create({ name: 'web-2' });
    await served.bring(vm, 'running');
    served.host.machine(vm).hang();
    served.server.operate(vm, 'pause');
    const task = await served.run('web-2', 'startup');
    expect(task.result).toBe('success');
  });
});

describe('startup', () => {
  it('shows turningOn as soon as it was asked for, and the process as soon as it exists', async () => {
    served.hypervisor.script.startDelayMs = 1_000;
    served.server.operate(vm, 'startup');
    expect(served.state(vm)).toBe('turningOn');
    await served.settle();
    expect((await served.record(vm)).process?.pid).toBe(served.host.machine(vm).record.pid);
    expect(served.server.get(vm).pid).toBe(served.host.machine(vm).record.pid);
  });

  it.each([
    { what: 'kernel', configuration: { boot: { kernel: '/nowhere/vmlinuz' } }, path: '/nowhere/vmlinuz' },
    {
      what: 'initrd',
      configuration: { boot: { kernel: '/proc/self/exe', initrd: '/nowhere/initrd' } },
      path: '/nowhere/initrd',
    },
    {
      what: 'disk image',
      configuration: { disks: [{ file: '/nowhere/a.qcow2' }] },
      path: '/nowhere/a.qcow2',
    },
  ])(
    'of a machine whose $what is missing names the path and goes back to rest',
    async ({ configuration, path }) => {
      await served.server.change(vm, configuration);
      const { seq } = served;
      const task = await served.run(vm, 'startup');
      expect(task).toMatchObject({
        result: 'diskRelatedError',
        resultCode: 4,
        error: { code: 'E_FILE_NOT_FOUND' },
      });
      expect(task.error?.detail).toContain(path);
      expect(await served.types(seq)).toEqual(['stateChanged', 'stateChanged', 'taskFailed']);
      expect(await served.states(seq)).toEqual(['turningOn', 'turnedOff']);
      expect(served.host.find(vm)).toBeUndefined();
    },
  );

  it('that the hypervisor refuses tells why, and leaves neither a process nor a configuration in force', async () => {
    served.hypervisor.script.startError = new VmError('VMPULSE_E_HYPERVISOR', 'QEMU says no.');
    const { seq } = served;
    const task = await served.run(vm, 'startup');
    expect(task).toMatchObject({ result: 'unexpectedError', error: { detail: 'QEMU says no.' } });
    expect(await served.states(seq)).toEqual(['turningOn', 'turnedOff']);
    expect(await served.record(vm)).toMatchObject({ process: null, activeConfiguration: null });
    const failed = (await served.events(seq)).find((event) => isEvent(event, 'taskFailed'));
    expect(failed?.data).toMatchObject({ task: task.id, operation: 'startup', messageId: 100 });
  });

  it('from a saved state that fails keeps the saved state', async () => {
    await served.bring(vm, 'saved');
    served.hypervisor.script.startError = new VmError('VMPULSE_E_HYPERVISOR', 'QEMU says no.');
    const { seq } = served;
    await served.run(vm, 'startup');
    expect(await served.states(seq)).toEqual(['turningOn', 'restoring', 'turnedOff']);
    expect(served.state(vm)).toBe('saved');
  });

  it('that a forgotten saved state prevents shows it, so that it can be discarded', async () => {
    const { configuration } = await served.record(vm);
    served.host.savedStates.set(vm, configuration);
    expect((await served.run(vm, 'startup')).result).not.toBe('success');
    expect(served.state(vm)).toBe('saved');
    expect((await served.run(vm, 'discardSavedState')).result).toBe('success');
    expect((await served.run(vm, 'startup')).result).toBe('success');
  });

  it('of a machine registered under a UUID that was saved before restores it', async () => {
    const id = '6f1c2f0e-7f0f-4a57-9f5e-0d8c5b1f3a10';
    const { configuration } = await served.record(vm);
    served.host.savedStates.set(id, configuration);
    expect(
      (await served.server.create({ name: 'web-2', memoryMiB: configuration.memoryMiB }, id)).state,
    ).toBe('saved');
    const { seq } = served;
    await served.run(id, 'startup');
    expect(await served.states(seq)).toEqual(stateSequences.restore);
  });

  it('can be cancelled, which is no failure to tell', async () => {
    served.hypervisor.script.startDelayMs = 60_000;
    const { seq } = served;
    const { id } = served.server.operate(vm, 'startup');
    await served.settle();
    expect(served.server.cancelTask(id).isCancelable).toBe(false);
    await served.settle();
    expect(served.server.task(id)).toMatchObject({ result: 'cancelled', error: { code: 'E_ABORT' } });
    expect(await served.states(seq)).toEqual(['turningOn', 'turnedOff']);
    expect(await served.types(seq)).not.toContain('taskFailed');
  });

  it('uses a saved state once: it is gone as soon as the guest runs', async () => {
    await served.bring(vm, 'saved');
    await served.run(vm, 'startup');
    expect(served.host.savedStates.has(vm)).toBe(false);
    expect(served.watch(vm).calls).toContain('begin restored running');
  });
});

describe('save', () => {
  it('that is cancelled leaves the guest as it was', async () => {
    await served.bring(vm, 'running');
    served.hypervisor.script.saveDelayMs = 4_000;
    const { seq } = served;
    const { id } = served.server.operate(vm, 'save');
    await served.clock.advanceAsync(2_500);
    expect(served.server.task(id).percent).toBeGreaterThan(0);
    served.server.cancelTask(id);
    await served.settle();
    expect(served.server.task(id).result).toBe('cancelled');
    expect(await served.states(seq)).toEqual(['saving', 'running']);
    expect(served.host.machine(vm).runState).toBe('running');
    expect(served.watch(vm).calls.slice(-1)).toEqual(['unsuspend']);
  });

  it.each(['running', 'paused'] as const)('that fails leaves a machine that was %s so', async (state) => {
    await served.bring(vm, state);
    served.hypervisor.script.saveError = new VmError('VM_E_FILE_TOO_LARGE_FOR_VOLUME', 'No room.');
    const { seq } = served;
    const task = await served.run(vm, 'save');
    expect(task.result).toBe('diskRelatedError');
    expect(await served.states(seq)).toEqual(['saving', state]);
    expect((await served.record(vm)).activeConfiguration).not.toBeNull();
  });

  it('during which the process dies is a stop of the guest, not a saved machine', async () => {
    await served.bring(vm, 'running');
    served.hypervisor.script.saveDelayMs = 4_000;
    const { seq } = served;
    const { id } = served.server.operate(vm, 'save');
    await served.settle();
    served.host.machine(vm).kill();
    await served.clock.advanceAsync(5_000);
    expect(served.server.task(id).result).toBe('unexpectedError');
    expect((await served.types(seq)).filter((type) => type === 'heartbeatStopped')).toHaveLength(1);
    expect(await served.states(seq)).toEqual(stateSequences.save);
    expect(served.state(vm)).toBe('turnedOff');
  });
});

describe('reset', () => {
  it('tells guestReset once, by no guest, and suspends the watch around it', async () => {
    await served.bring(vm, 'running');
    const { seq } = served;
    await served.run(vm, 'reset');
    const resets = (await served.events(seq)).filter((event) => isEvent(event, 'guestReset'));
    expect(resets.map(({ data }) => data.byGuest)).toEqual([false]);
    const { calls } = served.watch(vm);
    expect(calls.slice(calls.indexOf('suspend resetting'))).toEqual([
      'suspend resetting',
      'event reset',
      'unsuspend',
    ]);
  });

  it('helps a panicked machine, which shows as running', async () => {
    await served.bring(vm, 'running');
    served.host.machine(vm).panic('Oops');
    await served.settle();
    expect(served.state(vm)).toBe('running');
    expect((await served.run(vm, 'reset')).result).toBe('success');
    expect(served.host.machine(vm).runState).toBe('running');
  });

  it.each(['reset', 'save'] as const)('or %s that fails shows what QEMU left behind', async (operation) => {
    await served.bring(vm, 'running');
    const fails = vi.spyOn(FakeMachine.prototype, operation).mockImplementation(() => {
      served.host.machine(vm).setRunState('paused');
      return Promise.reject(new VmError('VMPULSE_E_HYPERVISOR', 'No, and the guest does not go on.'));
    });
    await served.run(vm, operation);
    fails.mockRestore();
    expect(served.state(vm)).toBe('paused');
    expect((await served.run(vm, 'resume')).result).toBe('success');
  });

  it('that fails leaves the machine as it was', async () => {
    await served.bring(vm, 'paused');
    served.hypervisor.script.commandErrors.set('system_reset', new VmError('VMPULSE_E_HYPERVISOR', 'No.'));
    const { seq } = served;
    expect((await served.run(vm, 'reset')).result).toBe('unexpectedError');
    expect(await served.states(seq)).toEqual(['turningOff', 'paused']);
    expect(served.watch(vm).calls.slice(-1)).toEqual(['unsuspend']);
  });
});
