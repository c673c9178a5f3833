/**
 * Whether the host slept (suspend to memory or disk): its clock since boot ran on while the monotonic one stood still.
 * Nobody was silent meanwhile by the monotonic clock, but guests that wake together need a moment.
 */
import type { Clock } from '../clock.ts';
import type { Stall } from './stall.ts';

/** Shorter differences are how coarsely the clocks are read. */
const minSleepMs = 1_000;

/** Notices that the host slept. */
export class HostSleep {
  private readonly clock: Clock;
  private readonly sleptMs: () => number;
  private knownMs: number;
  private lookedMs: number;

  /** `sleptMs`: how long the host has slept since it booted, in all. */
  constructor(clock: Clock, sleptMs: () => number) {
    this.clock = clock;
    this.sleptMs = sleptMs;
    this.knownMs = sleptMs();
    this.lookedMs = clock.monotonicMs();
  }

  /** How long it slept since the last look, with the time that is to be forgiven; null when it did not. */
  look(): { readonly sleptMs: number; readonly stall: Stall } | null {
    const startedMs = this.lookedMs;
    const endedMs = this.clock.monotonicMs();
    this.lookedMs = endedMs;
    const sleptMs = this.sleptMs() - this.knownMs;
    if (!(sleptMs >= minSleepMs)) return null;
    this.knownMs += sleptMs;
    return { sleptMs, stall: { startedMs, endedMs, long: true } };
  }
}
