/**
 * When an event is tried again: the schedule that the Standard Webhooks specification recommends. The first three
 * attempts keep the line waiting (5 min in all); from then on the event waits beside it.
 */

/** Pauses before the second, third, ... attempt, ms. */
const pausesMs: readonly number[] = [
  5_000,
  300_000,
  ...[0.5, 2, 5, 10, 14, 20, 24].map((hours) => hours * 3_600_000),
];
/** Each pause is longer by up to this part of it, so that what failed together is not tried together. */
const jitter = 0.2;

/** Failed attempts after which an event gives way to the next. */
export const lineAttempts = 3;

/** Pause after so many failed attempts, ms; null when they are used up. `random`: 0 to 1. */
export function pauseMs(failed: number, random: number): number | null {
  const pause = pausesMs[failed - 1];
  return pause === undefined ? null : pause * (1 + jitter * random);
}

/** What a Retry-After header asks for, ms: seconds, or a date by the wall clock; null where it says nothing. */
export function retryAfterMs(header: string | undefined, wallMs: number, maxMs: number): number | null {
  if (header === undefined) return null;
  const seconds = /^\d{1,9}$/u.test(header.trim()) ? Number(header) * 1_000 : Date.parse(header) - wallMs;
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, maxMs) : null;
}
