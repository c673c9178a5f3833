/** Puts together what a plan rests on, and how a recovery stands for people: pure functions of record and machine. */
import {
  type RecoveryInfo,
  type RecoveryPolicy,
  type RecoveryState,
  type RecoveryStepName,
  type StopVerdict,
  type VmInfo,
  stopVerdictNames,
} from '@vmpulse/wire';
import { fleetRecoveringMs } from '../limits.ts';
import {
  type Brake,
  type Decision,
  type LastStep,
  type PlanInput,
  type PlannedMachine,
  type WaitReason,
  disturbs,
} from './plan.ts';
import { type Incident, type RecoveryRecord, type StepRecord, openIncident } from './record.ts';

/** A step that disturbs it is under way, or its heartbeat is awaited. */
export function isRecovering({ incident, gaveUp }: RecoveryRecord, nowMs: number): boolean {
  const last = incident?.last ?? null;
  if (last === null || gaveUp !== null || !disturbs(last.step)) return false;
  if (last.outcome === 'begun') return true;
  return last.outcome === 'done' && nowMs < (last.endedMs ?? 0) + fleetRecoveringMs;
}

/** Machines by how their recovery stands. */
export interface RecoveryCounts {
  /** Stops that are not over: a step is to come, is under way, or its heartbeat is awaited. */
  readonly underWay: number;
  readonly givenUp: number;
}

/** Counts them. */
export function recoveryCounts(records: Iterable<RecoveryRecord>): RecoveryCounts {
  const counts = { underWay: 0, givenUp: 0 };
  for (const { gaveUp, incident } of records) {
    if (gaveUp !== null) counts.givenUp += 1;
    else if (incident !== null) counts.underWay += 1;
  }
  return counts;
}

/** What a plan is made from. */
export function planInput(given: {
  readonly record: RecoveryRecord;
  readonly incident: Incident;
  readonly vm: VmInfo;
  readonly policy: RecoveryPolicy;
  readonly machine: Pick<PlannedMachine, 'bootWindowMs' | 'unread' | 'seenFromMs'>;
  readonly brake: Brake;
  readonly nowMs: number;
}): PlanInput {
  const { record, incident, vm, policy, machine, brake, nowMs } = given;
  const { runningSinceMs, taken, jitter } = incident;
  // In a dry run nothing is turned off: the plan goes on as if.
  const pretendsOff = incident.last?.dryRun === true && incident.last.step === 'turnOff';
  return {
    policy,
    stop: { runningSinceMs, taken, last: lastStep(incident.last), jitter },
    machine: {
      state: pretendsOff ? 'turnedOff' : vm.state,
      busy: vm.task !== null || vm.operations.length === 0,
      verdict: vm.state === 'turnedOff' ? 'exited' : vm.guest.verdict,
      hold: vm.guest.hold?.reason ?? null,
      ...machine,
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

/** Is the step one of a dry run? A machine that was really turned off is really started. */
export function isRehearsed({ last }: Incident, decision: Decision, policy: RecoveryPolicy): boolean {
  const finishes = decision.do === 'step' && decision.step === 'start' && !decision.counts;
  return finishes && last !== null ? last.dryRun : policy.dryRun;
}

const waits: Record<WaitReason, string> = {
  sight: 'the service has not seen its guests for long enough since it began, or stood still',
  settle: 'a heartbeat is awaited after the last step',
  minRunning: 'the machine has not run for long enough yet',
  backoff: 'the pause between two attempts',
};

/** The stop that a machine stands in, without its event; null where it stands in none. */
export function standingIncident(vm: VmInfo, nowMs: number): Incident | null {
  const stop = standingStop(vm);
  if (stop === null) return null;
  const { seq: stoppedSeq, verdict } = stop;
  return openIncident({ stoppedSeq, verdict, correlated: false, stoppedMs: nowMs, runningSinceMs: null });
}

/** The stop that a machine stands in, as its watch shows it; null where it has none, or was turned off since. */
function standingStop({ state, guest }: VmInfo): { seq: number; verdict: StopVerdict } | null {
  const { stoppedSeq, verdict } = guest;
  const dead = stopVerdictNames.find((each) => each === verdict);
  if (stoppedSeq === null || dead === undefined) return null;
  const isThere = dead === 'exited' ? state === 'turnedOff' : state === 'running' || state === 'paused';
  return isThere ? { seq: stoppedSeq, verdict: dead } : null;
}

/** How it stands. `decision` is what is to be done now; null where nothing is open. */
export function recoveryInfo(given: {
  readonly vm: VmInfo;
  readonly record: RecoveryRecord;
  readonly policy: RecoveryPolicy;
  readonly decision: Decision | null;
}): RecoveryInfo {
  const { vm, record, policy } = given;
  const { incident, gaveUp, attempts } = record;
  const standing = stand(given);
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

function stand({ vm, record, policy, decision }: Parameters<typeof recoveryInfo>[0]): Standing {
  const { incident, gaveUp } = record;
  const at = (
    state: RecoveryState,
    reason: string | null = null,
    step: RecoveryStepName | null = null,
    nextAt: string | null = null,
  ): Standing => ({ state, reason, step, nextAt });
  if (gaveUp !== null) return at('gaveUp');
  if (incident === null || decision === null) {
    const stop = policy.action === 'none' || policy.action === 'notify' ? null : standingStop(vm);
    if (stop === null) return at('idle');
    const what = `stopped (event ${stop.seq}, ${stop.verdict}) before it was to be recovered`;
    return at('idle', `${what}: nothing is done until vmpulse recovery rearm ${vm.name}`);
  }
  if (incident.last?.outcome === 'begun') return at('step', 'being carried out', incident.last.step);
  if (decision.do === 'nothing')
    return policy.action === 'none' ? at('idle') : at('notified', 'the policy is to tell only');
  if (decision.do === 'holdBack') return at('heldBack', `${decision.reason}: ${decision.detail}`);
  if (decision.do === 'giveUp') return at('gaveUp');
  if (decision.do === 'step') return at('waiting', 'about to be done', decision.step);
  const until = new Date(decision.untilMs).toISOString();
  if (decision.why !== 'settle') return at('waiting', waits[decision.why], null, until);
  return at('settling', waits.settle, incident.last?.step ?? null, until);
}
