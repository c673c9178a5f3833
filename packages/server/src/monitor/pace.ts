/** The interval of one guest's ticks: what its ticker said, else what its ticks show, else what is configured. */
import type { Hello } from '../tick/source.ts';
import { maxIntervalMs, minIntervalMs } from './deadline.ts';
import type { WatchPolicy } from './policy.ts';

/** Gaps measured before a pace is believed: the ticker keeps a rhythm, the gap after a late tick is too short. */
const measuredGaps = 3;
/** A gap so many times as long as the interval remembered shows another interval, not a late tick. */
const otherPace = 1.5;
/** A remembered interval is taken for so long at least until a gap agrees: the ticker may have become a slower one. */
const minUnheardMs = 10_000;

/** One guest's pace. */
export class Pace {
  /** Interval said or measured, ms; null when neither. */
  private knownMs: number | null;
  private heard = false;
  /** An earlier service heard it and did not get to know its pace. */
  private lost = false;
  /** An earlier service knew it; the ticker may have begun anew at another while nobody heard its hello. */
  private unconfirmed = false;
  /** A remembered interval that a gap spoke against: one gap that agrees with it restores it. */
  private doubtedMs: number | null = null;
  /** The last tick of a ticker whose hello was not heard, and the gaps so far. */
  private measured: { seq: number; uptimeMs: number; gapsMs: readonly number[] } | null = null;

  constructor(rememberedMs: number | null) {
    this.knownMs = rememberedMs;
  }

  /** Said or measured; null when not known. */
  get learnedMs(): number | null {
    return this.knownMs;
  }

  /** The pace is not known, and more ticks are needed before it is. */
  get measuring(): boolean {
    return this.knownMs === null && (this.measured !== null || this.lost);
  }

  /** Ticks tell something of the pace. */
  get listening(): boolean {
    return this.measuring || this.unconfirmed;
  }

  /** What is known of it, if anything, is what an earlier service heard. */
  get inherited(): boolean {
    return !this.heard;
  }

  /** Nothing is known of a machine that boots anew. */
  forget(): void {
    this.knownMs = null;
    this.settle();
  }

  /** It ticked for a service that is gone: it may tick otherwise by now. */
  recall(): void {
    this.lost = this.knownMs === null;
    this.unconfirmed = !this.lost;
  }

  /** What the ticker says, where it is within the protocol's bounds. */
  hear(hello: Hello): void {
    const { intervalMs } = hello;
    if (intervalMs === null || !(intervalMs >= minIntervalMs && intervalMs <= maxIntervalMs)) return;
    this.knownMs = intervalMs;
    this.settle();
  }

  /**
   * Without a hello (it was lost, or heard by a service that is gone) the interval is the longest of three gaps by the
   * guest's own clock, or of a remembered one, one gap that agrees. True when the interval to go by changed.
   */
  measure(seq: number, uptimeMs: number): boolean {
    if (this.knownMs !== null && !this.unconfirmed) return false;
    const { measured } = this;
    // Neither runs backwards in one life of a ticker: this is another.
    if (measured === null || seq <= measured.seq || uptimeMs <= measured.uptimeMs) {
      this.measured = { seq, uptimeMs, gapsMs: [] };
      this.lost = false;
      return measured === null;
    }
    const gapMs = (uptimeMs - measured.uptimeMs) / (seq - measured.seq);
    const rememberedMs = this.knownMs ?? this.doubtedMs;
    if (rememberedMs !== null && gapMs <= otherPace * rememberedMs) return this.know(rememberedMs);
    const gapsMs = [...measured.gapsMs, gapMs];
    this.measured = { seq, uptimeMs, gapsMs };
    const refuted = this.knownMs !== null;
    this.doubtedMs = rememberedMs;
    this.knownMs = null;
    this.unconfirmed = false;
    if (gapsMs.length < measuredGaps) return refuted;
    return this.know(Math.min(Math.max(Math.round(rhythmMs(gapsMs)), minIntervalMs), maxIntervalMs));
  }

  private know(intervalMs: number): true {
    this.knownMs = intervalMs;
    this.settle();
    return true;
  }

  private settle(): void {
    this.heard = true;
    this.measured = null;
    this.lost = false;
    this.unconfirmed = false;
    this.doubtedMs = null;
  }

  /**
   * The interval to go by. While it is being measured the longest, lest a slow ticker be taken for a silent one; for
   * the same reason the classic one never undercuts what the ticker says, and a remembered one not the configured.
   */
  intervalMs(policy: WatchPolicy): number {
    const unheardMs = this.unconfirmed ? minUnheardMs : 0;
    if (policy.classic !== null || this.unconfirmed)
      return Math.max(policy.intervalMs, this.knownMs ?? 0, unheardMs);
    return this.knownMs ?? (this.measuring ? maxIntervalMs : policy.intervalMs);
  }
}

/** The longest gap; but one of more than twice the middle one was a pause, of the guest or of its whole host. */
function rhythmMs(gapsMs: readonly number[]): number {
  const sorted = gapsMs.toSorted((a, b) => a - b);
  const middleMs = sorted[Math.floor(sorted.length / 2)] as number;
  const longestMs = sorted.at(-1) as number;
  return longestMs > 2 * middleMs ? middleMs : longestMs;
}
