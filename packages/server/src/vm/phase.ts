/** The life of one machine as one union, and which state may follow which: transitions are in one place. */
import { VmError, type CompleteVmConfiguration, type VmState } from '@vmpulse/wire';
import type { RunningMachine } from '../hypervisor/hypervisor.ts';
import type { TickSubscription } from '../tick/source.ts';
import type { GuestLink } from './guest-link.ts';

/** A process that the lifecycle holds, from when it answers until it is gone. */
export interface HeldProcess {
  readonly machine: RunningMachine;
  /** What it was started with. */
  readonly configuration: CompleteVmConfiguration;
  readonly link: GuestLink;
  readonly ticks: TickSubscription | null;
  /** Resolves when it is gone. */
  readonly gone: Promise<void>;
  readonly resolveGone: () => void;
  /** Its exit was asked for, by the lifecycle or by the guest in order: no stop. */
  exitExpected: boolean;
  /** Its state is completely on disk: it rests as saved when it is gone. */
  saved: boolean;
  /** When it was last reset, monotonic ms. */
  lastResetMs: number;
  /** The guest turned itself off, which was told. */
  guestOffTold: boolean;
  /** Events that came of it so far. */
  events: number;
  /** Its guest panicked: not running, but not paused by anyone either. */
  panicked: boolean;
  /** The guest wrote its state to its own disk before it turned itself off. */
  hibernated: boolean;
  ended: boolean;
}

/** Where a machine is in its life. */
export type Phase =
  /** No process. */
  | { readonly kind: 'off'; readonly state: 'turnedOff' | 'saved' }
  /** Known from before, its process not yet found out about; operations wait until it is. */
  | { readonly kind: 'seeking'; readonly state: VmState }
  /** A process is being made; there is no hold on it yet. */
  | { readonly kind: 'starting'; readonly state: 'turningOn' | 'restoring' }
  /** With a process. `turningOn` and `deleteMachine` are passed through during a reset and after adoption. */
  | { readonly kind: 'held'; readonly state: HeldState; readonly process: HeldProcess }
  /** The process is gone; the states of its end are being told. */
  | { readonly kind: 'ending'; readonly state: 'turningOff' | 'deleteMachine' };

/** States of a machine with a process. */
export type HeldState =
  | 'turningOn'
  | 'restoring'
  | 'running'
  | 'paused'
  | 'saving'
  | 'turningOff'
  | 'deleteMachine';

/**
 * Which state may follow which. Beyond the reference's sequences: a failed start goes back to rest, a failed or
 * cancelled save, turnOff or reset goes back to what was before, a discarded saved state leaves turnedOff.
 */
const followers: Record<VmState, readonly VmState[]> = {
  invalid: [],
  turnedOff: ['turningOn'],
  saved: ['turningOn', 'turnedOff'],
  turningOn: ['restoring', 'running', 'turnedOff'],
  restoring: ['running', 'turnedOff'],
  running: ['paused', 'saving', 'turningOff'],
  paused: ['running', 'saving', 'turningOff'],
  saving: ['turningOff', 'running', 'paused'],
  turningOff: ['deleteMachine', 'running', 'paused'],
  mergingDrives: [],
  deleteMachine: ['turnedOff', 'turningOn'],
};

/** Throws where `next` may not follow `state`. Errors: E_UNEXPECTED, a defect of vmpulse. */
export function checkTransition(state: VmState, next: VmState): void {
  if (followers[state].includes(next)) return;
  throw new VmError(
    'E_UNEXPECTED',
    `A machine cannot go from ${state} to ${next}; please report this defect.`,
  );
}

/** The states still to be told once the process is gone, by the state it was in: the rest of turnOff's sequence. */
export const endings: Record<HeldState, readonly ('turningOff' | 'deleteMachine')[]> = {
  // Never ran for anyone to see: a start that came to nothing.
  turningOn: [],
  restoring: [],
  running: ['turningOff', 'deleteMachine'],
  paused: ['turningOff', 'deleteMachine'],
  saving: ['turningOff', 'deleteMachine'],
  turningOff: ['deleteMachine'],
  deleteMachine: [],
};
