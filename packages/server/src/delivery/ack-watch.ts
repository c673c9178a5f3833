/**
 * The deadline of a consumer's answers: while something is in flight, an answer must come within it. Each answer begins
 * it anew, since a consumer takes one event after the other and the last of many waits for all before it.
 */
import type { Clock, Timer } from '../clock.ts';
import { maxAckTimerLateMs } from '../limits.ts';

/** See the head of this file. */
export class AckWatch {
  readonly #clock: Clock;
  readonly #timeoutMs: () => number | null;
  readonly #expired: (timeoutMs: number) => void;
  #timer: Timer | null = null;

  /** `timeoutMs` is asked each time it begins: it may change meanwhile; null: no deadline. */
  constructor(clock: Clock, timeoutMs: () => number | null, expired: (timeoutMs: number) => void) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#expired = expired;
  }

  /** Something is in flight. */
  sent(): void {
    if (this.#timer === null) this.#begin();
  }

  /** An answer came. */
  answered(isMoreInFlight: boolean): void {
    this.end();
    if (isMoreInFlight) this.#begin();
  }

  end(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #begin(): void {
    const timeoutMs = this.#timeoutMs();
    if (timeoutMs === null) return;
    const dueMs = this.#clock.monotonicMs() + timeoutMs;
    this.#timer = this.#clock.setTimer(() => {
      this.#timer = null;
      // The service itself stood still: answers may have come and wait to be read.
      if (this.#clock.monotonicMs() - dueMs > maxAckTimerLateMs) this.#begin();
      else this.#expired(timeoutMs);
    }, timeoutMs);
  }
}
