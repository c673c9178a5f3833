/**
 * The watermark of a lane: the monotonic time up to which every tick that had arrived has been recorded. A guest is
 * judged by it, never by the clock alone: a service that was stopped, stalled or overloaded first reads what came in
 * meanwhile, and only then does time count.
 */
export class Watermark {
  private upToMs: number;

  constructor(nowMs: number) {
    this.upToMs = nowMs;
  }

  /** Monotonic ms. */
  get valueMs(): number {
    return this.upToMs;
  }

  /** The lane was polled empty after `startedMs`: input of up to that moment is recorded. Never runs backwards. */
  drained(startedMs: number): void {
    if (startedMs > this.upToMs) this.upToMs = startedMs;
  }
}
