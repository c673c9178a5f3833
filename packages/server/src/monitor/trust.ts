/**
 * Whether ticks read now were sent after the last reset, panic or exit. What still lies in the socket at such a moment
 * is older than it, and must not pass for the guest's new life.
 */
import type { Clock } from '../clock.ts';

/** How long to wait for a flooded port before looking again whether it was drained. */
const backlogRetryMs = 250;

/** Trust in the ticks of one guest. */
export class TickTrust {
  private readonly clock: Clock;
  private distrusted = false;
  /** Names the latest moment; an older one's end means nothing. */
  private moment = 0;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** Ticks read now count. */
  get trusted(): boolean {
    return !this.distrusted;
  }

  /** A process begins: whatever is read is its own. */
  restore(): void {
    this.moment += 1;
    this.distrusted = false;
  }

  /** No tick counts until `restore`: the process is gone. */
  revoke(): void {
    this.moment += 1;
    this.distrusted = true;
  }

  /** No tick counts until the lane has been drained once. */
  untilDrained(backlogged: () => boolean): void {
    this.revoke();
    const moment = this.moment;
    const trust = (): void => {
      if (moment !== this.moment) return;
      if (backlogged()) this.clock.setTimer(() => this.clock.afterPoll(trust), backlogRetryMs);
      else this.distrusted = false;
    };
    this.clock.afterPoll(trust);
  }
}
