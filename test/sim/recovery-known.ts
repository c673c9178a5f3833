/** What the oracle of recovery knows of one machine. */
import type { RecoveryPolicy, RecoveryStepName, Verdict } from '@vmpulse/wire';
import type { TaskOperation } from '../../packages/server/src/vm/machine-service.ts';
import type { SimGuest } from './guest.ts';

/** Verdicts under which no guest is disturbed. */
export const forbidding: ReadonlySet<Verdict> = new Set<Verdict>([
  'busy',
  'starved',
  'additionsStopped',
  'unknown',
  'suspended',
  'suspected',
  'alive',
]);

/** What each step asks of the lifecycle. */
export const stepOf: Partial<Record<TaskOperation, RecoveryStepName>> = {
  injectNmi: 'injectNmi',
  reset: 'reset',
  turnOff: 'turnOff',
  startup: 'start',
};

/** A step that is on disk as begun. */
export interface Step {
  readonly seq: number;
  readonly step: RecoveryStepName;
  /** It starts what recovery itself turned off. */
  readonly ownStart: boolean;
  /** What was so before it: it is so again where the step is cancelled. */
  readonly before: Pick<Known, 'steppedOf' | 'steppedMs' | 'tried'> | null;
  /** How often it came to QEMU. */
  reached: number;
  /** Success was told while it was under way, and nothing else was done for this stop. */
  succeeded: boolean;
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
  /** Why this stop was told as held back; each reason is told once. */
  readonly heldBack: Set<string>;
  off: { readonly by: string; readonly atMs: number } | null;
  /** An operator does something about it. */
  forgiven: boolean;
  quietSinceMs: number;
  /** An operator started or reset it since it was told as stopped: what is given up by then is theirs. */
  takenOver: boolean;
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
    heldBack: new Set(),
    off: null,
    forgiven: false,
    quietSinceMs: 0,
    takenOver: false,
  };
}

/** It was told as not carried out: it is as if it had never begun. */
export function takeBack(known: Known, { seq, before }: Step): void {
  Object.assign(known, before);
  known.attempts = known.attempts.filter((each) => each.seq !== seq);
}

/** So long is listened to a guest once the service began or stood still; who was never heard has no interval yet. */
export function sightMs({ intervalMs, heard }: SimGuest): number {
  return Math.max(15_000, heard === 0 ? 0 : 3 * intervalMs);
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
