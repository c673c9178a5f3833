/** The interval of one guest's ticks: what its ticker said, else what its ticks show, else what is configured. */
import type { Hello } from '../tick/source.ts';
import { maxIntervalMs, minIntervalMs } from './deadline.ts';
import type { WatchPolicy } from './policy.ts';

/** Gaps measured before a pace is believed: the ticker keeps a rhythm, the gap after a late tick is too short. */
const measuredGaps = 3;

/** One guest's pace. */
export class Pace {
  /** Interval said or measured, ms; null when neither. */
  private knownMs: number | null;
  /** The last tick of a ticker whose hello was not heard, and the longest of the gaps so far. */
  private measured: { seq: number; uptimeMs: number; gaps: number; longestMs: number } | null = null;

  constructor(rememberedMs: number | null) {
    this.knownMs = rememberedMs;
  }

  /** Said or measured; null when not known. */
  get learnedMs(): number | null {
    return this.knownMs;
  }

  /** More ticks are needed before the pace is known. */
  get measuring(): boolean {
    return this.measured !== null;
  }

  /** Nothing is known of a machine that boots anew. */
  forget(): void {
    this.knownMs = null;
    this.measured = null;
  }

  /** What the ticker says, where it is within the protocol's bounds. */
  hear(hello: Hello): void {
    const { intervalMs } = hello;
    if (intervalMs === null || !(intervalMs >= minIntervalMs && intervalMs <= maxIntervalMs)) return;
    this.knownMs = intervalMs;
    this.measured = null;
  }

  /**
   * Without a hello (it was lost, or heard by a service that is gone) the interval is the longest of three gaps by the
   * guest's own clock. True when the interval to go by changed.
   */
  measure(seq: number, uptimeMs: number): boolean {
    if (this.knownMs !== null) return false;
    const { measured } = this;
    // Neither runs backwards in one life of a ticker: this is another.
    if (measured === null || seq <= measured.seq || uptimeMs <= measured.uptimeMs) {
      this.measured = { seq, uptimeMs, gaps: 0, longestMs: 0 };
      return measured === null;
    }
    const gapMs = (uptimeMs - measured.uptimeMs) / (seq - measured.seq);
    const longestMs = Math.max(measured.longestMs, gapMs);
    this.measured = { seq, uptimeMs, gaps: measured.gaps + 1, longestMs };
    if (this.measured.gaps < measuredGaps) return false;
    this.knownMs = Math.min(Math.max(Math.round(longestMs), minIntervalMs), maxIntervalMs);
    this.measured = null;
    return true;
  }

  /**
   * The interval to go by. While it is being measured the longest, lest a slow ticker be taken for a silent one; for
   * the same reason the classic one never undercuts what the ticker says.
   */
  intervalMs(policy: WatchPolicy): number {
    if (policy.classic !== null) return Math.max(policy.intervalMs, this.knownMs ?? 0);
    return this.knownMs ?? (this.measuring ? maxIntervalMs : policy.intervalMs);
  }
}
