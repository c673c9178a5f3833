/**
 * The loop that decides when a guest is looked at. One timer for the next due guest of all; when it fires, the lane is
 * drained first, then the watermark moves, then whoever is due before the watermark is visited.
 *
 * Invariants kept here:
 *  I4 only the monotonic clock is read for judging;
 *  I5 the lane is drained before anyone is visited, and a stall of this service is told before that;
 *  I8 visits never wait: what takes time goes on beside the loop.
 */
import type { Clock, Timer } from '../clock.ts';
import type { Registry } from './registry.ts';
import { type Stall, StallWatch } from './stall.ts';
import { Watermark } from './watermark.ts';
import { bucketMs, Wheel } from './wheel.ts';

/**
 * The loop wakes at least this often while it has anyone to look at: a stall that begins while it naps is noticed only
 * from the nap's end on, and what is left must be enough to be noticed as long.
 */
const maxNapMs = 100;

/** What a lane is made of. */
export interface LaneOptions {
  readonly clock: Clock;
  readonly registry: Registry;
  /**
   * Looks at a slot that is due; the lane is drained up to `upToMs`. Answers when to look again, or -1. Must not throw:
   * who was due together with the slot would not be looked at again.
   */
  readonly visit: (slot: number, upToMs: number) => number;
  /** The service stood still; called before anyone is visited. */
  readonly stalled: (stall: Stall) => void;
  /** The watermark was this far behind the clock when guests were visited. */
  readonly drained: (lagMs: number) => void;
}

/** The lane of one registry. */
export class Lane {
  private readonly options: LaneOptions;
  private readonly wheel: Wheel;
  private readonly watermark: Watermark;
  private readonly stalls: StallWatch;
  private room: number;
  private timer: Timer | undefined;
  private timerAtMs = Number.POSITIVE_INFINITY;
  private draining = false;
  private closed = false;

  constructor(options: LaneOptions) {
    this.options = options;
    const nowMs = options.clock.monotonicMs();
    this.room = options.registry.size;
    this.wheel = new Wheel(this.room, nowMs);
    this.watermark = new Watermark(nowMs);
    this.stalls = new StallWatch(nowMs);
  }

  /** Takes notice of slots that the registry has grown by. */
  grow(): void {
    const { size } = this.options.registry;
    if (size <= this.room) return;
    this.room = size;
    this.wheel.grow(size);
  }

  /** The slot is to be visited at `dueMs`, and not at what was said before. */
  schedule(slot: number, dueMs: number): void {
    if (this.closed) return;
    this.wheel.put(slot, dueMs);
    if (dueMs + bucketMs < this.timerAtMs) this.arm();
  }

  unschedule(slot: number): void {
    this.wheel.remove(slot);
  }

  /** The loop is late: a stall will be told before anyone is visited again. */
  overdue(nowMs: number): boolean {
    return this.stalls.overdue(nowMs);
  }

  /** Visits nobody any more. */
  close(): void {
    this.closed = true;
    this.timer?.cancel();
  }

  private arm(): void {
    // While the lane is being drained the loop is about to arm itself.
    if (this.closed || this.draining) return;
    this.timer?.cancel();
    this.timer = undefined;
    this.timerAtMs = Number.POSITIVE_INFINITY;
    const nextMs = this.wheel.nextDueMs();
    const { clock, registry } = this.options;
    const nowMs = clock.monotonicMs();
    // The time that a late loop has missed stays: what is read now says nothing of how late guests are.
    const late = this.stalls.overdue(nowMs);
    if (nextMs === undefined) {
      this.stalls.expect(Number.POSITIVE_INFINITY, nowMs);
      if (!late) registry.expectLoop(Number.NEGATIVE_INFINITY);
      return;
    }
    const atMs = Math.max(nowMs, Math.min(nextMs, nowMs + maxNapMs));
    this.stalls.expect(atMs, nowMs);
    if (!late) registry.expectLoop(atMs);
    this.timerAtMs = atMs;
    this.timer = clock.setTimer(() => this.wake(), atMs - nowMs);
  }

  private wake(): void {
    const { clock } = this.options;
    const startedMs = clock.monotonicMs();
    this.timerAtMs = Number.POSITIVE_INFINITY;
    this.draining = true;
    clock.afterPoll(() => {
      try {
        if (!this.closed) this.visitDue(startedMs);
      } finally {
        this.draining = false;
        this.arm();
      }
    });
  }

  private visitDue(drainedMs: number): void {
    const { clock, visit, stalled, drained } = this.options;
    const nowMs = clock.monotonicMs();
    const stall = this.stalls.ran(nowMs);
    if (stall !== null) {
      stalled(stall);
      // The time that took is no stall: with very many guests one would bring the next.
      this.stalls.ran(clock.monotonicMs());
    }
    this.watermark.drained(drainedMs);
    const upToMs = this.watermark.valueMs;
    drained(nowMs - upToMs);
    this.wheel.advance(upToMs, (slot) => visit(slot, upToMs));
  }
}
