/** Why a watch is suspended at the moment, and since when. */
import type { Clock } from '../clock.ts';
import type { SuspendReason } from './watch.ts';

/** By an operation, by QEMU (`qemu`), by the guest's own sleep or shutdown. */
export type Reason = SuspendReason | 'qemu' | 'sleep' | 'guestShutdown';

const operations: readonly Reason[] = ['pausing', 'saving', 'resetting', 'shuttingDown', 'turningOff'];

/** Reasons may overlap (an operation pauses the guest, and QEMU says so too); time counts from first to last. */
export class Suspensions {
  private readonly clock: Clock;
  private readonly reasons = new Set<Reason>();
  private sinceMs = 0;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  get any(): boolean {
    return this.reasons.size > 0;
  }

  has(reason: Reason): boolean {
    return this.reasons.has(reason);
  }

  add(reason: Reason): void {
    if (!this.any) this.sinceMs = this.clock.monotonicMs();
    this.reasons.add(reason);
  }

  /** Since when, monotonic ms; means something only while there is any. */
  get startedMs(): number {
    return this.sinceMs;
  }

  /** An exit is what was asked for: the guest ended itself, or an operation ends it. */
  get exitExpected(): boolean {
    return this.has('guestShutdown') || this.has('turningOff') || this.has('saving');
  }

  /** How long the suspension was, ms, if this ended it; undefined while others last or there was none. */
  remove(...reasons: readonly Reason[]): number | undefined {
    let removed = false;
    for (const reason of reasons) removed = this.reasons.delete(reason) || removed;
    return removed && !this.any ? this.clock.monotonicMs() - this.sinceMs : undefined;
  }

  /** Removes what operations asked for; answers as `remove`. */
  endOperations(): number | undefined {
    return this.remove(...operations);
  }

  clear(): void {
    this.reasons.clear();
  }
}
