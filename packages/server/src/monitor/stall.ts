/**
 * Whether this service stood still, and perhaps the whole host with it: it compares when the loop ran with when it
 * should have run. Monotonic milliseconds.
 */
import { minMarginMs } from './deadline.ts';

/** Lateness of the loop from here on is a stall: half the least margin, as a guest may have used up the other half. */
export const shortStallMs: number = minMarginMs / 2;
/** From here on a stall is long: it may have begun as early as the loop last ran, and guests need time to get going. */
const longStallMs = 200;

/** Time in which this service, and perhaps every guest, stood still. */
export interface Stall {
  readonly startedMs: number;
  readonly endedMs: number;
  readonly long: boolean;
}

/** Notices stalls of one loop. */
export class StallWatch {
  private ranMs: number;
  private dueMs = Number.POSITIVE_INFINITY;

  constructor(nowMs: number) {
    this.ranMs = nowMs;
  }

  /** The loop is to run at `dueMs`, now if that is past (Infinity: not at all). A time that it has missed stays. */
  expect(dueMs: number, nowMs: number): void {
    if (this.overdue(nowMs)) return;
    this.ranMs = nowMs;
    this.dueMs = Math.max(dueMs, nowMs);
  }

  /** The loop should have run by now and has not. */
  overdue(nowMs: number): boolean {
    return nowMs - this.dueMs > shortStallMs;
  }

  /** The loop runs, and is to be done at once. The stall that this ends; null when there was none. */
  ran(nowMs: number): Stall | null {
    const long = nowMs - this.dueMs > longStallMs;
    const startedMs = long ? this.ranMs : this.dueMs;
    const stall = this.overdue(nowMs) ? { startedMs, endedMs: nowMs, long } : null;
    this.ranMs = nowMs;
    this.dueMs = nowMs;
    return stall;
  }
}
