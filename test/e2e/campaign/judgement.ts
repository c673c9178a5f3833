/** What one round came to: a pure function of what was expected and what was told. */
import { eventTypeOf, type VmEvent } from '@vmpulse/client';
import { expectsStop, type FaultKind, type StopExpected } from './kind.ts';
import type { Arrival } from './subject.ts';

/** How a round ended. */
export type Outcome =
  /** As it should be, within its bound. */
  | 'right'
  /** As it should be, past its bound. */
  | 'late'
  /** A stop with another verdict, or of a guest that runs another event than it should be. */
  | 'wrong'
  /** Nothing was told that should have been. */
  | 'missed'
  /** Told as stopped though it was not, or twice. */
  | 'false'
  /** The fault could not be done. */
  | 'notSetUp';

/** One round's result. */
export interface Result {
  readonly kind: string;
  readonly outcome: Outcome;
  /** What was told, in a word. */
  readonly told: string;
  /** From the fault or the last tick to the sink; null where nothing with a bound was told. */
  readonly delayMs: number | null;
  /** Why it is not right, for a person. */
  readonly reason?: string;
  /** The event that makes it so, with its evidence. */
  readonly event?: VmEvent;
}

/** What was seen of a round. */
export interface Observed {
  /** When the fault was done, wall ms. */
  readonly faultMs: number;
  /** All that was told since just before it. */
  readonly arrivals: readonly Arrival[];
  /** What else should have been and was not. */
  readonly failures: readonly string[];
  /** How the guest stood when what should have been told was not. */
  readonly standing?: string;
}

/** Events that say something is wrong with a guest. */
const complaints: readonly string[] = ['heartbeatStopped', 'additionsStopped', 'visibilityLost'];

/** Judges one round. */
export function judgeRound(kind: FaultKind, observed: Observed): Result {
  const { expected } = kind;
  return expectsStop(expected) ? judgeStop(kind, expected, observed) : judgeOther(kind, observed);
}

function judgeStop(kind: FaultKind, expected: StopExpected, observed: Observed): Result {
  const told = observed.arrivals.filter(({ event }) => complaints.includes(eventTypeOf(event)));
  const stops = told.filter(({ event }) => eventTypeOf(event) === 'heartbeatStopped');
  const [stop] = stops;
  const result = resultOf(kind, told);
  if (stop === undefined) return result('missed', null, silence(observed));
  const delayMs = delayOf(expected, observed, stop);
  const verdict = String(dataOf(stop.event)['verdict']);
  if (stops.length > 1) return result('false', delayMs, 'told more than once');
  if (!expected.verdicts.some((one) => one === verdict)) {
    return result('wrong', delayMs, `told as ${verdict}`, stop.event);
  }
  if (observed.failures.length > 0) return result('wrong', delayMs, observed.failures.join('; '));
  if (delayMs > expected.boundMs) {
    return result('late', delayMs, `told after ${Math.round(delayMs)} ms`, stop.event);
  }
  return result('right', delayMs);
}

function judgeOther(kind: FaultKind, observed: Observed): Result {
  const { expected } = kind;
  if (expectsStop(expected)) throw new Error('a stop is judged elsewhere');
  const wanted = observed.arrivals.find(({ event }) => eventTypeOf(event) === expected.told);
  const complained = observed.arrivals.filter(({ event }) => complaints.includes(eventTypeOf(event)));
  const result = resultOf(kind, wanted === undefined ? complained : [...complained, wanted]);
  const stop = complained.find(({ event }) => eventTypeOf(event) === 'heartbeatStopped');
  if (stop !== undefined) return result('false', null, `told as stopped: ${wordOf(stop.event)}`, stop.event);
  const other = complained.find(({ event }) => eventTypeOf(event) !== expected.told);
  if (other !== undefined) return result('wrong', null, `told ${eventTypeOf(other.event)}`, other.event);
  const missing = wanted === undefined && expected.told !== null && expected.optional !== true;
  if (missing) return result('missed', null, silence(observed));
  if (observed.failures.length > 0) return result('wrong', null, observed.failures.join('; '));
  if (wanted === undefined) return result('right', null);
  const verdict = dataOf(wanted.event)['verdict'];
  if (expected.verdict !== undefined && verdict !== expected.verdict) {
    return result('wrong', null, `told as ${String(verdict)}`, wanted.event);
  }
  if (expected.boundMs === undefined) return result('right', null);
  const delayMs = wanted.wallMs - observed.faultMs;
  return delayMs > expected.boundMs
    ? result('late', delayMs, `told after ${Math.round(delayMs)} ms`, wanted.event)
    : result('right', delayMs);
}

function resultOf(
  kind: FaultKind,
  told: readonly Arrival[],
): (outcome: Outcome, delayMs: number | null, reason?: string, event?: VmEvent) => Result {
  const words = [...new Set(told.map(({ event }) => wordOf(event)))];
  return (outcome, delayMs, reason, event) => ({
    kind: kind.name,
    outcome,
    told: words.length === 0 ? 'nothing' : words.join(' + '),
    delayMs,
    ...(reason === undefined ? {} : { reason }),
    ...(event === undefined ? {} : { event }),
  });
}

/** Its verdict says more than its type, where it has one. */
function wordOf(event: VmEvent): string {
  const { verdict } = dataOf(event);
  return typeof verdict === 'string' ? verdict : eventTypeOf(event);
}

function delayOf(expected: StopExpected, observed: Observed, stop: Arrival): number {
  if (expected.from === 'fault') return Math.max(0, stop.wallMs - observed.faultMs);
  const { evidence } = dataOf(stop.event);
  const { sinceLastTickMs } = evidence as { sinceLastTickMs: number | null };
  return (sinceLastTickMs ?? Number.NaN) + stop.wallMs - Date.parse(stop.event.time);
}

function silence({ arrivals, standing }: Observed): string {
  const heard = arrivals.map(({ event }) => eventTypeOf(event)).join(', ') || 'nothing';
  return `heard ${heard}; ${standing ?? ''}`;
}

function dataOf(event: VmEvent): Record<string, unknown> {
  return { ...event.data };
}
