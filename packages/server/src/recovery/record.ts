/**
 * What recovery knows of one machine, and what an event makes of it: a pure function. The record is stored with each
 * event of recovery, in its transaction; what came after is read from the log again. Times are wall times, ms.
 */
import {
  type RecoveryAttempt,
  type RecoveryStepName,
  type StopVerdict,
  type VmEvent,
  type VmReference,
  type VmState,
  eventTypeOf,
  isEvent,
} from '@vmpulse/wire';
import { disturbs } from './plan.ts';

/** The last step of a stop; the seqs are known once the events were read back from the log. */
export interface StepRecord {
  readonly step: RecoveryStepName;
  readonly attempt: number;
  readonly outcome: 'begun' | 'done' | 'failed';
  readonly begunSeq: number | null;
  readonly endedSeq: number | null;
  readonly endedMs: number | null;
  /** States and resets told since it was begun: by them one judges whether it was carried out. */
  readonly seen: readonly string[];
  readonly stoppedAgain: boolean;
  readonly dryRun: boolean;
}

/** A stop that is not over. */
export interface Incident {
  readonly stoppedSeq: number;
  readonly verdict: StopVerdict;
  readonly correlated: boolean;
  readonly stoppedMs: number;
  readonly runningSinceMs: number | null;
  /** recoveryPlanned was told. */
  readonly planned: boolean;
  readonly taken: readonly RecoveryStepName[];
  /** When the first step that disturbs began. */
  readonly firstStepMs: number | null;
  readonly last: StepRecord | null;
  /** The step before it, while it is under way: it counts again where that one is not carried out. */
  readonly previous?: StepRecord | null;
  /** A step that disturbs was really carried out, or tried. */
  readonly acted: boolean;
  /** Its heartbeat came while recovery turned it off: the stop is over, unless it is off now. */
  readonly heard?: boolean;
  /** Reasons for holding back that were told. */
  readonly told: readonly string[];
  readonly jitter: number;
}

/** One attempt, or step besides. */
export type AttemptRecord = Omit<RecoveryAttempt, 'at'> & { readonly atMs: number; readonly counts: boolean };

/** What is known of one machine. */
export interface RecoveryRecord {
  readonly vm: VmReference;
  /** Events up to this one are in it. */
  readonly seq: number;
  readonly incident: Incident | null;
  readonly attempts: readonly AttemptRecord[];
  readonly gaveUp: { readonly atMs: number; readonly reason: string; readonly dryRun: boolean } | null;
}

/** A machine of which nothing is known. */
export function emptyRecord(vm: VmReference): RecoveryRecord {
  return { vm, seq: 0, incident: null, attempts: [], gaveUp: null };
}

/** What an event made of a record. */
export interface Folded {
  readonly record: RecoveryRecord;
  /** The heartbeat came back after a step of this incident. */
  readonly succeeded: Incident | null;
}

/** When an event is taken to have happened, and what was so by then. */
export interface FoldTimes {
  readonly atMs: number;
  /** Since when its machine had run. */
  readonly runningSinceMs: number | null;
  /** The step under way can still be called off: no heartbeat that is told now is its doing. */
  readonly undecided?: boolean;
  /** The step under way was not asked for yet: nothing that is told now is its doing. */
  readonly waiting?: boolean;
}

/** What `event`, which is of this machine and came after all that is in the record, makes of it. */
export function fold(record: RecoveryRecord, event: VmEvent, times: FoldTimes): Folded {
  const next = { ...record, seq: event.seq, vm: event.data.vm ?? record.vm };
  const same = (change: Partial<RecoveryRecord> = {}): Folded => ({
    record: { ...next, ...change },
    succeeded: null,
  });
  if (isEvent(event, 'heartbeatStopped')) return same({ incident: stopped(record, event, times) });
  const { incident } = record;
  if (isEvent(event, 'stateChanged')) return same(stateOf(record, event, times));
  if (incident === null) return same();
  if (isEvent(event, 'recoveryStep')) return same({ incident: ownStep(incident, event) });
  const type = eventTypeOf(event);
  if (type === 'heartbeatResumed' || type === 'heartbeatStarted') {
    // It must still be started.
    if (isTurnedOff(incident, times))
      return same({ incident: { ...incident, heard: incident.last?.outcome === 'begun' } });
    // A step that can still be called off is, and has no part in it.
    const before = times.undecided === true ? untaken(record) : record;
    const succeeded = wasTried(incident, times) ? before.incident : null;
    const attempts =
      succeeded === null ? withoutBegun(record.attempts) : endAttempt(before.attempts, 'succeeded');
    return { record: { ...next, incident: null, attempts }, succeeded };
  }
  if (type === 'turnedOffByGuest' || type === 'migratedAway') return same({ incident: null });
  if (type !== 'guestReset' || !isOwn(incident, event.seq, times)) return same();
  return same({ incident: seen(incident, 'guestReset') });
}

