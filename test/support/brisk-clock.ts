/**
 * The system's clock, faster once it is told to: what waits for seconds by design is seen to do so in less. By a factor
 * below 1 slower: what has seconds by design has minutes.
 */
import { SystemClock, type Timer } from '../../packages/server/src/clock.ts';

/** What is to come in time has to come before `hurry`: a busy machine takes its time. */
export class BriskClock extends SystemClock {
  readonly #factor: number;
  #sinceMs = Infinity;

  constructor(factor: number) {
    super();
    this.#factor = factor;
  }

  /** From now on time passes so many times as fast; timers that are set already are none of those. */
  hurry(): this {
    this.#sinceMs = Math.min(this.#sinceMs, super.monotonicMs());
    return this;
  }

  override monotonicMs(): number {
    const nowMs = super.monotonicMs();
    return nowMs + (this.#factor - 1) * Math.max(0, nowMs - this.#sinceMs);
  }

  override setTimer(callback: () => void, delayMs: number): Timer {
    return super.setTimer(callback, this.#sinceMs === Infinity ? delayMs : delayMs / this.#factor);
  }
}
