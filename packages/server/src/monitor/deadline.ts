/**
 * When silence is judged: pure functions over what was seen. Everything they need is an argument; times are
 * monotonic milliseconds.
 */

/** Ticks that may miss before a guest is suspected (m). On a socket no tick is lost, so one is enough. */
const missedTicks = 1;
/** Bounds of the margin for lateness (α), milliseconds; its upper bound is the interval. */
export const minMarginMs = 50;
/** The margin while too little is known of a guest's lateness. */
export const coldMarginMs = 500;
/** Ticks after which a guest's lateness is known. */
export const warmTicks = 20;
/**
 * Ticks a lateness window spans. Of two windows of 5,000 the p99.99 by nearest rank is their maximum, so that the
 * maximum alone is kept.
 */
export const latenessWindowTicks = 5_000;
/** Interval bounds of the ticker's protocol, milliseconds. */
export const minIntervalMs = 100;
/** See `minIntervalMs`. */
export const maxIntervalMs = 60_000;

/** Margin for lateness (α): p99.99 of the lateness seen, within [50 ms, η]; while cold 0.5 s at least. */
export function marginMs(intervalMs: number, ticksSeen: number, greatestLatenessMs: number): number {
  const learnedMs = Math.min(Math.max(greatestLatenessMs, minMarginMs), Math.max(intervalMs, minMarginMs));
  return ticksSeen < warmTicks ? Math.max(coldMarginMs, learnedMs) : learnedMs;
}

/** From here on silence is suspicious: last + m·η + α. */
export function deadlineMs(lastMs: number, intervalMs: number, margin: number): number {
  return lastMs + missedTicks * intervalMs + margin;
}

/** What a look at a guest of whom ticks are expected finds, where its deadline passed. */
export const overdue = -1;

/**
 * When a guest of whom ticks are expected is looked at again, its lane being drained up to `upToMs`: first halfway into
 * its margin (a late guest is sampled there), then at its deadline, and `overdue` from there on.
 */
export function nextLookMs(lastMs: number, intervalMs: number, margin: number, upToMs: number): number {
  const dueMs = deadlineMs(lastMs, intervalMs, margin);
  if (upToMs >= dueMs) return overdue;
  const sampleMs = dueMs - margin / 2;
  return upToMs < sampleMs ? sampleMs : dueMs;
}

/** Silence that counts: time since the last tick less what the guest could not use. Never negative. */
export function silenceMs(sinceLastTickMs: number, suspendedMs: number, runDelayMs: number): number {
  return Math.max(0, sinceLastTickMs - suspendedMs - runDelayMs);
}

/** A guest that shuts down has this long: its additions end first, and the machine's end or reset comes last. */
export const shutdownWindowMs = 180_000;

/** Boot window of a machine whose boots are not known yet. */
const defaultBootWindowMs = 120_000;
/** Boots after which a machine's own are believed to tell the longest. */
const knownBoots = 3;
/** A boot window is never shorter: now and then a boot checks file systems or installs what was waiting. */
const minBootWindowMs = 60_000;

/**
 * Boot window learned from a machine's own boots: twice the longest and 10 s, at least 120 s until three boots are
 * known and 60 s then, at most `maxMs`.
 */
export function bootWindowMs(bootMs: readonly number[], maxMs: number): number {
  const floorMs = bootMs.length < knownBoots ? defaultBootWindowMs : minBootWindowMs;
  return Math.min(Math.max(2 * Math.max(0, ...bootMs) + 10_000, floorMs), maxMs);
}

/**
 * End of a boot window that begins now. Resets in a row do not extend it without end: counted from the first of
 * them it lasts `maxMs` at most, so that a guest in a reboot loop is told.
 */
export function bootWindowEndMs(
  nowMs: number,
  firstResetMs: number,
  windowMs: number,
  maxMs: number,
): number {
  return Math.min(nowMs + windowMs, firstResetMs + maxMs);
}

/** Samples closer together than this say too little of a vCPU's share: the kernel accounts in ticks of 4 ms. */
const minSampleGapMs = 40;
/** Longer than this a hung guest need not be looked at. */
const maxSampleGapMs = 300;

/** Samples closer together than this are compared twice before a guest is told as hung; see `Suspicion.idleOnce`. */
export const shortGapMs = 100;

/**
 * How far apart two samples of processor time must be to say that a guest idles instead of ticking: 0.3 η, within
 * [40 ms, 300 ms]. With η + α before it, that keeps a hang within 1.6 s at η = 1 s and 250 ms at η = 100 ms.
 */
export function sampleGapMs(intervalMs: number): number {
  return Math.min(Math.max(0.3 * intervalMs, minSampleGapMs), maxSampleGapMs);
}
