/** One machine's boots: how long they took, and until when the present one may take. Monotonic milliseconds. */
import { bootWindowEndMs, bootWindowMs } from './deadline.ts';

/** Boots remembered. */
const rememberedBoots = 8;

/** Learns from boots. */
export class Boots {
  private durationsMs: readonly number[];
  private startedMs: number | null = null;
  /** The first of the resets since the last tick. */
  private firstResetMs: number | null = null;

  constructor(durationsMs: readonly number[]) {
    this.durationsMs = durationsMs.slice(-rememberedBoots);
  }

  /** Durations of the last boots, newest last. */
  get learnedMs(): readonly number[] {
    return this.durationsMs;
  }

  /** A boot began: the process was started, or the guest reset. */
  started(nowMs: number): void {
    this.startedMs = nowMs;
  }

  /** The guest ticks: its boot, if one was under way, has ended. */
  ticked(nowMs: number): void {
    if (this.startedMs !== null) {
      this.durationsMs = [...this.durationsMs, Math.round(nowMs - this.startedMs)].slice(-rememberedBoots);
    }
    this.startedMs = null;
    this.firstResetMs = null;
  }

  /**
   * The guest was reset: until when its boot may take. Resets of its own in a row share one upper bound; one from
   * outside (`byHost`) is a new beginning.
   */
  windowEndMs(nowMs: number, maxMs: number, byHost: boolean): number {
    if (byHost || this.firstResetMs === null) this.firstResetMs = nowMs;
    return bootWindowEndMs(nowMs, this.firstResetMs, bootWindowMs(this.durationsMs, maxMs), maxMs);
  }

  /** Time that ended now, in which no guest could boot (`lengthMs`), is no part of the boot under way. */
  excuse(lengthMs: number, nowMs: number): void {
    const later = (atMs: number | null): number | null =>
      atMs === null ? null : Math.min(atMs + lengthMs, nowMs);
    this.startedMs = later(this.startedMs);
    this.firstResetMs = later(this.firstResetMs);
  }
}
