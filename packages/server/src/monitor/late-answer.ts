/**
 * A question whose answer may come too late for its round: it is not asked a second time while the first is out, and
 * what came late is there for the next round, lest a slow monitor never be heard.
 */
import { type Clock, withDeadline } from '../clock.ts';

/** An answer with how long it took. */
export interface Timed<T> {
  readonly answer: T;
  readonly tookMs: number;
}

/** One question, asked again and again. */
export class LateAnswer<T> {
  private readonly clock: Clock;
  private readonly question: () => Promise<T>;
  private out: Promise<T> | undefined;
  private late: Timed<T> | undefined;

  constructor(clock: Clock, question: () => Promise<T>) {
    this.clock = clock;
    this.question = question;
  }

  /** What was answered too late is of no interest any more. */
  forget(): void {
    this.late = undefined;
  }

  /** The answer, or `silent` when there is none within `timeoutMs` or an error came instead. Never rejects. */
  async ask(timeoutMs: number): Promise<Timed<T | 'silent'>> {
    const { late } = this;
    this.late = undefined;
    if (late !== undefined) {
      // Put again at once, so that a slow one has an answer for every round; its failure is dealt with in `put`.
      void this.put();
      return late;
    }
    const askedMs = this.clock.monotonicMs();
    let answer: T | 'silent' = 'silent';
    try {
      const silent = (): Error => new Error('silent');
      answer = await withDeadline(this.clock, this.put(), timeoutMs, silent);
      this.late = undefined;
    } catch {
      // Silent, or an error instead of an answer.
    }
    return { answer, tookMs: this.clock.monotonicMs() - askedMs };
  }

  private put(): Promise<T> {
    if (this.out !== undefined) return this.out;
    const askedMs = this.clock.monotonicMs();
    const asked = this.question();
    this.out = asked;
    const answered = (answer?: { value: T }): void => {
      this.out = undefined;
      // Where a round waits for it, the round takes it from here.
      if (answer !== undefined) {
        this.late = { answer: answer.value, tookMs: this.clock.monotonicMs() - askedMs };
      }
    };
    asked.then(
      (value) => answered({ value }),
      () => answered(),
    );
    return asked;
  }
}
