/**
 * What is to be done next about a guest that stopped: a pure function. Rules, in the order they are looked at:
 *  1. A machine that recovery itself turned off is started, whatever else is, a new policy too.
 *  2. After a step a heartbeat is awaited for the settle time; nothing is done meanwhile.
 *  3. Where the attempts of the window, or the stages of this stop, are used up, it is given up.
 *  4. It is held back under an operation or a hold, and while the verdict does not say that the guest is dead.
 *  5. Evidence is gathered at once. No guest is disturbed before the service has seen it for a while. The first step
 *     waits until the machine has run for the least time; further attempts wait for their backoff.
 *  6. When many fail together at most so many recover at once, and none while the host is not well.
 */
import type { HeldBackReason, RecoveryPolicy, RecoveryStepName, Verdict, VmState } from '@vmpulse/wire';
import { maxRecoveryBackoffMs } from '../limits.ts';

/** The last step of this stop. Times are those of `PlanInput.nowMs`. */
export interface LastStep {
  readonly step: RecoveryStepName;
  readonly outcome: 'done' | 'failed';
  readonly endedMs: number;
  /** The guest was told as stopped again since: there is nothing to wait for. */
  readonly stoppedAgain: boolean;
}

/** The stop that is recovered from. */
export interface PlannedStop {
  /** Since when the machine had run; null where that is not known: long enough. */
  readonly runningSinceMs: number | null;
  /** Steps begun for this stop, in their order. */
  readonly taken: readonly RecoveryStepName[];
  readonly last: LastStep | null;
  /** Drawn anew for each step, from 0 to 1: machines that fail together are not reset together. */
  readonly jitter: number;
}

/** The machine as it is now. */
export interface PlannedMachine {
  readonly state: VmState;
  /** An operation is under way, or its process is still being looked for. */
  readonly busy: boolean;
  readonly verdict: Verdict;
  /** Reason of the hold on its watch. */
  readonly hold: string | null;
  readonly bootWindowMs: number;
  /** It sends more than was read of it yet. */
  readonly unread?: boolean;
  /** Until then what is known of it may be what an earlier service, or this one before a stall, knew. */
  readonly seenFromMs?: number;
}

/** How the fleet is. */
export interface Brake {
  /** Many fail together. */
  readonly mass: boolean;
  /** Other machines that are being recovered now. */
  readonly others: number;
  readonly atOnce: number;
  /** Why the host is not well; null when it is. */
  readonly hostTrouble: string | null;
}

/** Everything that a plan rests on. */
export interface PlanInput {
  readonly policy: RecoveryPolicy;
  readonly stop: PlannedStop;
  readonly machine: PlannedMachine;
  /** When earlier attempts began, of this stop and others; of dry runs only where this is one. */
  readonly attemptsMs: readonly number[];
  readonly gaveUp: boolean;
  readonly brake: Brake;
  readonly nowMs: number;
}

/** What is waited for. */
export type WaitReason = 'settle' | 'sight' | 'minRunning' | 'backoff';

/** What comes next. */
export type Decision =
  /** `attempt`: its number within the window. `counts`: it is one of the policy's attempts. */
  | {
      readonly do: 'step';
      readonly step: RecoveryStepName;
      readonly attempt: number;
      readonly counts: boolean;
    }
  | { readonly do: 'wait'; readonly untilMs: number; readonly why: WaitReason }
  | { readonly do: 'holdBack'; readonly reason: HeldBackReason; readonly detail: string }
  | { readonly do: 'giveUp'; readonly reason: 'attempts' | 'stages'; readonly attempts: number }
  /** The policy is to tell only, or to do nothing (any more). */
  | { readonly do: 'nothing' };

