/** Whether the service sees its guests: from its start on, but for stalls of its own. */
import type { Clock } from '../clock.ts';
import { recoveryStallMs, stallTroubleMs } from '../limits.ts';

/** What the monitor tells of stalls, for recovery. */
export class Sight {
  readonly #clock: Clock;
  #sinceMs: number;
  #lengthMs: number | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#sinceMs = clock.monotonicMs();
  }

  /** Since when guests are seen without a break, monotonic ms. */
  get sinceMs(): number {
    return this.#sinceMs;
  }

  /** A stall ended. Short ones leave nothing unread for long. */
  stalled(lengthMs: number): void {
    if (lengthMs < recoveryStallMs) return;
    this.#sinceMs = this.#clock.monotonicMs();
    this.#lengthMs = lengthMs;
  }

  /** Why the host does not count as well: the service stood still a moment ago. null when it did not. */
  trouble(): string | null {
    const agoMs = this.#clock.monotonicMs() - this.#sinceMs;
    if (this.#lengthMs === null || agoMs >= stallTroubleMs) return null;
    const [ago, length] = [agoMs, this.#lengthMs].map((ms) => Math.round(ms / 1_000));
    return `the service stood still for ${length} s, ${ago} s ago`;
  }
}
