/** One guest's silence: when it last ticked, and what has been taken off since. Monotonic milliseconds. */
import type { Clock } from '../clock.ts';
import { silenceMs } from './deadline.ts';
import type { Registry } from './registry.ts';
import type { Stall } from './stall.ts';

/** Accounts for one slot of the registry. */
export class SilenceAccount {
  private readonly clock: Clock;
  private readonly registry: Registry;
  private readonly slot: number;

  constructor(clock: Clock, registry: Registry, slot: number) {
    this.clock = clock;
    this.registry = registry;
    this.slot = slot;
  }

  /** Time taken off since the last tick. */
  get excused(): number {
    return this.registry.takenMs(this.slot);
  }

  /** When the last tick really came. */
  get lastTickMs(): number {
    return this.registry.lastMs(this.slot) - this.excused;
  }

  /** Silence so far that counts, `runDelayMs` being time its vCPUs waited for a host processor. */
  countedMs(runDelayMs: number): number {
    return silenceMs(this.clock.monotonicMs() - this.lastTickMs, this.excused, runDelayMs);
  }

  /** A new life begins. */
  begin(intervalMs: number): void {
    this.registry.begin(this.slot, intervalMs, this.clock.monotonicMs());
  }

  /** Takes off time that ended now, in which the guest could not tick. */
  excuse(lengthMs: number): void {
    this.registry.excuse(this.slot, lengthMs, this.clock.monotonicMs());
  }

  /** Takes a stall of the service itself off. */
  forgive(stall: Stall): void {
    this.registry.forgive(this.slot, stall);
  }
}
