/** What each operation does, as a table of executors. State events come in the order of wire's `stateSequences`. */
import { VmError } from '@vmpulse/wire';
import type { RunningMachine } from '../hypervisor/hypervisor.ts';
import { checkFiles } from './configuration-files.ts';
import { guestShutdown } from './guest-shutdown.ts';
import type { Machine } from './machine.ts';
import type { TaskOperation } from './machine-service.ts';
import type { HeldProcess, HeldState } from './phase.ts';
import type { Task } from './task.ts';

/** Carries an operation out. It begins in a state that allows it; what it throws ends the task. */
type Executor = (machine: Machine, task: Task) => Promise<void>;

/** How each operation is carried out. */
export const executors: Record<TaskOperation, Executor> = {
  startup,
  turnOff: async (machine, task) => {
    // What it cut in on may have ended with the machine at rest.
    if (machine.process !== null) await turnOff(machine, machine.process, task);
  },
  reset,
  pause,
  resume,
  save,
  discardSavedState: async (machine) => {
    await machine.hypervisor.discardSavedState(machine.id);
    // The reference has no event for it; one who follows states by events is told that the machine is off.
    machine.rest(false);
  },
  shutdown: (machine, task) => guestShutdown(machine, requireProcess(machine), task.signal),
  injectNmi: async (machine) => {
    await requireProcess(machine).machine.injectNmi();
  },
};

/** Ends the process: turningOff, deleteMachine, turnedOff. On failure the machine is as before. */
export async function turnOff(machine: Machine, process: HeldProcess, task?: Task): Promise<void> {
  const before = machine.state === 'paused' ? 'paused' : 'running';
  machine.suspend('turningOff');
  process.exitExpected = true;
  const { state } = machine;
  if (state === 'running' || state === 'paused' || state === 'saving') {
    machine.enter({ kind: 'held', state: 'turningOff', process }, { activeConfiguration: null });
  }
  // A service killed between the two would find a guest gone that nobody turned off.
  await machine.writtenSoon();
  if (process.ended) return;
  try {
    task?.requireWanted();
    await process.machine.quit();
  } catch (error) {
    if (process.ended) return;
    process.exitExpected = false;
    goBack(machine, process, 'turningOff', before);
    throw error;
  }
  machine.ended(process);
}

async function startup(machine: Machine, task: Task): Promise<void> {
  const restore = machine.state === 'saved';
  const { configuration } = machine.record;
  const { clock, logger } = machine.host;
  machine.enter(
    { kind: 'starting', state: 'turningOn' },
    { activeConfiguration: configuration, runningAtQuit: false },
    task.by,
  );
  let running: RunningMachine;
  try {
    await machine.closing;
    await checkFiles(configuration, clock);
    if (task.signal.aborted) throw new VmError('E_ABORT', 'The start was cancelled.');
    task.progress(10);
    if (restore) machine.enter({ kind: 'starting', state: 'restoring' });
    running = await machine.hypervisor.start({
      vmId: machine.id,
      configuration,
      restore,
      signal: task.signal,
      onSpawned: (process) => {
        // At once, so that a kill -9 from here on leaves a machine that is found again.
        machine.remember({ process });
        task.progress(30);
      },
    });
  } catch (error) {
    // Of a machine that was off too: one that a saved state keeps from starting must show it, to be rid of it.
    machine.rest(await hasSavedState(machine, restore));
    throw error;
  }
  if (machine.released) {
    // The log is closed and nobody watches: the process runs on, and is found by the next service.
    await running.detach();
    throw new VmError('VM_E_APP_SHUTTING_DOWN', 'The service stopped before the machine had started.');
  }
  task.commit();
  task.progress(90);
  if (restore) await forgetSavedState(machine);
  const process = machine.hold(running, restore ? 'restored' : 'booted', 'running');
  machine.enter({ kind: 'held', state: 'running', process }, { process: running.record });
  machine.listen(process);
  logger.info({ vm: machine.reference, pid: running.record.pid }, 'machine started');
}

