/** Puts together what a plan rests on, and how a recovery stands for people: pure functions of record and machine. */
import type { RecoveryInfo, RecoveryPolicy, RecoveryState, RecoveryStepName, VmInfo } from '@vmpulse/wire';
import { fleetWindowMs, recoveryGraceMs } from '../limits.ts';
import { type Brake, type Decision, type LastStep, type PlanInput, disturbs } from './plan.ts';
import type { Incident, RecoveryRecord, StepRecord } from './record.ts';

/** How long a machine counts as being recovered after its last step, for the brake, ms. */
const recoveringMs = 120_000;

/** Do many fail together: told so by the cohort rule, or as many stops within a minute as may recover at once? */
export function isMass(incident: Incident, stopsMs: readonly number[], atOnce: number): boolean {
  if (incident.correlated) return true;
  const near = stopsMs.filter((atMs) => Math.abs(atMs - incident.stoppedMs) <= fleetWindowMs);
  return near.length >= Math.max(2, atOnce);
}

/** Until when it must be listened to: it may have come back while no service ran, and its next tick says so. */
export function heardByMs({ state, guest }: VmInfo, startedMs: number): number {
  return state === 'turnedOff' ? startedMs : startedMs + recoveryGraceMs + 2 * (guest.intervalMs ?? 0);
}

/** A step of it is under way, or its heartbeat is awaited. */
export function isRecovering({ incident, gaveUp }: RecoveryRecord, nowMs: number): boolean {
  const last = incident?.last ?? null;
  if (last === null || gaveUp !== null) return false;
  if (last.outcome === 'begun') return true;
  return disturbs(last.step) && last.outcome === 'done' && nowMs < (last.endedMs ?? 0) + recoveringMs;
}

/** What a plan is made from. */
export function planInput(given: {
  readonly record: RecoveryRecord;
  readonly incident: Incident;
  readonly vm: VmInfo;
  readonly policy: RecoveryPolicy;
  readonly bootWindowMs: number;
  readonly brake: Brake;
  readonly nowMs: number;
}): PlanInput {
  const { record, incident, vm, policy, bootWindowMs, brake, nowMs } = given;
  const { runningSinceMs, taken, jitter } = incident;
  // In a dry run nothing is turned off: the plan goes on as if.
  const pretendsOff = policy.dryRun && incident.last?.step === 'turnOff';
  return {
    policy,
    stop: { runningSinceMs, taken, last: lastStep(incident.last), jitter },
    machine: {
      state: pretendsOff ? 'turnedOff' : vm.state,
      busy: vm.task !== null || vm.operations.length === 0,
      verdict: vm.state === 'turnedOff' ? 'exited' : vm.guest.verdict,
      hold: vm.guest.hold?.reason ?? null,
      bootWindowMs,
    },
    attemptsMs: record.attempts
      .filter(({ counts, dryRun }) => counts && dryRun === policy.dryRun)
      .map(({ atMs }) => atMs),
    gaveUp: record.gaveUp !== null && (policy.dryRun || !record.gaveUp.dryRun),
    brake,
    nowMs,
  };
}

function lastStep(last: StepRecord | null): LastStep | null {
  if (last === null || last.outcome === 'begun' || last.endedMs === null) return null;
  const { step, outcome, endedMs, stoppedAgain } = last;
  return { step, outcome, endedMs, stoppedAgain };
}

const waits = {
  settle: 'a heartbeat is awaited after the last step',
  minRunning: 'the machine has not run for long enough yet',
  backoff: 'the pause between two attempts',
} as const;

/** How it stands. `decision` is what is to be done now; null where nothing is open. */
export function recoveryInfo(given: {
  readonly vm: VmInfo;
  readonly record: RecoveryRecord;
  readonly policy: RecoveryPolicy;
  readonly decision: Decision | null;
}): RecoveryInfo {
  const { vm, record, policy, decision } = given;
  const { incident, gaveUp, attempts } = record;
  const standing = stand(record, decision, policy.action === 'none');
  return {
    vm: { id: vm.id, name: vm.name },
    policy,
    inherited: vm.recovery.action === 'default',
    ...standing,
    reason: gaveUp === null ? standing.reason : gaveUp.reason,
    stoppedSeq: incident?.stoppedSeq ?? null,
    verdict: incident?.verdict ?? null,
    history: attempts.map(({ atMs, step, stoppedSeq, outcome, dryRun }) => ({
      at: new Date(atMs).toISOString(),
      step,
      stoppedSeq,
      outcome,
      dryRun,
    })),
  };
}

type Standing = Pick<RecoveryInfo, 'state' | 'reason' | 'step' | 'nextAt'>;

function stand({ incident, gaveUp }: RecoveryRecord, decision: Decision | null, isNone: boolean): Standing {
  const at = (
    state: RecoveryState,
    reason: string | null = null,
    step: RecoveryStepName | null = null,
    nextAt: string | null = null,
  ): Standing => ({ state, reason, step, nextAt });
  if (gaveUp !== null) return at('gaveUp');
  if (incident === null || decision === null) return at('idle');
  if (incident.last?.outcome === 'begun') return at('step', 'being carried out', incident.last.step);
  if (decision.do === 'nothing') return isNone ? at('idle') : at('notified', 'the policy is to tell only');
  if (decision.do === 'holdBack') return at('heldBack', `${decision.reason}: ${decision.detail}`);
  if (decision.do === 'giveUp') return at('gaveUp');
  if (decision.do === 'step') return at('waiting', 'about to be done', decision.step);
  const until = new Date(decision.untilMs).toISOString();
  if (decision.why !== 'settle') return at('waiting', waits[decision.why], null, until);
  return at('settling', waits.settle, incident.last?.step ?? null, until);
}
