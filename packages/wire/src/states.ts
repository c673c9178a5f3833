/**
 * The states of a machine, their numbers, the state events an operation raises and which operation a state allows:
 * one table, used by the server, the command line and the page alike.
 */
import type { ErrorCode } from './error.ts';

/** Number of each state, those of Virtual Server's `VMVMState`. */
export const stateCodes = {
  invalid: 0,
  turnedOff: 1,
  saved: 2,
  turningOn: 3,
  restoring: 4,
  running: 5,
  paused: 6,
  saving: 7,
  turningOff: 8,
  mergingDrives: 9,
  deleteMachine: 10,
} as const;

/** A machine's state. */
export type VmState = keyof typeof stateCodes;

/** Every state, in the order of its number. */
export const vmStates: readonly VmState[] = Object.keys(stateCodes) as VmState[];

/** What can be asked of a machine, by the name its HTTP route has in kebab case. */
export type VmOperation =
  | 'startup'
  | 'turnOff'
  | 'reset'
  | 'pause'
  | 'resume'
  | 'save'
  | 'discardSavedState'
  | 'shutdown'
  | 'injectNmi'
  | 'delete';

/** The states in which an operation may begin. */
export const allowedStates: Record<VmOperation, readonly VmState[]> = {
  startup: ['turnedOff', 'saved'],
  turnOff: ['running', 'paused'],
  reset: ['running', 'paused'],
  pause: ['running'],
  resume: ['paused'],
  save: ['running', 'paused'],
  discardSavedState: ['saved'],
  shutdown: ['running'],
  injectNmi: ['running'],
  delete: ['turnedOff', 'saved'],
};

/** Every operation. */
export const vmOperations: readonly VmOperation[] = Object.keys(allowedStates) as VmOperation[];

/** The state events that an operation raises, in order (Virtual Server's table). */
export const stateSequences: Record<
  'startup' | 'restore' | 'save' | 'reset' | 'pause' | 'resume' | 'turnOff',
  readonly VmState[]
> = {
  startup: ['turningOn', 'running'],
  restore: ['turningOn', 'restoring', 'running'],
  save: ['saving', 'turningOff', 'deleteMachine', 'turnedOff'],
  reset: ['turningOff', 'deleteMachine', 'turningOn', 'running'],
  pause: ['paused'],
  resume: ['running'],
  turnOff: ['turningOff', 'deleteMachine', 'turnedOff'],
};

/** The operations that may begin in `state`, for a client to offer. */
export function operationsIn(state: VmState): VmOperation[] {
  return vmOperations.filter((operation) => allowedStates[operation].includes(state));
}

/** States in which a guest exists (its processor runs or could go on). */
const activeStates: readonly VmState[] = [
  'running',
  'paused',
  'turningOn',
  'restoring',
  'saving',
  'turningOff',
];

/** True while a machine has, or is about to have or lose, a process. */
export function isActive(state: VmState): boolean {
  return activeStates.includes(state);
}

/**
 * Why `operation` is refused in `state`, as the original's code, or undefined where it is allowed.
 * E_FAIL is what the original answers to pause of a paused and resume of a running machine.
 */
export function refusal(operation: VmOperation, state: VmState): ErrorCode | undefined {
  if (allowedStates[operation].includes(state)) return undefined;
  const active = isActive(state);
  switch (operation) {
    case 'startup':
    case 'delete':
      return active ? 'VM_E_VM_RUNNING' : 'E_FAIL';
    case 'discardSavedState':
      return active ? 'VM_E_VM_RUNNING' : 'VM_E_VM_NO_SAVED_STATE';
    case 'pause':
    case 'resume':
      return active ? 'E_FAIL' : 'VM_E_VM_NOT_RUNNING';
    case 'shutdown':
    case 'injectNmi':
      return state === 'paused' ? 'VM_E_VM_PAUSED' : 'VM_E_VM_NOT_RUNNING';
    case 'turnOff':
    case 'reset':
    case 'save':
      break;
  }
  return 'VM_E_VM_NOT_RUNNING';
}
