/**
 * Spreads work over turns of the event loop. A sample is read from /proc at once and takes some 0.1 ms; thousands of
 * guests that fall silent together would otherwise stall the loop that is to judge them.
 */
import type { Clock } from '../clock.ts';

/** Started in one turn: some 6 ms of reading. */
export const startsPerTurn = 64;

/** A queue of work. It holds at most what its users ask for: one round and one sample for each guest. */
export class Pacer {
  private readonly clock: Clock;
  private waiting: (() => boolean)[] = [];
  private started = 0;
  private turning = false;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** Calls `work` now or in one of the next turns, in order. It answers false when it had nothing to do any more. */
  run(work: () => boolean): void {
    if (this.waiting.length > 0 || this.started >= startsPerTurn) this.waiting.push(work);
    else this.start(work);
  }

  private start(work: () => boolean): void {
    if (!work()) return;
    this.started += 1;
    if (this.turning) return;
    this.turning = true;
    this.clock.afterPoll(() => this.nextTurn());
  }

  private nextTurn(): void {
    this.turning = false;
    this.started = 0;
    const { waiting } = this;
    let next = 0;
    while (this.started < startsPerTurn && next < waiting.length) {
      this.start(waiting[next] as () => boolean);
      next += 1;
    }
    this.waiting = waiting.slice(next);
  }
}
