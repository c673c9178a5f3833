/** What the oracle of recovery knows of one machine. */
import type { RecoveryPolicy, RecoveryStepName } from '@vmpulse/wire';
import type { SimGuest } from './guest.ts';

/** A step that is on disk as begun. */
export interface Step {
  readonly seq: number;
  readonly step: RecoveryStepName;
  /** It starts what recovery itself turned off. */
  readonly ownStart: boolean;
  /** How often it came to QEMU. */
  reached: number;
}

/** One machine. */
export interface Known {
  readonly guest: SimGuest;
  readonly policy: RecoveryPolicy | null;
  /** The stop that is told and not over. */
  open: {
    readonly seq: number;
    readonly atMs: number;
    readonly correlated: boolean;
    readonly exited: boolean;
  } | null;
  closedMs: number;
  /** Newest heartbeat that was told. */
  beatSeq: number;
  begun: Step | null;
  performing: Step | null;
  lastDone: RecoveryStepName | null;
  /** The last step failed. */
  failed: boolean;
  /** The stop of which a step was told last that is none of a rehearsal. */
  steppedOf: number;
  tried: boolean;
  steppedMs: number;
  attempts: { readonly atMs: number; readonly seq: number }[];
  gaveUp: boolean;
  heldBack: string | null;
  off: { readonly by: string; readonly atMs: number } | null;
  /** An operator does something about it. */
  forgiven: boolean;
  quietSinceMs: number;
}

/** A machine of which nothing is known. */
export function newKnown(guest: SimGuest): Known {
  return {
    guest,
    policy: guest.kind.recovery,
    open: null,
    closedMs: Number.NEGATIVE_INFINITY,
    beatSeq: 0,
    begun: null,
    performing: null,
    lastDone: null,
    failed: false,
    steppedOf: 0,
    tried: false,
    steppedMs: Number.NEGATIVE_INFINITY,
    attempts: [],
    gaveUp: false,
    heldBack: null,
    off: null,
    forgiven: false,
    quietSinceMs: 0,
  };
}

/** Does it ever touch the machine? */
export function takesSteps(policy: RecoveryPolicy | null): boolean {
  return policy !== null && !policy.dryRun && policy.action !== 'none' && policy.action !== 'notify';
}

/** Nothing told of a stop for longer than this: it was forgotten. */
export function quietBoundMs(policy: RecoveryPolicy, { kind }: SimGuest): number {
  const { settleMs, minRunningMs, backoffMs, attempts } = policy;
  const longestBackoffMs = backoffMs * 2 ** attempts * 1.5;
  return Math.max(settleMs ?? 0, kind.bootWindowMaxMs) + minRunningMs + longestBackoffMs + 30_000;
}

/** Its times are of a clock that was moved. */
export function forgetPast(known: Known): void {
  const longAgo = Number.NEGATIVE_INFINITY;
  Object.assign(known, { attempts: [], steppedMs: longAgo });
  if (known.open !== null) known.open = { ...known.open, atMs: longAgo };
}
