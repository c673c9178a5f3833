/** Whether the service sees its guests: from its start on, but for stalls of its own. */
import type { Clock, Timer } from '../clock.ts';
import { recoveryStallMs, sightLookMs, stallTroubleMs } from '../limits.ts';

/** What the monitor tells of stalls, for recovery; and what it does not notice, having no guest to look at. */
export class Sight {
  readonly #clock: Clock;
  #sinceMs: number;
  #lengthMs: number | null = null;
  #timer: Timer | null = null;
  /** When it is to look again, monotonic ms. */
  #dueMs = Number.POSITIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#sinceMs = clock.monotonicMs();
  }

  /** From here on it looks by itself, too. */
  start(): void {
    this.#dueMs = this.#clock.monotonicMs() + sightLookMs;
    this.#timer = this.#clock.setTimer(() => {
      this.#look();
      this.start();
    }, sightLookMs);
  }

  /** Idempotent. */
  close(): void {
    this.#timer?.cancel();
  }

  /** Since when guests are seen without a break, monotonic ms. */
  get sinceMs(): number {
    this.#look();
    return this.#sinceMs;
  }

  /** After a stall others may be called before its timer is. */
  #look(): void {
    const nowMs = this.#clock.monotonicMs();
    const lateMs = nowMs - this.#dueMs;
    if (lateMs < recoveryStallMs) return;
    this.#dueMs = nowMs;
    this.stalled(lateMs);
  }

  /** A stall ended. Short ones leave nothing unread for long. */
  stalled(lengthMs: number): void {
    if (lengthMs < recoveryStallMs) return;
    this.#sinceMs = this.#clock.monotonicMs();
    this.#lengthMs = lengthMs;
  }

  /** Why the host does not count as well: the service stood still a moment ago. null when it did not. */
  trouble(): string | null {
    this.#look();
    const agoMs = this.#clock.monotonicMs() - this.#sinceMs;
    if (this.#lengthMs === null || agoMs >= stallTroubleMs) return null;
    const [ago, length] = [agoMs, this.#lengthMs].map((ms) => Math.round(ms / 1_000));
    return `the service stood still for ${length} s, ${ago} s ago`;
  }
}
