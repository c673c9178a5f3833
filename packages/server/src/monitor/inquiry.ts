/** Asks the witnesses beside the loop, and hands their answers over only if they still matter. */
import type { Clock, Timer } from '../clock.ts';
import type { Pacer } from './pacer.ts';
import type { Question, Reading, Round, Witnesses } from './witnesses.ts';

/** A round that took longer is given up. It cannot, unless a witness fails in a way it must not. */
const roundLimitMs = 1_000;

/** The questions out for one guest: at most one round at a time. */
export class Inquiry {
  private readonly clock: Clock;
  private readonly pacer: Pacer;
  private readonly onFailure: (error: unknown) => void;
  /** Counts up with everything that makes answers still out meaningless. */
  private current = 0;
  private out = false;
  /** The wait between the two samples of the round out. */
  private waiting: Timer | undefined;
  /** When the round out was begun; null while it waits for its turn. */
  private begunMs: number | null = null;

  constructor(clock: Clock, pacer: Pacer, onFailure: (error: unknown) => void) {
    this.clock = clock;
    this.pacer = pacer;
    this.onFailure = onFailure;
  }

  /** A round is out, and may still answer. */
  isOut(nowMs: number): boolean {
    return this.out && (this.begunMs === null || nowMs - this.begunMs < roundLimitMs);
  }

  /** Drops what was asked and not answered. */
  abandon(): void {
    this.current += 1;
    this.waiting?.cancel();
    this.waiting = undefined;
    this.out = false;
    this.begunMs = null;
  }

  /** One round; see `Witnesses.ask`. */
  ask(witnesses: Witnesses, question: () => Question, answer: (round: Round) => void): void {
    this.abandon();
    const asked = this.current;
    this.out = true;
    this.pacer.run(() => {
      if (asked !== this.current) return false;
      this.begunMs = this.clock.monotonicMs();
      this.beside(async () => {
        const round = await witnesses.ask(question(), {
          wait: (ms) => this.wait(asked, ms),
          turn: (work) => this.turn(asked, work),
        });
        // A tick may have come in while the witnesses answered: nobody is judged before it has been read.
        this.clock.afterPoll(() => {
          if (asked !== this.current) return;
          this.out = false;
          this.guarded(() => answer(round));
        });
      });
      return true;
    });
  }

  /** Never settles once the round is abandoned. */
  private wait(asked: number, ms: number): Promise<void> {
    return new Promise((resolve) => {
      if (asked === this.current) this.waiting = this.clock.setTimer(resolve, ms);
    });
  }

  /** The second part of a round. While it waits the round is not late. */
  private turn<T>(asked: number, work: () => Promise<T>): Promise<T> {
    return new Promise((resolve) => {
      if (asked !== this.current) return;
      this.begunMs = null;
      this.pacer.run(() => {
        if (asked !== this.current) return false;
        this.begunMs = this.clock.monotonicMs();
        resolve(work());
        return true;
      });
    });
  }

  /** A late guest's counters, dropped when there are none or they came too late to matter; see `Witnesses.readLate`. */
  readLate(witnesses: Witnesses, soon: boolean, answer: (reading: Reading) => void): void {
    const asked = this.current;
    this.pacer.run(() => {
      if (asked !== this.current) return false;
      this.beside(async () => {
        const reading = await witnesses.readLate(soon);
        if (asked === this.current && reading !== null) answer(reading);
      });
      return true;
    });
  }

  private beside(work: () => Promise<void>): void {
    work().catch(this.onFailure);
  }

  private guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.onFailure(error);
    }
  }
}
