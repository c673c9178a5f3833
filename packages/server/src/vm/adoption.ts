/**
 * What becomes of each machine when the service starts: its process is looked for, taken hold of, and its state
 * brought in line with what was found (`repair-plan.ts`). Nothing is started here, and what lives is not ended unless
 * it was being ended already. A machine whose process cannot be found out about is asked for again until it can.
 */
import { VmError, type VmState } from '@vmpulse/wire';
import type { Adoption } from '../hypervisor/hypervisor.ts';
import { adoptionRetryMs } from '../limits.ts';
import { guestOff } from './hypervisor-events.ts';
import type { Machine } from './machine.ts';
import { occupy } from './operate.ts';
import { finishSave, forgetSavedState, turnOff } from './operations.ts';
import type { HeldProcess, HeldState } from './phase.ts';
import { planRepair, type Repair } from './repair-plan.ts';

/** How a machine was found. */
export interface Found {
  /** Its guest was there when the service ended and is not now, and nobody meant it: it counts as running at quit. */
  readonly foundDead: boolean;
}

/**
 * Looks until it is known whether the machine's process lives, then repairs. Resolves when the machine is found and
 * held; steps that take long (ending a process, letting a cut-off start go on) run on in the machine's slot.
 * Resolves with null when `signal` aborted first, or when the service has no such hypervisor. Never rejects.
 */
export async function adopt(machine: Machine, signal: AbortSignal): Promise<Found | null> {
  const { clock, logger } = machine.host;
  for (
    let pauseMs = adoptionRetryMs.first;
    !signal.aborted;
    pauseMs = Math.min(2 * pauseMs, adoptionRetryMs.longest)
  ) {
    try {
      const saved = await machine.hypervisor.hasSavedState(machine.id);
      const adoption = await machine.hypervisor.adopt(machine.id, machine.record.process);
      if (!signal.aborted) return repair(machine, adoption, saved);
      if (adoption.kind === 'running') await adoption.machine.detach();
    } catch (error) {
      if (VmError.from(error).code === 'E_NOTIMPL') {
        logger.error({ err: error, vm: machine.reference }, 'a machine is not looked for');
        return null;
      }
      logger.error(
        { err: error, vm: machine.reference },
        'a machine could not be found out about; trying again',
      );
      await clock.sleep(pauseMs, signal);
    }
  }
  return null;
}

function repair(machine: Machine, adoption: Adoption, saved: boolean): Found {
  const { state, record } = machine;
  const plan = planRepair({
    state,
    meantToRun: record.activeConfiguration !== null,
    found: adoption.kind === 'gone' ? 'gone' : adoption.runState,
    saved,
  });
  if (adoption.kind === 'gone') {
    if (plan.kind === 'rest') rest(machine, plan, adoption.stderr);
    return { foundDead: plan.kind === 'rest' && plan.foundDead };
  }
  const process = machine.hold(adoption.machine, beginning(machine, adoption), adoption.runState);
  const at = heldState(state);
  if (at === null) machine.found({ kind: 'off', state: saved ? 'saved' : 'turnedOff' });
  else machine.found({ kind: 'held', state: at, process });
  // It runs, so there is nothing for autostart to do any more.
  if (record.process?.pid !== process.machine.record.pid || record.runningAtQuit)
    machine.remember({ process: process.machine.record, runningAtQuit: false });
  carryOut(machine, process, plan, saved);
  process.link.wake();
  return { foundDead: false };
}

/** A guest that was reset while no service ran has the port of its heartbeat closed until it has booted. */
function beginning(
  { record }: Machine,
  { guestPorts }: Extract<Adoption, { kind: 'running' }>,
): 'adopted' | 'adoptedSilent' {
  if (guestPorts === undefined) return 'adopted';
  const open = record.watch.source === 'agent' ? guestPorts.agent : guestPorts.heartbeat;
  return open ? 'adopted' : 'adoptedSilent';
}

function rest(machine: Machine, plan: Extract<Repair, { kind: 'rest' }>, stderr: string): void {
  if (!plan.told) {
    machine.found({ kind: 'off', state: plan.saved ? 'saved' : 'turnedOff' });
    if (machine.record.process !== null) machine.remember({ process: null, activeConfiguration: null });
    return;
  }
  // A saved guest goes on being watched where it was; see Watch.end.
  if (plan.saved) machine.suspend('saving');
  machine.watch.end(plan.foundDead ? 'foundDead' : 'ended', stderr);
  // Stored with its end, so that autostart knows of it though this service be killed before its turn comes.
  if (plan.foundDead) machine.amend({ runningAtQuit: true });
  for (const state of plan.states) machine.enter({ kind: 'ending', state });
  machine.rest(plan.saved, plan.foundDead ? 'processExit' : undefined);
}

