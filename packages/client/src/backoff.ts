/** Delay before the next attempt: a pure function of how many failed in a row. */

/** Bounds of the delay. */
export interface BackoffBounds {
  /** At least this long before any further attempt, ms. */
  readonly minDelayMs: number;
  /** Never longer than this, ms. */
  readonly maxDelayMs: number;
}

/**
 * `min · 2^failures`, at most `max`, of which a random half is taken off so that many clients of one server do not
 * come back at the same moment; never less than `min`. `random` is in [0, 1).
 */
export function backoffMs(failures: number, bounds: BackoffBounds, random: number = Math.random()): number {
  const full = Math.min(bounds.maxDelayMs, bounds.minDelayMs * 2 ** Math.min(failures, 30));
  return Math.max(bounds.minDelayMs, full * (1 - random / 2));
}
