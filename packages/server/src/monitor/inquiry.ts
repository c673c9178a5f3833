/** Asks the witnesses beside the loop, and hands their answers over only if they still matter. */
import type { Clock } from '../clock.ts';
import type { ProcessSample } from '../hypervisor/hypervisor.ts';
import type { Pacer } from './pacer.ts';
import type { Question, Round, Witnesses } from './witnesses.ts';

/** A round that took longer is given up. It cannot, unless a witness fails in a way it must not. */
const roundLimitMs = 1_000;

/** The questions out for one guest: at most one round at a time. */
export class Inquiry {
  private readonly clock: Clock;
  private readonly pacer: Pacer;
  private readonly onFailure: (error: unknown) => void;
  /** Counts up with everything that makes answers still out meaningless. */
  private current = 0;
  private asking: AbortController | undefined;
  /** When the round out was begun; null while it waits for its turn. */
  private begunMs: number | null = null;

  constructor(clock: Clock, pacer: Pacer, onFailure: (error: unknown) => void) {
    this.clock = clock;
    this.pacer = pacer;
    this.onFailure = onFailure;
  }

  /** A round is out, and may still answer. */
  isOut(nowMs: number): boolean {
    return this.asking !== undefined && (this.begunMs === null || nowMs - this.begunMs < roundLimitMs);
  }

  /** Drops what was asked and not answered. */
  abandon(): void {
    this.current += 1;
    this.asking?.abort();
    this.asking = undefined;
    this.begunMs = null;
  }

  /** One round; see `Witnesses.ask`. */
  ask(witnesses: Witnesses, question: () => Question, answer: (round: Round) => void): void {
    this.abandon();
    const asked = this.current;
    const asking = new AbortController();
    this.asking = asking;
    this.pacer.run(() => {
      if (asked !== this.current) return false;
      this.begunMs = this.clock.monotonicMs();
      this.beside(async () => {
        const round = await witnesses.ask(question(), asking.signal);
        // A tick may have come in while the witnesses answered: nobody is judged before it has been read.
        this.clock.afterPoll(() => {
          if (asked !== this.current) return;
          this.asking = undefined;
          this.guarded(() => answer(round));
        });
      });
      return true;
    });
  }

  /** A sample of processor times, dropped when it could not be read or came too late to matter. */
  sample(witnesses: Witnesses, answer: (sample: ProcessSample) => void): void {
    const asked = this.current;
    this.pacer.run(() => {
      if (asked !== this.current) return false;
      this.beside(async () => {
        const sample = await witnesses.sample();
        if (asked === this.current && sample !== null) answer(sample);
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
