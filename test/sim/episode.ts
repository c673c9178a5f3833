/** Faults as the oracle follows them, and what may be told of those that began while no service was there. */
import type { SimGuest } from './guest.ts';
import { allowances, type FaultKind, type Rule } from './rules.ts';

/** One fault of one guest, from its beginning until the guest is well again. */
export interface Episode {
  readonly kind: FaultKind;
  rule: Rule;
  readonly guest: SimGuest;
  readonly startMs: number;
  /** Last tick before it, and what its ticker ran at then. */
  readonly lastTickMs: number;
  readonly intervalMs: number;
  /** A bound counted anew, for when the service could not see for a time. */
  readonly fullBoundMs: number;
  byMs: number;
  endMs: number;
  /** The service was not there all the time since. */
  disturbed: boolean;
  /** It was but a moment, in which nobody was there to be told: it may be told, and need not. */
  readonly unheard: boolean;
  stopTold: boolean;
  additionsTold: boolean;
  unseenTold: boolean;
  done: () => void;
}

/** The guest goes on after these by itself: who missed the event cannot know. */
const momentary: ReadonlySet<FaultKind> = new Set<FaultKind>(['watchdogReset', 'tripleFault', 'crashDump']);
/** A port that was closed is all there was to see. */
export const portsOnly: ReadonlySet<FaultKind> = new Set<FaultKind>(['tickerKilled', 'tickerSaidBye']);
/** Verdicts of a guest that does not tick. */
export const silences = ['hung', 'spinning', 'busy', 'panicked'];

const resets: ReadonlySet<FaultKind> = new Set<FaultKind>([
  'reboot',
  'rebootLoop',
  'longBoot',
  'hostReset',
  'shutdown',
]);

/** A crash that nobody heard begin looks like what it is: a guest that does not tick. */
export const unheardCrash: Partial<Rule> = {
  stop: 'may',
  verdicts: silences,
  causes: ['silence', 'bootWindowEnded'],
};

/** What may be told of a fault that begins while nobody is there. */
export function unseenRule(kind: FaultKind): Partial<Rule> {
  if (kind === 'crashDumping') return unheardCrash;
  if (kind === 'bootHangs') return { ...unheardCrash, additions: 'may' };
  const isFree =
    (allowances.resetUnseen && resets.has(kind)) || (allowances.helloUnheard && kind === 'intervalChanged');
  return isFree ? { stop: 'may', verdicts: silences, causes: ['silence', 'bootWindowEnded'] } : {};
}

/** Does the guest go on after it by itself, so that who was not there cannot know? */
export function isMomentary(kind: FaultKind): boolean {
  return momentary.has(kind);
}
