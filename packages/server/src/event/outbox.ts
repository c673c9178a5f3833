/**
 * The only way out of the log. A stream goes through three phases:
 *
 *  backfill  What was there when the stream was opened is read page by page.
 *  cutover   The stream has listened for commits since before its first page, so what was committed while it read is
 *            known to be there, and is read too, until nothing known is left. No event can fall between the two.
 *  live      The stream waits for a commit, then reads on from where it is.
 *
 * The notification only wakes: the log is the truth, and it serves its newest events from memory. So a stream holds no
 * events besides the page its reader has in hand, however slow that reader is; one too slow for what is kept
 * ends with VMPULSE_E_CURSOR_EXPIRED. Every event is given once, in order of seq, whatever the pages overlap.
 */
import type { EventType, VmEvent } from '@vmpulse/wire';
import { maxEventPage } from '../limits.ts';
import type { EventLog, EventSlice } from './log.ts';

/** Which events a stream lets through. */
export interface StreamFilter {
  /** Only events of this machine (its id). */
  readonly vmId?: string;
  /** Only events of one of these types. */
  readonly types?: readonly EventType[];
}

/** Where a stream begins and what it lets through. */
export interface StreamOptions {
  /** Only events with a greater seq; 0 for all, the log's `lastSeq` for those to come. */
  readonly after: number;
  readonly filter?: StreamFilter;
  /** Ends the stream, also while it waits. */
  readonly signal?: AbortSignal;
  /** Most events given at once, and held; default and at most 1,000. */
  readonly maxBuffered?: number;
  /** Told how far the stream has come each time a filter let nothing of a page through. */
  readonly onPassed?: (seq: number) => void;
}

/** How far a stream has come. */
export type StreamPhase = 'backfill' | 'cutover' | 'live' | 'ended';

/** Events as they come, from a cursor on. One reader: `next` is not called again before it has resolved. */
export interface EventStream extends AsyncIterable<VmEvent> {
  /** Last seq looked at: where to resume, also when a filter let nothing through for long. */
  readonly cursor: number;
  readonly phase: StreamPhase;
  /**
   * The next events, at least one; waits for them. Empty once the stream has ended.
   * Errors, which end the stream: VMPULSE_E_CURSOR_EXPIRED, VMPULSE_E_LOG_UNAVAILABLE.
   */
  next(): Promise<readonly VmEvent[]>;
  /** Ends the stream. */
  close(): void;
}

/** Opens a stream of the log's events. It costs nothing until `next` is called; close it, or abort its signal. */
export function openStream(log: EventLog, options: StreamOptions): EventStream {
  return new LogStream(log, options);
}

class LogStream implements EventStream {
  readonly #log: EventLog;
  readonly #filter: StreamFilter;
  readonly #limit: number;
  readonly #signal: AbortSignal | undefined;
  readonly #stopListening: () => void;
  readonly #onPassed: ((seq: number) => void) | undefined;
  readonly #end = (): void => this.close();
  /** Newest seq known to be committed. */
  #known: number;
  /** Where backfill ends: what was there when the stream was opened. */
  readonly #backfillEnd: number;
  #cursor: number;
  #phase: StreamPhase = 'backfill';
  /** Ends the wait for a commit. */
  #wake: (() => void) | null = null;
  /** Ends the wait for a page. */
  #ended: (() => void) | null = null;

  constructor(log: EventLog, options: StreamOptions) {
    this.#log = log;
    this.#filter = options.filter ?? {};
    this.#limit = Math.max(1, Math.min(options.maxBuffered ?? maxEventPage, maxEventPage));
    this.#signal = options.signal;
    this.#onPassed = options.onPassed;
    this.#cursor = options.after;
    // Listening comes before looking: see cutover.
    this.#stopListening = log.onCommit((lastSeq) => this.#committed(lastSeq));
    this.#known = log.state().lastSeq;
    this.#backfillEnd = this.#known;
    this.#signal?.addEventListener('abort', this.#end);
    if (this.#signal?.aborted === true) this.close();
  }

  get cursor(): number {
    return this.#cursor;
  }

  get phase(): StreamPhase {
    return this.#phase;
  }

  async next(): Promise<readonly VmEvent[]> {
    try {
      // The first read is made even where nothing is expected: an expired cursor must be told at once.
      let isFirst = this.#phase === 'backfill';
      while (this.#phase !== 'ended') {
        if (isFirst || this.#cursor < this.#known) {
          isFirst = false;
          const events = await this.#readOn();
          if (events.length > 0) return events;
        } else {
          this.#phase = 'live';
          await this.#untilWoken();
        }
      }
      return [];
    } catch (error) {
      this.close();
      throw error;
    }
  }

  async *[Symbol.asyncIterator](): AsyncIterator<VmEvent> {
    try {
      for (;;) {
        const events = await this.next();
        if (events.length === 0) return;
        yield* events;
      }
    } finally {
      this.close();
    }
  }

  close(): void {
    this.#phase = 'ended';
    this.#stopListening();
    this.#signal?.removeEventListener('abort', this.#end);
    this.#wake?.();
    this.#ended?.();
  }

  #committed(lastSeq: number): void {
    this.#known = Math.max(this.#known, lastSeq);
    if (this.#cursor < this.#known) this.#wake?.();
  }

  async #readOn(): Promise<readonly VmEvent[]> {
    const after = this.#cursor;
    const slice = await this.#orEnd(this.#log.read({ after, limit: this.#limit, ...this.#filter }));
    if (slice === null) return [];
    const events = slice.events.filter((event) => event.seq > after);
    this.#cursor = Math.max(after, slice.next);
    if (this.#phase === 'backfill' && this.#cursor >= this.#backfillEnd) this.#phase = 'cutover';
    if (events.length === 0) this.#onPassed?.(this.#cursor);
    return events;
  }

  /** The page, or null as soon as the stream ends: a reader that is gone waits for no disk. */
  async #orEnd(page: Promise<EventSlice>): Promise<EventSlice | null> {
    const ended = new Promise<null>((resolve) => {
      this.#ended = () => resolve(null);
    });
    try {
      return await Promise.race([page, ended]);
    } finally {
      this.#ended = null;
    }
  }

  async #untilWoken(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = null;
  }
}
