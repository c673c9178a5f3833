/**
 * Whether a suspicious guest can be seen to run. One that the host held back, or whose QEMU did not answer, may look
 * idle for a moment after that is over, and its tick is on its way: it is judged only after it has been in sight for as
 * long as it was out of it, at most a whole deadline. Monotonic milliseconds.
 */

/** Out of sight, in sight again, or (both null) in sight all along. */
export interface Sight {
  readonly lostSinceMs: number | null;
  readonly regained: { readonly atMs: number; readonly neededMs: number } | null;
}

/** In sight since the suspicion began. */
export const clearSight: Sight = { lostSinceMs: null, regained: null };

/** Circumstances of one round. */
export interface Glance {
  readonly nowMs: number;
  /** The guest could not run, or could not be seen to: since when at the latest; null when it was in sight. */
  readonly lostSinceMs: number | null;
  /** Bounds of the time it must be in sight again. */
  readonly gapMs: number;
  readonly deadlineMs: number;
}

/** The sight after one round. */
export function nextSight(sight: Sight, { nowMs, lostSinceMs, gapMs, deadlineMs }: Glance): Sight {
  if (lostSinceMs !== null) return { lostSinceMs: sight.lostSinceMs ?? lostSinceMs, regained: null };
  if (sight.lostSinceMs === null) return sight;
  const neededMs = Math.min(Math.max(nowMs - sight.lostSinceMs, gapMs), deadlineMs);
  return { lostSinceMs: null, regained: { atMs: nowMs, neededMs } };
}

/** How much longer the guest must be in sight before it is judged, ms; 0: it may be. */
export function missingSightMs({ lostSinceMs, regained }: Sight, nowMs: number): number {
  if (lostSinceMs !== null) return Number.POSITIVE_INFINITY;
  return regained === null ? 0 : Math.max(0, regained.atMs + regained.neededMs - nowMs);
}
