/**
 * The circuit breaker of one endpoint, as a state machine without a clock of its own. Closed: attempts are made when
 * they are due. After too many failures in a row it opens: one attempt after each pause, which doubles up to a bound;
 * the first that is accepted closes it.
 */
import { webhookCircuitFailures, webhookProbeMs } from '../limits.ts';

/** See the head of this file. Times are monotonic, ms. */
export class Circuit {
  #failures = 0;
  #notBeforeMs = Number.NEGATIVE_INFINITY;

  get failures(): number {
    return this.#failures;
  }

  get isOpen(): boolean {
    return this.#failures >= webhookCircuitFailures;
  }

  /** No attempt is made before this. */
  get notBeforeMs(): number {
    return this.#notBeforeMs;
  }

  /** An attempt was accepted. Returns whether that closed the circuit. */
  succeeded(): boolean {
    const wasOpen = this.isOpen;
    this.reset();
    return wasOpen;
  }

  /** An attempt failed. `askedMs`: the pause that the endpoint asked for. */
  failed(nowMs: number, askedMs: number | null): void {
    this.#failures += 1;
    const doublings = Math.min(this.#failures - webhookCircuitFailures, 30);
    const probeMs = this.isOpen ? Math.min(webhookProbeMs.first * 2 ** doublings, webhookProbeMs.longest) : 0;
    this.#notBeforeMs = nowMs + Math.max(probeMs, askedMs ?? 0);
  }

  /** As it was when the service ended. */
  restore(failures: number, notBeforeMs: number): void {
    this.#failures = failures;
    this.#notBeforeMs = notBeforeMs;
  }

  /** An operator wants it tried at once. */
  reset(): void {
    this.#failures = 0;
    this.#notBeforeMs = Number.NEGATIVE_INFINITY;
  }
}