/** null: the guest is dead. Whatever is not certain is no reason to reset it. */
const heldVerdicts: Record<Verdict, readonly [HeldBackReason, string] | null> = {
  exited: null,
  panicked: null,
  watchdog: null,
  tripleFault: null,
  internalError: null,
  hung: null,
  spinning: null,
  busy: ['busy', 'its disks or processors work: a reset could lose what it writes'],
  starved: ['starved', 'the host gives it no processor: a reset would not help'],
  additionsStopped: ['additionsStopped', 'the guest runs; only its additions stopped'],
  unknown: ['unknown', 'the guest cannot be seen'],
  notObserved: ['unknown', 'nothing is known of what runs there now'],
  suspended: ['suspended', 'it is paused, asleep, shutting down, or writes its own dump'],
  suspected: ['unknown', 'the witnesses are being asked'],
  alive: ['booting', 'it ticks again'],
  booting: ['booting', 'it was reset and may come back by itself'],
};

/** What is to be done next. */
export function planRecovery(input: PlanInput): Decision {
  const { policy, stop, machine, gaveUp } = input;
  const { last } = stop;
  const recent = attemptsWithin(input);
  if (finishes(machine, last)) return { do: 'step', step: 'start', attempt: recent.length, counts: false };
  if (policy.action === 'none' || policy.action === 'notify') return { do: 'nothing' };
  if (gaveUp) return held('gaveUp', 'it was given up; an operator must act (vmpulse recovery rearm)');
  const attempt = recent.length + 1;
  const settleMs = settledMs(input);
  if (settleMs !== null && input.nowMs < settleMs) return { do: 'wait', untilMs: settleMs, why: 'settle' };
  // It ticks, which is told in a moment: nobody is to look at it.
  if (machine.verdict === 'alive') return sightWait(input) ?? holdBack(machine, true) ?? { do: 'nothing' };
  if (recent.length >= policy.attempts) return { do: 'giveUp', reason: 'attempts', attempts: recent.length };
  const step = nextStep(policy, stop.taken, isOff(machine), last);
  if (step === null) return { do: 'giveUp', reason: 'stages', attempts: recent.length };
  const heldBack = holdBack(machine, settleMs !== null);
  const unseen = sightWait(input);
  if (heldBack !== null) return unseen ?? heldBack;
  // At once: it disturbs nobody, and what it shows is soon gone. But a guest stands still while its memory is dumped.
  if (!disturbs(step)) {
    const waits = policy.memoryDumpMiB === null ? null : unseen;
    return waits ?? { do: 'step', step, attempt, counts: false };
  }
  const wait = unseen ?? waitFor(input, recent);
  if (wait !== null) return wait;
  return brakeOn(input.brake) ?? { do: 'step', step, attempt, counts: isAttempt(step) };
}

/** The steps to come as far as they can be foreseen. */
export function foreseenSteps(policy: RecoveryPolicy, off: boolean): RecoveryStepName[] {
  const steps: RecoveryStepName[] = [];
  // Without a heartbeat that comes back a reset or a start follows the other until the attempts are used up.
  while (steps.length < 8) {
    const step = nextStep(policy, steps, off);
    if (step === null) break;
    const again = steps.includes(step);
    if (again) break;
    steps.push(step);
    if (step === 'turnOff') steps.push('start');
  }
  return steps;
}

/** Does the step disturb the guest, so that a heartbeat is awaited after it? */
export function disturbs(step: RecoveryStepName): boolean {
  return step !== 'evidence';
}

/** It is off by a step of recovery, and is to run again. */
function finishes(machine: PlannedMachine, last: LastStep | null): boolean {
  return isOff(machine) && !machine.busy && last?.step === 'turnOff' && last.outcome === 'done';
}

/** turnOff and the start that follows it are one attempt; an NMI is for the guest's dump, and none. */
function isAttempt(step: RecoveryStepName): boolean {
  return step === 'reset' || step === 'turnOff' || step === 'start';
}

function isOff({ state }: PlannedMachine): boolean {
  return state === 'turnedOff';
}

function attemptsWithin({ attemptsMs, policy, nowMs }: PlanInput): readonly number[] {
  return attemptsMs.filter((atMs) => atMs > nowMs - policy.windowMs);
}

