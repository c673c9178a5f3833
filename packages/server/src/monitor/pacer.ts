/**
 * Spreads work over turns of the event loop. A sample is read from /proc at once and takes some 0.1 ms, and a round of
 * witnesses 0.3 ms; thousands of guests that fall silent together would otherwise stall the loop that is to judge them.
 */
import type { Clock } from '../clock.ts';

/** Started in one turn at most: what they bring on themselves comes on top. */
export const startsPerTurn = 64;
/** Nothing more is started in a turn in which starting took so long: ticks that come meanwhile wait for its end. */
export const turnMs = 4;

/** A queue of work. It holds at most what its users ask for: one round and one sample for each guest. */
export class Pacer {
  private readonly clock: Clock;
  private waiting: (() => boolean)[] = [];
  /** Where in `waiting` the queue begins. */
  private next = 0;
  private started = 0;
  private startingMs = 0;
  private turning = false;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** Calls `work` now or in one of the next turns, in order. It answers false when it had nothing to do any more. */
  run(work: () => boolean): void {
    if (this.waiting.length > 0 || this.full) this.waiting.push(work);
    else this.start(work);
  }

  private get full(): boolean {
    return this.started >= startsPerTurn || this.startingMs >= turnMs;
  }

  private start(work: () => boolean): void {
    const beganMs = this.clock.monotonicMs();
    if (!work()) return;
    this.startingMs += this.clock.monotonicMs() - beganMs;
    this.started += 1;
    if (this.turning) return;
    this.turning = true;
    this.clock.afterPoll(() => this.nextTurn());
  }

  private nextTurn(): void {
    this.turning = false;
    this.started = 0;
    this.startingMs = 0;
    const { waiting } = this;
    while (!this.full && this.next < waiting.length) {
      this.start(waiting[this.next] as () => boolean);
      this.next += 1;
    }
    // The head is cut off now and then, not at every turn: very many may wait.
    if (this.next * 2 < waiting.length) return;
    this.waiting = waiting.slice(this.next);
    this.next = 0;
  }
}
