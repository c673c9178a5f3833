/** Deletes old events in small steps between commits, by age and by size. */
import type { Clock, Timer } from '../clock.ts';
import { retentionChunk, retentionEvents, retentionIntervalMs, retentionPauseMs } from './store-limits.ts';

/** What is kept of the log. An event goes when either bound says so, the oldest first. */
export interface Retention {
  /** Age at which an event goes, by the wall clock. */
  readonly maxAgeMs: number;
  /** Bytes in use in the database (its file does not shrink, the room in it is used again). */
  readonly maxBytes: number;
}

/** 30 days and 1 GiB. */
export const defaultRetention: Retention = { maxAgeMs: 30 * 86_400_000, maxBytes: 1024 ** 3 };

/** One step. */
export interface RetentionStep {
  readonly cutoffMs: number;
  readonly maxBytes: number;
  readonly chunk: number;
}

/** Looks now and then, and deletes until nothing is left to delete. */
export class Retainer {
  readonly #clock: Clock;
  readonly #retention: Retention;
  readonly #step: (step: RetentionStep) => Promise<boolean>;
  readonly #closed = new AbortController();
  #timer: Timer | null = null;
  #running: Promise<void> | null = null;
  #sinceLast = 0;

  /** `step` deletes one chunk and says whether there is more. */
  constructor(clock: Clock, retention: Retention, step: (step: RetentionStep) => Promise<boolean>) {
    this.#clock = clock;
    this.#retention = retention;
    this.#step = step;
  }

  /** Looks now, and from now on every minute. */
  run(): void {
    this.#timer?.cancel();
    if (this.#closed.signal.aborted) return;
    this.#timer = this.#clock.setTimer(() => this.run(), retentionIntervalMs);
    this.#sinceLast = 0;
    this.#running ??= this.#deleteOld().finally(() => {
      this.#running = null;
    });
  }

  /** After each commit: so many events came. */
  note(events: number): void {
    this.#sinceLast += events;
    if (this.#sinceLast >= retentionEvents && this.#running === null) this.run();
  }

  async close(): Promise<void> {
    this.#closed.abort();
    this.#timer?.cancel();
    await this.#running;
  }

  async #deleteOld(): Promise<void> {
    const { signal } = this.#closed;
    try {
      while (!signal.aborted) {
        const cutoffMs = this.#clock.wallMs() - this.#retention.maxAgeMs;
        const more = await this.#step({
          cutoffMs,
          maxBytes: this.#retention.maxBytes,
          chunk: retentionChunk,
        });
        if (!more) return;
        await this.#clock.sleep(retentionPauseMs, signal);
      }
    } catch {
      // The disk cannot be written, or the thread died: appends tell it. The next look tries again.
    }
  }
}