/** Until when a heartbeat is awaited after the last step; null where there is nothing to wait for. */
function settledMs({ stop: { last }, policy, machine }: PlanInput): number | null {
  if (last === null || last.outcome === 'failed' || last.stoppedAgain || !disturbs(last.step)) return null;
  return last.endedMs + (policy.settleMs ?? machine.bootWindowMs);
}

/** null: there is nothing left to try for this stop. */
function nextStep(
  policy: RecoveryPolicy,
  taken: readonly RecoveryStepName[],
  off: boolean,
  last: LastStep | null = null,
): RecoveryStepName | null {
  const { action, nmi } = policy;
  if (action === 'none' || action === 'notify') return null;
  if (!taken.includes('evidence')) return 'evidence';
  if (action !== 'staged') {
    if (off) return 'start';
    return action === 'reset' ? 'reset' : 'turnOff';
  }
  if (off) {
    // One that could not be started runs nothing yet: it is tried again, within the attempts.
    const failed = last?.step === 'start' && last.outcome === 'failed';
    return taken.includes('start') && !failed ? null : 'start';
  }
  if (nmi && !taken.includes('injectNmi') && !taken.includes('reset')) return 'injectNmi';
  if (!taken.includes('reset')) return 'reset';
  return taken.includes('turnOff') ? null : 'turnOff';
}

function held(reason: HeldBackReason, detail: string): Decision {
  return { do: 'holdBack', reason, detail };
}

function holdBack(machine: PlannedMachine, settled: boolean): Decision | null {
  const { state, busy, verdict, hold, unread = false } = machine;
  const steady = state === 'running' || state === 'paused' || state === 'turnedOff';
  if (busy || !steady) return held('operation', 'an operation is under way on it, or it is looked for');
  if (hold !== null) return held('hold', `its watch is held: ${hold}`);
  // A tick may be among it.
  if (unread) return held('unknown', 'what it sends is not read to its end yet');
  // After a step of recovery's own it had its time; one that was started is not observed before its first tick.
  if (settled && (verdict === 'booting' || verdict === 'notObserved')) return null;
  const why = heldVerdicts[verdict];
  if (why !== null) return held(...why);
  // QEMU itself pauses a guest for its watchdog; for anything else someone did, and looks at it.
  return state === 'paused' && verdict !== 'watchdog' ? held('suspended', 'it is paused') : null;
}

/** What an earlier service knew of a guest that runs is no reason to disturb it, nor to tell why it is not. */
function sightWait({ machine, nowMs }: PlanInput): Decision | null {
  const { seenFromMs = nowMs } = machine;
  return !isOff(machine) && nowMs < seenFromMs ? { do: 'wait', untilMs: seenFromMs, why: 'sight' } : null;
}

function waitFor({ policy, stop, nowMs }: PlanInput, recent: readonly number[]): Decision | null {
  const runMs = stop.taken.some(disturbs) ? null : stop.runningSinceMs;
  const ranMs = (runMs ?? Number.NEGATIVE_INFINITY) + policy.minRunningMs;
  if (nowMs < ranMs) return { do: 'wait', untilMs: ranMs, why: 'minRunning' };
  if (recent.length === 0) return null;
  const backoffMs = Math.min(policy.backoffMs * 2 ** (recent.length - 1), maxRecoveryBackoffMs);
  const untilMs = Math.max(...recent) + backoffMs * (1 + stop.jitter / 2);
  return nowMs < untilMs ? { do: 'wait', untilMs, why: 'backoff' } : null;
}

function brakeOn({ mass, others, atOnce, hostTrouble }: Brake): Decision | null {
  if (!mass) return null;
  if (hostTrouble !== null)
    return held('hostUnwell', `many fail together, and the host is not well: ${hostTrouble}`);
  if (others < atOnce) return null;
  return held('fleetBrake', `many fail together, and ${others} are being recovered already`);
}