/** What a new state makes of it. */
function stateOf(
  record: RecoveryRecord,
  { seq, data }: VmEvent<'stateChanged'>,
  times: FoldTimes,
): Partial<RecoveryRecord> {
  const { incident, gaveUp, attempts } = record;
  const { state, cause } = data;
  if (incident !== null && cause === 'processExit') return { incident: exited(incident, seq, times) };
  if (incident !== null && isOwn(incident, seq, times) && isStateOf(incident, data)) {
    return { incident: seen(incident, state) };
  }
  if (state === 'turningOn' || state === 'restoring') {
    // The service, as it began: what was given up stays so, and attempts count on.
    if (cause === 'autostart') return { incident: null, attempts: withoutBegun(attempts) };
    // Who starts or resets it, an operator, takes it over from here.
    return gaveUp === null && incident === null ? {} : { incident: null, gaveUp: null, attempts: [] };
  }
  // Who turned it off, too; an exit is no turning off, and neither is a start that came to nothing.
  if (state !== 'turnedOff' || incident === null || isFailedStart(data)) return {};
  return { incident: null, attempts: withoutBegun(attempts) };
}

type StateChange = VmEvent<'stateChanged'>['data'];

/** States that each step brings about by itself; any other is somebody else's doing. */
const statesOf: Record<RecoveryStepName, readonly VmState[]> = {
  evidence: [],
  injectNmi: [],
  reset: ['turningOff', 'deleteMachine', 'turningOn', 'running', 'paused'],
  turnOff: ['turningOff', 'deleteMachine', 'turnedOff', 'running', 'paused'],
  start: ['turningOn', 'running', 'turnedOff'],
};

function isStateOf({ last }: Incident, data: StateChange): boolean {
  if (last === null || !statesOf[last.step].includes(data.state)) return false;
  return last.step !== 'start' || data.state !== 'turnedOff' || isFailedStart(data);
}

function isFailedStart({ state, previousState }: StateChange): boolean {
  return state === 'turnedOff' && (previousState === 'turningOn' || previousState === 'restoring');
}

/** The process of a guest that had stopped ended by itself: that is told by no further heartbeatStopped. */
function exited(incident: Incident, seq: number, times: FoldTimes): Incident {
  const noted = isOwn(incident, seq, times) ? seen(incident, 'turnedOff') : incident;
  return { ...noted, verdict: 'exited', last: noted.last === null ? null : againStopped(noted.last) };
}

/** As it was before its last step was told as begun: that one was not carried out. */
export function untaken(record: RecoveryRecord): RecoveryRecord {
  const { incident } = record;
  if (incident?.last?.outcome !== 'begun') return record;
  const { previous = null, taken, last, firstStepMs, acted } = incident;
  const attempts = disturbs(last.step) ? withoutBegun(record.attempts) : record.attempts;
  // It may have been begun anew meanwhile (`afresh`), without the step.
  const others = taken.at(-1) === last.step ? taken.slice(0, -1) : taken;
  const before = { taken: others, last: previous, previous: null };
  return {
    ...record,
    attempts,
    incident: { ...incident, ...before, firstStepMs: acted ? firstStepMs : null },
  };
}

/** The outcome of the newest attempt. */
export function endAttempt(
  attempts: readonly AttemptRecord[],
  outcome: AttemptRecord['outcome'],
): AttemptRecord[] {
  return attempts.map((each, index) => (index === attempts.length - 1 ? { ...each, outcome } : each));
}

function stopped(
  { incident }: RecoveryRecord,
  event: VmEvent<'heartbeatStopped'>,
  { atMs, runningSinceMs }: FoldTimes,
): Incident {
  const { verdict, correlated } = event.data;
  if (incident !== null) {
    const { last } = incident;
    return { ...incident, verdict, last: last === null ? null : againStopped(last) };
  }
  return openIncident({
    stoppedSeq: event.seq,
    verdict,
    correlated: correlated === true,
    stoppedMs: atMs,
    runningSinceMs,
  });
}