/** A stored state as one with a process, or null where it has none. */
function heldState(state: VmState): HeldState | null {
  if (state === 'invalid' || state === 'turnedOff' || state === 'saved' || state === 'mergingDrives')
    return null;
  return state;
}

function carryOut(machine: Machine, process: HeldProcess, plan: Repair, saved: boolean): void {
  switch (plan.kind) {
    case 'rest':
      return;
    case 'follow':
      follow(machine, process, plan.states);
      if (saved && machine.state === 'running') beside(machine, () => forgetSavedState(machine));
      break;
    case 'guestOff':
      follow(machine, process, plan.states);
      guestOff(machine, process, 'guest-shutdown');
      break;
    case 'finishStart':
      follow(machine, process, plan.states);
      beside(machine, () => finishStart(machine, process));
      break;
    case 'finishSave':
      machine.suspend('saving');
      beside(machine, () => finishSave(machine, process));
      break;
    case 'abandonSave':
      beside(machine, () => abandonSave(machine, process, plan.goesOn));
      break;
    case 'finishTurnOff':
      process.saved = plan.saved;
      if (plan.saved) machine.suspend('saving');
      beside(machine, () => turnOff(machine, process));
      break;
  }
  // Last: by now an exit that came meanwhile is known to be asked for, where it was.
  machine.listen(process);
}

function follow(
  machine: Machine,
  process: HeldProcess,
  states: readonly ('turningOn' | 'running' | 'paused')[],
): void {
  const { configuration, activeConfiguration } = machine.record;
  for (const state of states) {
    machine.enter(
      { kind: 'held', state, process },
      { process: process.machine.record, activeConfiguration: activeConfiguration ?? configuration },
    );
  }
}

/** Begins a step that takes long in the machine's slot; nobody waits for it. */
function beside(machine: Machine, work: () => Promise<void>): void {
  void repairing(machine, work);
}

async function repairing(machine: Machine, work: () => Promise<void>): Promise<void> {
  const error = await occupy(machine, 'repair', null, work);
  if (error === null) return;
  machine.host.logger.error({ err: error, vm: machine.reference }, 'the repair of a machine failed');
}

/**
 * Lets the guest run, or ends a process that refuses: then the start has come to nothing. A service that stops
 * meanwhile leaves it to the next one: what fails then fails because of that.
 */
async function finishStart(machine: Machine, process: HeldProcess): Promise<void> {
  const { stopping } = machine.host;
  try {
    // Waits for a saved state that is still being read.
    await process.machine.resume();
  } catch (error) {
    if (process.ended || stopping.aborted) return;
    // One that does not answer is not ended for that: it is there, and the watch tells what it sees of it.
    if (VmError.from(error).code !== 'VM_E_TIMED_OUT') {
      process.saved = await machine.hypervisor.hasSavedState(machine.id);
      await turnOff(machine, process).finally(() => {
        if (machine.process === process) machine.enter({ kind: 'held', state: 'running', process });
      });
      return;
    }
  }
  if (machine.process !== process || process.exitExpected) return;
  machine.enter({ kind: 'held', state: 'running', process });
  await forgetSavedState(machine);
}

/** The guest goes on where the save was cut off; one that cannot is shown as what it is: held. */
async function abandonSave(
  machine: Machine,
  process: HeldProcess,
  goesOn: 'running' | 'paused',
): Promise<void> {
  let state = goesOn;
  try {
    await process.machine.resume();
    if (goesOn === 'paused') await process.machine.pause();
  } catch (error) {
    // A service that stops has let go of it: the next one finds it as it is.
    if (process.ended || machine.host.stopping.aborted) return;
    machine.host.logger.error(
      { err: error, vm: machine.reference },
      'a guest does not go on after a cut-off save',
    );
    if (VmError.from(error).code !== 'VM_E_TIMED_OUT') state = 'paused';
  }
  if (machine.process === process && !process.exitExpected) machine.enter({ kind: 'held', state, process });
}
