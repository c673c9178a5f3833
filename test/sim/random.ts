/** Seeded chance: the same seed gives the same numbers on every machine (sfc32, after Chris Doty-Humphrey). */

/** A stream of numbers. `fork` makes one of its own for each part, so that a change in one part moves no other. */
export class Random {
  private a: number;
  private b: number;
  private c: number;
  private counter = 1;

  constructor(seed: number, stream = 0) {
    this.a = seed | 0;
    this.b = Math.floor(seed / 2 ** 32) | 0;
    this.c = stream | 0;
    for (let turn = 0; turn < 15; turn += 1) this.bits();
  }

  /** 32 bits. */
  bits(): number {
    const sum = (this.a + this.b + this.counter) | 0;
    this.counter = (this.counter + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = ((this.c << 21) | (this.c >>> 11)) + sum;
    return sum >>> 0;
  }

  /** From 0 to below 1. */
  share(): number {
    return this.bits() / 2 ** 32;
  }

  /** From `low` to below `high`. */
  between(low: number, high: number): number {
    return low + (high - low) * this.share();
  }

  /** A whole number from `low` to `high`, both included. */
  whole(low: number, high: number): number {
    return low + Math.floor(this.share() * (high - low + 1));
  }

  /** True in this share of the cases. */
  chance(probability: number): boolean {
    return this.share() < probability;
  }

  /** One of them. */
  pick<T>(from: readonly T[]): T {
    return from[this.whole(0, from.length - 1)] as T;
  }

  /** One of them, each as often as its weight says. */
  weighted<T>(from: readonly (readonly [weight: number, value: T])[]): T {
    let total = 0;
    for (const [weight] of from) total += weight;
    let left = this.share() * total;
    for (const [weight, value] of from) {
      left -= weight;
      if (left < 0) return value;
    }
    return (from.at(-1) as readonly [number, T])[1];
  }

  /** Times between events that come by chance, `mean` apart; at most ten times that. */
  exponential(mean: number): number {
    return Math.min(-Math.log(1 - this.share()), 10) * mean;
  }

  /** A stream of its own. */
  fork(): Random {
    return new Random(this.bits() * 2 ** 20 + (this.bits() >>> 12), this.bits());
  }
}