function againStopped(last: StepRecord): StepRecord {
  return last.outcome !== 'begun' && disturbs(last.step) ? { ...last, stoppedAgain: true } : last;
}

/** From the beginning. Evidence is not gathered again; a step under way goes on. */
export function afresh(incident: Incident): Incident {
  const { last, taken } = incident;
  const under = last?.outcome === 'begun' ? last : null;
  return { ...incident, taken: taken.filter((step) => !disturbs(step)), told: [], last: under };
}

/**
 * As if nothing had been tried but a step under way: an operator said so. What was not given up still has its time to
 * come back.
 */
export function rearmed(record: RecoveryRecord, incident: Incident | null): RecoveryRecord {
  const fresh = incident && afresh(incident);
  const kept = fresh && record.gaveUp === null ? { ...fresh, last: incident.last } : fresh;
  const attempts = record.attempts.slice(-1).filter(({ outcome }) => outcome === 'begun');
  return { ...record, gaveUp: null, attempts, incident: kept };
}

/** A turning off came to nothing, of a machine whose heartbeat had come by then: the stop is over. */
export function overIfHeard(record: RecoveryRecord): RecoveryRecord {
  return record.incident?.heard === true ? over(record) : record;
}

/** Its stop is over, and a step under way is not recovery's any more. */
export function over(record: RecoveryRecord): RecoveryRecord {
  return { ...record, incident: null, attempts: withoutBegun(record.attempts) };
}

/** A stop of which nothing was done yet. */
export function openIncident(
  stop: Pick<Incident, 'stoppedSeq' | 'verdict' | 'correlated' | 'stoppedMs' | 'runningSinceMs'>,
): Incident {
  return {
    ...stop,
    planned: false,
    taken: [],
    firstStepMs: null,
    last: null,
    acted: false,
    told: [],
    jitter: 0,
  };
}

/** Was a step carried out, so that the heartbeat may be its doing? */
function wasTried({ acted, last }: Incident, { undecided = false }: FoldTimes): boolean {
  if (acted || last === null || undecided) return acted;
  return disturbs(last.step) && (last.outcome !== 'begun' || last.seen.length > 0);
}

/** It is off, or about to be, by recovery's own doing. */
function isTurnedOff({ last }: Incident, { undecided = false }: FoldTimes): boolean {
  return last?.step === 'turnOff' && last.outcome !== 'failed' && last.seen.length > 0 && !undecided;
}

/** The newest, where it is under way, at another time. */
export function attemptedAt(attempts: readonly AttemptRecord[], atMs: number): readonly AttemptRecord[] {
  const newest = attempts.at(-1);
  return newest?.outcome === 'begun' ? [...attempts.slice(0, -1), { ...newest, atMs }] : attempts;
}

/** Without one that was told as begun, and cancelled before it was carried out. */
export function withoutBegun(attempts: readonly AttemptRecord[]): readonly AttemptRecord[] {
  return attempts.at(-1)?.outcome === 'begun' ? attempts.slice(0, -1) : attempts;
}

/** Is it the doing of the step under way? All that is told between its beginning and its end is. */
function isOwn({ last }: Incident, seq: number, { waiting = false }: FoldTimes): boolean {
  if (waiting || last === null || last.begunSeq === null || !disturbs(last.step)) return false;
  // The end is read back from the log before anything that came after it.
  return seq > last.begunSeq && (last.endedSeq === null || seq < last.endedSeq);
}

function seen(incident: Incident, what: string): Incident {
  const { last } = incident;
  return last === null || last.seen.length >= 32
    ? incident
    : { ...incident, last: { ...last, seen: [...last.seen, what] } };
}

function ownStep(incident: Incident, event: VmEvent<'recoveryStep'>): Incident {
  const { last } = incident;
  const { step, phase, stoppedSeq } = event.data;
  if (last === null || last.step !== step || stoppedSeq !== incident.stoppedSeq) return incident;
  if (phase === 'cancelled') return incident;
  // Of an earlier step of the same name: its number is smaller than that of the last one's beginning.
  if (phase === 'begun') return { ...incident, last: { ...last, begunSeq: event.seq } };
  return last.outcome === 'begun' ? incident : { ...incident, last: { ...last, endedSeq: event.seq } };
}
