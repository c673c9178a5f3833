/** How often, and after what pause, what was not taken is tried again: for every kind of delivery. */
import type { Clock } from '../clock.ts';

/** Bounds of trying again. */
export interface RetryPolicy {
  /** Pause after the first failure, ms; it doubles with each further one. */
  readonly firstDelayMs: number;
  /** Longest pause, ms. */
  readonly longestDelayMs: number;
  /** Attempts in all; the last one's failure sets the delivery aside. */
  readonly maxAttempts: number;
}

/**
 * `first · 2^(failures - 1)`, at most `longest`, of which a random half is taken off, so that what failed together does
 * not come back together. `random` is in [0, 1).
 */
export function retryDelayMs(failures: number, policy: RetryPolicy, random: number): number {
  const full = Math.min(policy.longestDelayMs, policy.firstDelayMs * 2 ** Math.min(failures - 1, 30));
  return full * (1 - random / 2);
}

interface Failing {
  failures: number;
  notBeforeMs: number;
}

/** What failed and is not over, by a number of its own (an event's seq). Bounded by whoever delivers. */
export class Attempts {
  readonly #clock: Clock;
  readonly #policy: () => RetryPolicy;
  readonly #random: () => number;
  readonly #failing = new Map<number, Failing>();

  /** `policy` is asked at each failure: it may change meanwhile. */
  constructor(clock: Clock, policy: () => RetryPolicy, random: () => number = Math.random) {
    this.#clock = clock;
    this.#policy = policy;
    this.#random = random;
  }

  /** An attempt failed: it is to be tried again after `waitMs`, or was the last one. */
  failed(key: number): 'again' | 'last' {
    const failures = this.failures(key) + 1;
    this.#set(key, failures);
    return failures < this.#policy().maxAttempts ? 'again' : 'last';
  }

  /** How often it failed. */
  failures(key: number): number {
    return this.#failing.get(key)?.failures ?? 0;
  }

  /** How long until it may be tried, ms; 0: now. */
  waitMs(key: number): number {
    return Math.max(0, (this.#failing.get(key)?.notBeforeMs ?? 0) - this.#clock.monotonicMs());
  }

  /** It is over: taken, or set aside. */
  forget(key: number): void {
    this.#failing.delete(key);
  }

  /** What failed among these will not be tried again. */
  forgetLost({ from, to }: { readonly from: number; readonly to: number }): void {
    for (const key of this.#failing.keys()) if (key >= from && key <= to) this.#failing.delete(key);
  }

  /** Forgets all but those that are wanted. */
  keep(isWanted: (key: number) => boolean): void {
    for (const key of this.#failing.keys()) if (!isWanted(key)) this.#failing.delete(key);
  }

  /** What outlives a restart: keys and how often each failed. */
  snapshot(): [key: number, failures: number][] {
    return [...this.#failing].map(([key, { failures }]) => [key, failures]);
  }

  /** Takes up a snapshot: each pause begins anew. */
  restore(snapshot: readonly (readonly [key: number, failures: number])[]): void {
    for (const [key, failures] of snapshot) this.#set(key, failures);
  }

  #set(key: number, failures: number): void {
    const delayMs = retryDelayMs(failures, this.#policy(), this.#random());
    this.#failing.set(key, { failures, notBeforeMs: this.#clock.monotonicMs() + delayMs });
  }
}
