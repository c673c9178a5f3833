/**
 * What becomes of running machines when the service stops in order: each by its shutdownActionOnQuit, a few at once,
 * all within one deadline. Whatever is not done by then is left running, and found again by the next start.
 */
import { VmError, type ShutdownActionOnQuit } from '@vmpulse/wire';
import { withDeadline } from '../clock.ts';
import { maxParallelQuits } from '../limits.ts';
import { guestShutdown } from './guest-shutdown.ts';
import type { Machine } from './machine.ts';
import { occupy } from './operate.ts';
import { executors } from './operations.ts';
import { forEachParallel } from './parallel.ts';
import { Task } from './task.ts';

/** Part of the time left that a guest gets to shut down; the rest is for saving it where it does not. */
const shutdownShare = 0.6;

/** Part of the time of a stop that is kept for giving up what is under way: of 80 s, what cancelling a save takes. */
const releaseShare = 0.25;

/** Deals with all machines, and detaches from what still runs. Never rejects. */
export async function quitMachines(machines: readonly Machine[], timeoutMs: number): Promise<void> {
  const [first] = machines;
  if (first === undefined) return;
  const { clock, logger } = first.host;
  const releaseMs = timeoutMs * releaseShare;
  const actMs = timeoutMs - releaseMs;
  const endMs = clock.monotonicMs() + actMs;
  const over = new AbortController();
  const acting = machines.filter(
    (machine) => machine.phase.kind !== 'off' && action(machine) !== 'leaveRunning',
  );
  const late = (): VmError => new VmError('VM_E_TIMED_OUT', 'The stop of the service takes too long.');
  for (const machine of machines) {
    rememberRunning(machine);
    if (givesWay(machine)) machine.slot?.task?.interrupt();
  }
  try {
    const all = forEachParallel(acting, maxParallelQuits, (machine) => quit(machine, endMs, over.signal));
    await withDeadline(clock, all, actMs, late);
  } catch (error) {
    const names = acting.filter(({ process }) => process !== null).map(({ name }) => name);
    logger.warn({ err: error, machines: names }, 'machines are left running');
  } finally {
    over.abort();
  }
  await releaseMachines(machines, releaseMs);
}

/**
 * Gives up what is under way on machines, waits until that is over or `timeoutMs` have passed, and detaches from what
 * runs: a cancelled save needs its process until the guest goes on. Never rejects.
 */
export async function releaseMachines(machines: readonly Machine[], timeoutMs: number): Promise<void> {
  const busy = machines.filter((machine) => machine.slot !== null || machine.phase.kind !== 'off');
  const [first] = busy;
  if (first !== undefined) {
    const { clock, logger } = first.host;
    for (const { slot } of busy) slot?.task?.interrupt();
    const late = (): VmError => new VmError('VM_E_TIMED_OUT', 'An operation takes longer than the stop may.');
    try {
      await withDeadline(clock, Promise.all(busy.map(untilIdle)), timeoutMs, late);
    } catch (error) {
      const names = busy.filter(({ slot }) => slot !== null).map(({ name }) => name);
      logger.warn({ err: error, machines: names }, 'machines are let go of in the middle of an operation');
    }
  }
  await Promise.all(machines.map((machine) => machine.detach()));
}

async function untilIdle(machine: Machine): Promise<void> {
  // One that cut in on another comes after it; from now on nothing new begins.
  while (machine.slot !== null) await machine.slot.done;
  await machine.closing;
}

/** What is under way and not to be waited for: the guest is left as it is, or something else is to be done with it. */
function givesWay(machine: Machine): boolean {
  const operation = machine.slot?.operation;
  if (operation === 'save') return action(machine) === 'leaveRunning';
  return operation === 'startup' || operation === 'shutdown';
}

/** For autostart ifRunningAtQuit. One that is off keeps what is stored: it may still wait for its turn. */
function rememberRunning(machine: Machine): void {
  const { phase, state, record } = machine;
  if (phase.kind === 'off' || phase.kind === 'ending') return;
  const isMeantTo = record.activeConfiguration !== null && state !== 'saving';
  const runningAtQuit = isMeantTo || (phase.kind === 'seeking' && record.runningAtQuit);
  if (machine.record.runningAtQuit !== runningAtQuit) machine.remember({ runningAtQuit });
}

/** One machine, after the operation that is under way on it. Never rejects. */
async function quit(machine: Machine, endMs: number, signal: AbortSignal): Promise<void> {
  const { clock, logger } = machine.host;
  await machine.slot?.done;
  if (signal.aborted || machine.process === null) return;
  const wanted = action(machine);
  const error = await occupy(machine, wanted === 'turnOff' ? 'turnOff' : 'save', null, async () => {
    if (wanted === 'turnOff') return run(machine, 'turnOff', signal);
    if (
      wanted === 'shutdown' &&
      (await shutDown(machine, (endMs - clock.monotonicMs()) * shutdownShare, signal))
    ) {
      return undefined;
    }
    return run(machine, 'save', signal);
  });
  if (error !== null)
    logger.error({ err: error, vm: machine.reference }, `the machine was not dealt with: ${wanted}`);
}

async function run(machine: Machine, operation: 'turnOff' | 'save', signal: AbortSignal): Promise<void> {
  const description = `${operation} of ${machine.name} as the service stops`;
  const task = new Task({ vm: machine.reference, operation, description, cancelable: true }, 0);
  const interrupt = (): void => task.interrupt();
  signal.addEventListener('abort', interrupt);
  try {
    await executors[operation](machine, task);
  } finally {
    signal.removeEventListener('abort', interrupt);
  }
}

/** False where the guest cannot be asked, or did not go down in its time: it is to be saved. */
async function shutDown(machine: Machine, timeoutMs: number, signal: AbortSignal): Promise<boolean> {
  const { process } = machine;
  if (process === null) return true;
  if (machine.state !== 'running' || !process.link.canShutdown) return false;
  try {
    await guestShutdown(machine, process, signal, timeoutMs);
    return true;
  } catch (error) {
    machine.host.logger.warn(
      { err: error, vm: machine.reference },
      'the guest did not shut down; it is saved',
    );
    return machine.process === null;
  }
}

function action(machine: Machine): ShutdownActionOnQuit {
  return machine.record.configuration.shutdownActionOnQuit;
}
