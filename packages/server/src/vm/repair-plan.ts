/**
 * What to do about a machine after the service was restarted: a pure function of what is stored and what was found.
 * Rules: a process that lives is never ended unless it was meant to be; what vanished while nobody looked is told as
 * such; what was begun is finished where it can be, and taken back where it cannot.
 */
import type { VmState } from '@vmpulse/wire';
import type { RunState } from '../hypervisor/hypervisor.ts';

/** What is known before and after looking. */
export interface Situation {
  /** Of the last stateChanged event. */
  readonly state: VmState;
  /** The stored activeConfiguration is there: nobody meant the machine to be off. */
  readonly meantToRun: boolean;
  /** Its process: run state, or gone. */
  readonly found: RunState | 'gone';
  /** A complete saved state is on disk. */
  readonly saved: boolean;
}

/** What to do. States given are entered in order, each an event. */
export type Repair =
  /** No process: tell `states`, then turnedOff where `told`; rest. `foundDead`: a guest that nobody ended is gone. */
  | {
      readonly kind: 'rest';
      readonly states: readonly ('turningOff' | 'deleteMachine')[];
      readonly told: boolean;
      readonly saved: boolean;
      readonly foundDead: boolean;
    }
  /** A process: tell `states`. */
  | { readonly kind: 'follow'; readonly states: readonly ('turningOn' | 'running' | 'paused')[] }
  /** A process whose start was cut off before its guest ran: let it run, or end it where it refuses. */
  | { readonly kind: 'finishStart'; readonly states: readonly 'turningOn'[] }
  /** The state is on disk, the process was still to be ended. */
  | { readonly kind: 'finishSave' }
  /** A save was cut off: the guest goes on, paused again where it was. */
  | { readonly kind: 'abandonSave'; readonly goesOn: 'running' | 'paused' }
  /** It was being turned off. */
  | { readonly kind: 'finishTurnOff'; readonly saved: boolean }
  /** The guest turned itself off while nobody looked. States are entered first. */
  | { readonly kind: 'guestOff'; readonly states: readonly ('turningOn' | 'running')[] };

/** The plan for one machine. */
export function planRepair(situation: Situation): Repair {
  return situation.found === 'gone' ? planGone(situation) : planAlive(situation, situation.found);
}

/** What each run state says of the guest; what it then means depends on the stored state. */
const meanings: Record<RunState, 'runs' | 'held' | 'off' | 'saving' | 'loading' | 'unclear'> = {
  running: 'runs',
  suspended: 'runs',
  // Its process is there, and only turnOff and reset help: the state stays running, the verdict says the rest.
  panicked: 'runs',
  paused: 'held',
  ioError: 'held',
  watchdog: 'held',
  shutdown: 'off',
  saving: 'saving',
  preparing: 'loading',
  restoring: 'loading',
  internalError: 'unclear',
  other: 'unclear',
};

/** States in which a machine rests, or that no machine of vmpulse is in. */
const resting: readonly VmState[] = ['invalid', 'mergingDrives', 'turnedOff', 'saved'];

const follow = (...states: ('turningOn' | 'running' | 'paused')[]): Repair => ({ kind: 'follow', states });

const guestOff = (...states: ('turningOn' | 'running')[]): Repair => ({ kind: 'guestOff', states });

const rest = (
  states: readonly ('turningOff' | 'deleteMachine')[],
  options: { told?: boolean; saved: boolean; foundDead?: boolean },
): Repair => ({ kind: 'rest', told: true, foundDead: false, states, ...options });

function planGone({ state, meantToRun, saved }: Situation): Repair {
  if (resting.includes(state)) return rest([], { told: false, saved });
  // Nobody has seen it run.
  if (state === 'turningOn' || state === 'restoring') return rest([], { saved });
  if (state === 'turningOff') return rest(['deleteMachine'], { saved, foundDead: meantToRun });
  if (state === 'deleteMachine') return rest([], { saved, foundDead: meantToRun });
  // A complete saved state: the save had ended and its events were not written any more. Otherwise the guest died.
  return rest(['turningOff', 'deleteMachine'], { saved, foundDead: !saved });
}

function planAlive({ state, meantToRun, saved }: Situation, found: RunState): Repair {
  // Killed between the spawn and the first event: someone asked for a start, and gets it.
  if (resting.includes(state)) return planStarting(found, ['turningOn']);
  if (state === 'turningOn' || state === 'restoring') return planStarting(found, []);
  if (state === 'running' || state === 'paused') return planRunning(found, state);
  if (state === 'saving') return planSaving(found, saved);
  if (!meantToRun) return { kind: 'finishTurnOff', saved };
  // A reset was cut off; it is not repeated, for the guest may have begun anew already.
  if (state === 'deleteMachine') return planStarting(found, ['turningOn']);
  const meaning = meanings[found];
  if (meaning === 'off') return guestOff();
  return follow(meaning === 'held' ? 'paused' : 'running');
}

function planStarting(found: RunState, states: readonly 'turningOn'[]): Repair {
  const meaning = meanings[found];
  if (meaning === 'off') return guestOff(...states, 'running');
  // Paused before it ever ran is how a start looks from outside; an error of a disk or a watchdog needs a guest.
  if (meaning === 'loading' || meaning === 'saving' || found === 'paused')
    return { kind: 'finishStart', states };
  return meaning === 'held' ? follow(...states, 'running', 'paused') : follow(...states, 'running');
}

function planRunning(found: RunState, state: 'running' | 'paused'): Repair {
  const meaning = meanings[found];
  if (meaning === 'off') return guestOff();
  if (meaning === 'saving') return { kind: 'abandonSave', goesOn: state };
  if (meaning === 'held' && state === 'running') return follow('paused');
  if (meaning === 'runs' && state === 'paused') return follow('running');
  return follow();
}

function planSaving(found: RunState, saved: boolean): Repair {
  const meaning = meanings[found];
  if (meaning === 'off') return guestOff();
  // It ran on, so whatever is on disk is not its state any more.
  if (meaning === 'runs') return follow('running');
  return saved ? { kind: 'finishSave' } : { kind: 'abandonSave', goesOn: 'running' };
}
