/** Asks a guest to shut itself down and waits until it has: by its agent, or by the power button where none answers. */
import { VmError } from '@vmpulse/wire';
import { guestShutdownTimeoutMs, qemuQuitTimeoutMs } from '../limits.ts';
import type { Machine } from './machine.ts';
import type { HeldProcess } from './phase.ts';

/** How often a guest that was asked by its power button is looked at for an agent. */
const agentLookMs = 2_000;

/**
 * Resolves when the guest is off. The machine runs on where it is not, and its watch with it.
 * Errors: E_ABORT when `signal` aborted, VM_E_TIMED_OUT, VMPULSE_E_HYPERVISOR when the process ended otherwise.
 */
export async function guestShutdown(
  machine: Machine,
  process: HeldProcess,
  signal: AbortSignal,
  timeoutMs: number = guestShutdownTimeoutMs,
): Promise<void> {
  const { clock } = machine.host;
  const waiting = new AbortController();
  const either = AbortSignal.any([signal, waiting.signal]);
  machine.suspend('shuttingDown');
  try {
    // The deadline counts from the question: an agent that is slow to take it uses the guest's time up.
    const late = clock.sleep(timeoutMs, either);
    const asked = ask(machine, process, either);
    await Promise.race([process.gone, late, rejection(asked)]);
    // The guest is off and only its process is left: that takes as long as it takes to end one.
    if (process.exitExpected && !process.ended) {
      await Promise.race([process.gone, clock.sleep(2 * qemuQuitTimeoutMs, waiting.signal)]);
    }
  } finally {
    waiting.abort();
    if (!process.exitExpected) machine.unsuspend();
  }
  if (process.ended && process.exitExpected) return;
  if (process.ended) {
    throw new VmError(
      'VMPULSE_E_HYPERVISOR',
      `The process of ${machine.name} ended before its guest had shut down.`,
    );
  }
  if (signal.aborted) throw new VmError('E_ABORT', 'Waiting for the guest to shut down was cancelled.');
  const detail = `The guest of ${machine.name} did not shut down within ${timeoutMs / 1000} s`;
  throw new VmError('VM_E_TIMED_OUT', `${detail}; it runs on. Turn it off, or look at its console.`);
}

async function ask(machine: Machine, process: HeldProcess, signal: AbortSignal): Promise<void> {
  if (await askAgent(machine, process)) return;
  await process.machine.pressPowerButton();
  // A guest that was still booting may have missed the button; its agent is asked as soon as it answers.
  while (!signal.aborted && !process.ended && !process.exitExpected) {
    await machine.host.clock.sleep(agentLookMs, signal);
    if (!signal.aborted && (await askAgent(machine, process))) return;
  }
}

/** True when the guest's agent took the shutdown. */
async function askAgent(machine: Machine, process: HeldProcess): Promise<boolean> {
  if (!process.link.canShutdown) return false;
  try {
    await process.link.shutdown();
    return true;
  } catch (error) {
    machine.host.logger.warn(
      { err: error, vm: machine.reference },
      'the guest agent did not take the shutdown',
    );
    return false;
  }
}

/** Only the failure of `promise`: success says that the guest was asked, not that it is off. */
async function rejection(promise: Promise<void>): Promise<never> {
  await promise;
  return new Promise<never>(() => {
    // Never: the race is decided by the others.
  });
}
