/** What the lifecycle does about what a machine's hypervisor tells by itself. */
import type { HypervisorEvent, RunState } from '../hypervisor/hypervisor.ts';
import { firmwareResetMs } from '../limits.ts';
import { tellHardwareFault } from './hardware-faults.ts';
import type { Machine } from './machine.ts';
import type { HeldProcess } from './phase.ts';
import type { Slot } from './slot.ts';

/** Operations whose own doing it is that QEMU stops and resumes while they are under way. */
const steering: readonly Slot['operation'][] = ['pause', 'resume', 'reset', 'save', 'turnOff', 'repair'];

/** How often QEMU is asked again because it said something else meanwhile. */
const maxOvertaken = 5;

/**
 * Held by QEMU in a way that `resume` or `reset` ends: shown as paused. `saving` while no save is under way is what
 * a migration that nobody waits for any more leaves behind.
 */
const pausedStates: readonly RunState[] = ['paused', 'ioError', 'watchdog', 'saving'];

/** Every event comes here; the watch has it first. Never throws. */
export function onHypervisorEvent(machine: Machine, process: HeldProcess, event: HypervisorEvent): void {
  if (process.ended) return;
  process.events += 1;
  try {
    // Its guest goes on in another QEMU: this one's end is in order.
    if (event.kind === 'exited' && event.migrated === true) migratedAway(machine, process);
    // A suspended watch takes an exit for what was asked for. This one was not.
    if (event.kind === 'exited' && !process.exitExpected) machine.unsuspend();
    machine.watch.hypervisorEvent(event);
    // The table pairs each kind with its own event; TypeScript does not follow that through the index.
    const reaction = reactions[event.kind] as
      | ((...args: [Machine, HeldProcess, HypervisorEvent]) => void)
      | undefined;
    reaction?.(machine, process, event);
  } catch (error) {
    machine.host.logger.error(
      { err: error, vm: machine.reference, event: event.kind },
      'an event was not dealt with',
    );
  }
}

/** Brings the state in line with what QEMU does; nothing while an operation that steers it is under way. */
function settle(machine: Machine, process: HeldProcess, runState: RunState): void {
  if (machine.process !== process || process.exitExpected || isSteered(machine)) return;
  if (runState === 'shutdown') guestOff(machine, process, 'guest-shutdown');
  else if (machine.state === 'running' && pausedStates.includes(runState)) {
    machine.enter({ kind: 'held', state: 'paused', process });
  } else if (machine.state === 'paused' && runState === 'running') {
    machine.enter({ kind: 'held', state: 'running', process });
  }
}

/** The guest ended itself in order; QEMU holds what is left of it and is ended too. */
export function guestOff(machine: Machine, process: HeldProcess, reason: string): void {
  if (process.exitExpected) return;
  process.exitExpected = true;
  machine.suspend('turningOff');
  if (!process.guestOffTold) machine.append('turnedOffByGuest', { reason });
  process.guestOffTold = true;
  const { state } = machine;
  if (state === 'running' || state === 'paused' || state === 'saving') {
    machine.enter({ kind: 'held', state: 'turningOff', process }, { activeConfiguration: null });
  }
  machine.closing = quitBeside(machine, process);
}

function migratedAway(machine: Machine, process: HeldProcess): void {
  if (process.exitExpected) return;
  process.exitExpected = true;
  machine.suspend('turningOff');
  machine.append('migratedAway', {});
}

/** What the lifecycle does about each event; those not named are the watch's alone. */
type Reactions = {
  readonly [K in HypervisorEvent['kind']]?: (
    machine: Machine,
    process: HeldProcess,
    event: Extract<HypervisorEvent, { kind: K }>,
  ) => void;
};

const reactions: Reactions = {
  exited: (machine, process) => machine.ended(process),
  shutdown: (machine, process, { byGuest, reason }) => {
    // A panic that ends the machine is told by the watch as what it is.
    if (!byGuest || process.panicked || reason === 'guest-panic') return;
    guestOff(machine, process, process.hibernated ? 'guest-hibernated' : reason);
  },
  hibernated: (_machine, process) => {
    process.hibernated = true;
  },
  tripleFault: (machine) => machine.append('tripleFault', {}),
  reset: onReset,
  panicked: (_machine, process) => {
    process.panicked = true;
  },
  ioError: tellHardwareFault,
  memoryFailure: tellHardwareFault,
  powerButton: (machine) => machine.append('shutdownRequested', { by: 'acpi' }),
  stopped: (machine, process) => {
    if (!isSteered(machine)) void settleByAsking(machine, process);
  },
  resumed: (machine, process) => {
    process.link.resumed();
    settle(machine, process, 'running');
  },
  connectionRegained: (machine, process, { runState }) => {
    // Its opening of the port may have been missed.
    process.link.wake();
    settle(machine, process, runState);
  },
  port: (_machine, process, { port, open }) => {
    if (port !== 'agent') return;
    if (open) process.link.portOpened();
    else process.link.portClosed();
  },
};

function onReset(machine: Machine, process: HeldProcess, event: { byGuest: boolean; reason: string }): void {
  process.panicked = false;
  process.hibernated = false;
  process.guestOffTold = false;
  process.link.rebooted();
  const { clock } = machine.host;
  const sinceLastMs = clock.monotonicMs() - process.lastResetMs;
  process.lastResetMs = clock.monotonicMs();
  // Firmware resets the machine once more, or twice, on a warm boot: that is still the same reset.
  if (sinceLastMs < firmwareResetMs) return;
  machine.append('guestReset', { reason: event.reason, byGuest: event.byGuest });
}

/** Asks QEMU what it does and brings the state in line with it, beside everything else. */
export function settleAgain(machine: Machine): void {
  const { process } = machine;
  if (process !== null && !machine.host.stopping.aborted) void settleByAsking(machine, process);
}

/** QEMU stopped the guest by itself; why is its run state. An answer that an event overtook is asked for again. */
async function settleByAsking(machine: Machine, process: HeldProcess): Promise<void> {
  try {
    for (let asked = 0; asked < maxOvertaken; asked += 1) {
      const { events } = process;
      const runState = await process.machine.runState();
      if (process.ended) return;
      if (process.events !== events) continue;
      machine.watch.found(runState);
      settle(machine, process, runState);
      return;
    }
  } catch {
    // It does not answer: connectionRegained will tell, or exited.
  }
}

/** Ends the process of a guest that is off. Never rejects. */
async function quitBeside(machine: Machine, process: HeldProcess): Promise<void> {
  // A service killed between the two would find a guest gone that nobody turned off.
  await machine.writtenSoon();
  if (process.ended) return;
  try {
    await process.machine.quit();
    machine.ended(process);
  } catch (error) {
    if (process.ended) return;
    machine.host.logger.error(
      { err: error, vm: machine.reference },
      'QEMU could not be ended; turn the machine off',
    );
    process.exitExpected = false;
    if (machine.state !== 'turningOff') return;
    machine.enter(
      { kind: 'held', state: 'running', process },
      { activeConfiguration: process.configuration },
    );
  }
}

function isSteered({ slot }: Machine): boolean {
  return slot !== null && steering.includes(slot.operation);
}
