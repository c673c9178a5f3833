/** Who may do what to a machine now: one operation at a time, and the sentences of a refusal. */
import {
  allowedStates,
  isActive,
  operationsIn,
  refusal,
  VmError,
  type VmOperation,
  type VmState,
} from '@vmpulse/wire';
import type { Machine } from './machine.ts';
import type { Task } from './task.ts';

/** The operation a machine is busy with. `repair` is the service's own, after a restart. */
export interface Slot {
  readonly operation: VmOperation | 'repair';
  /** null for `repair` and `delete`. */
  readonly task: Task | null;
  /** Resolves when the machine is free again; never rejects. */
  readonly done: Promise<void>;
}

/** turnOff does not wait for a guest that takes its time: it may cut in on these by cancelling them. */
const interruptible: readonly Slot['operation'][] = ['shutdown', 'startup'];

/** May `operation` take the place of the one under way? */
function cutsIn(operation: VmOperation, slot: Slot): boolean {
  return operation === 'turnOff' && interruptible.includes(slot.operation);
}

/** Errors: VMPULSE_E_OPERATION_IN_PROGRESS, VMPULSE_E_HYPERVISOR, E_NOTIMPL, the refusal of the states' table. */
export function checkAllowed(machine: Machine, operation: VmOperation): void {
  const { slot, name, phase, state } = machine;
  if (slot !== null) {
    if (cutsIn(operation, slot)) return;
    throw busy(machine, operation, slot);
  }
  if (phase.kind === 'seeking') {
    const detail = `vmpulse has not found out yet whether the process of ${name} lives; it keeps trying, so ask again.`;
    throw new VmError('VMPULSE_E_HYPERVISOR', detail);
  }
  const code = refusal(operation, state);
  if (code !== undefined) {
    const allowed = allowedStates[operation].join(' or ');
    throw new VmError(
      code,
      `${name} is ${state}; ${operation} needs it ${allowed}. ${advice(operation, state)}`,
    );
  }
  const { capabilities, kind } = machine.hypervisor;
  if (
    (operation === 'save' && !capabilities.save) ||
    (operation === 'injectNmi' && !capabilities.injectNmi)
  ) {
    throw new VmError(
      'E_NOTIMPL',
      `The hypervisor ${kind} cannot do ${operation}; see the machine's operations.`,
    );
  }
}

/** Operations the machine takes now. */
export function allowedOperations(machine: Machine): VmOperation[] {
  const { slot, phase, state, hypervisor } = machine;
  if (slot !== null) return cutsIn('turnOff', slot) ? ['turnOff'] : [];
  if (phase.kind === 'seeking') return [];
  const { save, injectNmi } = hypervisor.capabilities;
  return operationsIn(state).filter(
    (each) => (each !== 'save' || save) && (each !== 'injectNmi' || injectNmi),
  );
}

function busy({ name }: Machine, operation: VmOperation, { operation: current, task }: Slot): VmError {
  const by = task === null ? '' : ` (task ${task.id})`;
  const under =
    current === 'repair' ? 'The repair after the restart of the service' : `The operation ${current}`;
  const next = task?.info().isCancelable === true ? 'Wait for it or cancel it' : 'Wait for it';
  const detail = `${under} is under way on ${name}${by}. ${next}, then ask for ${operation} again.`;
  return new VmError('VMPULSE_E_OPERATION_IN_PROGRESS', detail);
}

function advice(operation: VmOperation, state: VmState): string {
  if (state === 'turnedOff' || state === 'saved') {
    if (operation === 'discardSavedState') return 'There is nothing to discard.';
    return 'Start it first.';
  }
  if (state === 'paused')
    return operation === 'pause' ? 'It is paused already.' : 'Resume it or turn it off first.';
  if (state === 'running')
    return operation === 'resume' ? 'It runs already.' : 'Turn it off or save it first.';
  return isActive(state) || state === 'deleteMachine'
    ? 'Wait until that is over.'
    : 'Look at the log of the service.';
}