async function reset(machine: Machine, task: Task): Promise<void> {
  const process = requireProcess(machine);
  const before = machine.state === 'paused' ? 'paused' : 'running';
  machine.suspend('resetting');
  // activeConfiguration stays: a service that is killed here knows by it that the machine was not meant to be off.
  machine.enter({ kind: 'held', state: 'turningOff', process });
  // Recovery judges by that event whether a reset may have been done by a service that was killed here.
  await machine.writtenSoon();
  try {
    task.requireWanted();
    await process.machine.reset();
    requireSame(machine, process, 'turningOff');
  } catch (error) {
    goBack(machine, process, 'turningOff', before);
    throw error;
  }
  for (const state of ['deleteMachine', 'turningOn', 'running'] as const) {
    machine.enter({ kind: 'held', state, process });
  }
  machine.unsuspend();
}

async function pause(machine: Machine): Promise<void> {
  const process = requireProcess(machine);
  machine.suspend('pausing');
  try {
    await process.machine.pause();
    requireSame(machine, process, 'running');
    machine.enter({ kind: 'held', state: 'paused', process });
  } finally {
    // The pause itself is QEMU's, told to the watch as `stopped`: an exit while paused is a stop nobody asked for.
    if (!process.exitExpected) machine.unsuspend();
  }
}

async function resume(machine: Machine): Promise<void> {
  const process = requireProcess(machine);
  await process.machine.resume();
  requireSame(machine, process, 'paused');
  machine.enter({ kind: 'held', state: 'running', process });
}

async function save(machine: Machine, task: Task): Promise<void> {
  const process = requireProcess(machine);
  const before = machine.state === 'paused' ? 'paused' : 'running';
  machine.suspend('saving');
  machine.enter({ kind: 'held', state: 'saving', process });
  try {
    // The last tenth is the end of the process.
    await process.machine.save((percent) => task.progress(percent * 0.9), task.signal);
    requireSame(machine, process, 'saving');
  } catch (error) {
    goBack(machine, process, 'saving', before);
    throw error;
  }
  task.commit();
  await finishSave(machine, process);
}

/** The state is completely on disk: ends the process, and the machine rests as saved. */
export async function finishSave(machine: Machine, process: HeldProcess): Promise<void> {
  process.saved = true;
  try {
    await turnOff(machine, process);
  } catch (error) {
    // It goes on from here, so what was saved is no longer its state. QEMU holds it since the save.
    process.saved = false;
    await forgetSavedState(machine);
    if (machine.process === process && machine.state === 'running') {
      machine.enter({ kind: 'held', state: 'paused', process });
    }
    throw error;
  }
}

/** A saved state that was used must never be used again: the disks have moved on. */
export async function forgetSavedState(machine: Machine): Promise<void> {
  try {
    await machine.hypervisor.discardSavedState(machine.id);
  } catch (error) {
    machine.host.logger.error(
      { err: error, vm: machine.reference },
      'an outdated saved state could not be removed',
    );
  }
}

/** `otherwise` where it cannot be looked at. */
async function hasSavedState(machine: Machine, otherwise: boolean): Promise<boolean> {
  try {
    return await machine.hypervisor.hasSavedState(machine.id);
  } catch (error) {
    // One that was saved is better shown as saved and refused at the next start than shown as off and lost by one.
    machine.host.logger.error(
      { err: error, vm: machine.reference },
      'the saved state could not be looked at',
    );
    return otherwise;
  }
}

/** Back to what was before, where the process is still there and nothing else has happened to it. */
function goBack(machine: Machine, process: HeldProcess, from: HeldState, to: 'running' | 'paused'): void {
  if (machine.process !== process || process.exitExpected || machine.state !== from) return;
  machine.enter({ kind: 'held', state: to, process }, { activeConfiguration: process.configuration });
  machine.unsuspend();
}

/** Errors: VM_E_VM_NOT_RUNNING. */
function requireProcess(machine: Machine): HeldProcess {
  const { process } = machine;
  if (process !== null) return process;
  throw new VmError('VM_E_VM_NOT_RUNNING', `${machine.name} does not run any more; start it first.`);
}

/** The machine must be where the operation left it. Errors: VM_E_VM_NOT_RUNNING. */
function requireSame(machine: Machine, process: HeldProcess, state: HeldState): void {
  if (machine.process === process && machine.state === state && !process.exitExpected) return;
  const detail = `${machine.name} ended by itself meanwhile; look at its events for the reason.`;
  throw new VmError('VM_E_VM_NOT_RUNNING', detail);
}
