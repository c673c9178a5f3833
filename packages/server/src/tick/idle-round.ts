/** One timer for all who wait for something that nobody tells them: ten thousand of them cost no timer each. */
import type { Clock, Timer } from '../clock.ts';

/** Everybody who waits looks so often. */
const idleLookMs = 1_000;

const rounds = new WeakMap<Clock, IdleRound>();

/** The round of one clock. It has a timer only while somebody waits. */
export class IdleRound {
  readonly #clock: Clock;
  readonly #waiting = new Set<() => void>();
  #timer: Timer | null = null;

  private constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The one that all who share a clock share. */
  static of(clock: Clock): IdleRound {
    const round = rounds.get(clock) ?? new IdleRound(clock);
    rounds.set(clock, round);
    return round;
  }

  /** `look` is called within `idleLookMs`, and again, until it leaves. It must not throw. */
  join(look: () => void): void {
    this.#waiting.add(look);
    if (this.#timer === null) this.#next();
  }

  /** Idempotent. */
  leave(look: () => void): void {
    this.#waiting.delete(look);
    if (this.#waiting.size > 0) return;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #next(): void {
    this.#timer = this.#clock.setTimer(() => {
      this.#timer = null;
      for (const look of this.#waiting) look();
      if (this.#waiting.size > 0 && this.#timer === null) this.#next();
    }, idleLookMs);
  }
}
