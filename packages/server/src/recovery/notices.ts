/** What recovery tells besides its steps, each with what is then known: pure functions of record and decision. */
import type { EventDataByType, RecoveryEventData, RecoveryPolicy } from '@vmpulse/wire';
import { type Decision, foreseenSteps } from './plan.ts';
import type { Incident, RecoveryRecord } from './record.ts';

/** An event's data, and the record that is stored with it. */
export interface Notice<T extends keyof RecoveryEventData> {
  readonly record: RecoveryRecord;
  readonly data: Omit<EventDataByType[T], 'messageId'>;
}

type Rehearsal = { readonly dryRun?: true };

const rehearsal = ({ dryRun }: RecoveryPolicy): Rehearsal => (dryRun ? { dryRun: true } : {});

/** A plan was made. */
export function planned(
  record: RecoveryRecord,
  incident: Incident,
  policy: RecoveryPolicy,
  now: { readonly isOff: boolean; readonly hasEvidence: boolean; readonly jitter: number },
): Notice<'recoveryPlanned'> {
  const { stoppedSeq, verdict } = incident;
  const taken = now.hasEvidence ? [] : (['evidence'] as const);
  const steps = foreseenSteps(policy, now.isOff).filter((step) => step !== taken[0]);
  return {
    record: { ...record, incident: { ...incident, planned: true, taken, jitter: now.jitter } },
    data: { stoppedSeq, verdict, action: policy.action, steps, ...rehearsal(policy) },
  };
}

/** It is held back. */
export function heldBack(
  record: RecoveryRecord,
  incident: Incident,
  policy: RecoveryPolicy,
  { reason, detail }: Extract<Decision, { do: 'holdBack' }>,
): Notice<'recoveryHeldBack'> {
  return {
    record: { ...record, incident: { ...incident, told: [...incident.told, reason] } },
    data: { stoppedSeq: incident.stoppedSeq, reason, detail, ...rehearsal(policy) },
  };
}

/** It is given up. */
export function gaveUp(
  record: RecoveryRecord,
  incident: Incident,
  policy: RecoveryPolicy,
  { reason, attempts, nowMs }: Extract<Decision, { do: 'giveUp' }> & { readonly nowMs: number },
): Notice<'recoveryGaveUp'> {
  const detail =
    `${attempts} ${attempts === 1 ? 'attempt' : 'attempts'} in ${policy.windowMs / 60_000} min ` +
    `brought no lasting heartbeat; look at the machine, then vmpulse recovery rearm ${record.vm.name}`;
  const told = [...incident.told, 'gaveUp'];
  const standing = { atMs: nowMs, reason: detail, dryRun: policy.dryRun };
  return {
    record: { ...record, incident: { ...incident, told }, gaveUp: standing },
    data: { stoppedSeq: incident.stoppedSeq, reason, attempts, detail, ...rehearsal(policy) },
  };
}

/** The heartbeat came back after a step; null where it was nobody's doing. */
export function success(
  incident: Incident,
  nowMs: number,
): Omit<EventDataByType['recoverySucceeded'], 'messageId'> | null {
  const { firstStepMs, last, stoppedMs, stoppedSeq } = incident;
  // The heartbeat may come back before the step under way is known to have been done; a cancelled one did nothing.
  if (last === null || last.dryRun || firstStepMs === null) return null;
  return {
    stoppedSeq,
    step: last.step,
    attempts: last.attempt,
    outageMs: Math.max(0, nowMs - stoppedMs),
    recoveryMs: Math.max(0, nowMs - firstStepMs),
  };
}
