/**
 * One event stream's way to its reader. Invariants:
 *  S1 What is unsent is bounded: the log is pulled only while the reader takes what it is sent, one write of
 *     `streamWriteBytes` (and one event) ahead at most. The log is the buffer.
 *  S2 A reader that takes nothing for `streamStallTimeoutMs` is cut off; it resumes by Last-Event-ID.
 *  S3 An `id` is written only when every event up to it was written before.
 *  S4 Nobody waits for a stream: it writes in turns, and its end frees all it held at once.
 */
import type { ServerResponse } from 'node:http';
import { type VmEvent, VmError } from '@vmpulse/wire';
import type { Clock, Timer } from '../clock.ts';
import type { EventStream } from '../event/outbox.ts';
import { streamHeartbeatMs, streamStallTimeoutMs, streamTurnBytes, streamWriteBytes } from '../limits.ts';
import { type FrameCache, commentFrame, heartbeatFrame, openingFrame } from './event-frame.ts';
import type { Metrics } from './metrics.ts';

/** What a stream needs of its server. */
export interface StreamSurroundings {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly frames: FrameCache;
}

/** A reader's connection. */
export class StreamConnection {
  readonly #response: ServerResponse;
  readonly #surroundings: StreamSurroundings;
  readonly #abort = new AbortController();
  #gathered: Buffer[] = [];
  #gatheredBytes = 0;
  #gatheredEvents = 0;
  /** Set while the reader has to take something first. */
  #stall: Timer | undefined;
  #released: () => void = () => undefined;
  #turnBytes = 0;
  #lastWriteMs: number;
  /** True while no event is in hand: all that was looked at has been gathered. */
  #isWaiting = false;
  #heartbeat: Timer | undefined;

  constructor(response: ServerResponse, surroundings: StreamSurroundings) {
    this.#response = response;
    this.#surroundings = surroundings;
    this.#lastWriteMs = surroundings.clock.monotonicMs();
    response.once('close', () => this.#closed());
    // A connection that broke says so by `close` too; without a listener its error would end the service.
    response.on('error', () => response.destroy());
    response.on('drain', () => this.#unstall());
  }

  /** Aborts when the stream ends, for whatever reason. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /**
   * Sends what `events` gives until the reader goes or `end` is called. Resolves when nothing more will be sent.
   * Errors: those of `events`, unless the stream ended first.
   */
  async run(events: EventStream, lastSeq: number): Promise<void> {
    this.#gather(openingFrame(lastSeq, events.cursor), 0);
    this.#flush();
    this.#armHeartbeat(events, streamHeartbeatMs);
    try {
      while (!this.signal.aborted) {
        this.#isWaiting = true;
        const page = await events.next();
        this.#isWaiting = false;
        if (page.length === 0) return;
        for (const event of page) await this.#send(event);
        this.#flush();
      }
    } catch (error) {
      if (!this.signal.aborted) throw error;
    } finally {
      this.#isWaiting = false;
      this.#heartbeat?.cancel();
    }
  }

  /** Ends the stream in order, with a remark that says why. */
  end(remark: string): void {
    if (this.signal.aborted) return;
    if (this.#stall !== undefined) {
      this.#response.destroy();
      return;
    }
    this.#gather(commentFrame(remark), 0);
    this.#flush();
    this.#abort.abort();
    this.#response.end();
  }

  #closed(): void {
    this.#abort.abort();
    this.#heartbeat?.cancel();
    this.#stall?.cancel();
    this.#gathered = [];
    this.#gatheredBytes = 0;
    this.#released();
  }

  /** Waits only where it must: most events are gathered in the turn they came in, and written together. */
  async #send(event: VmEvent): Promise<void> {
    this.#gather(this.#surroundings.frames.frame(event), 1);
    if (this.#gatheredBytes < streamWriteBytes) return;
    this.#flush();
    if (this.#stall !== undefined) {
      await new Promise<void>((resolve) => {
        this.#released = resolve;
      });
    }
    if (this.#turnBytes < streamTurnBytes) return;
    this.#turnBytes = 0;
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
  }

  #gather(frame: Buffer, events: number): void {
    this.#gathered.push(frame);
    this.#gatheredBytes += frame.length;
    this.#gatheredEvents += events;
  }

  #flush(): void {
    const bytes = this.#gatheredBytes;
    if (bytes === 0 || this.signal.aborted || this.#stall !== undefined || this.#response.destroyed) return;
    const [first] = this.#gathered;
    const all =
      this.#gathered.length === 1 && first !== undefined ? first : Buffer.concat(this.#gathered, bytes);
    this.#surroundings.metrics.streamWrote(this.#gatheredEvents, bytes);
    this.#gathered = [];
    this.#gatheredBytes = 0;
    this.#gatheredEvents = 0;
    this.#turnBytes += bytes;
    this.#lastWriteMs = this.#surroundings.clock.monotonicMs();
    if (!this.#response.write(all)) this.#stalled();
  }

  #stalled(): void {
    const { clock, metrics } = this.#surroundings;
    this.#stall = clock.setTimer(() => {
      metrics.slowReaderCut();
      this.#response.destroy();
    }, streamStallTimeoutMs);
  }

  #unstall(): void {
    this.#stall?.cancel();
    this.#stall = undefined;
    this.#released();
    this.#flush();
  }

  #armHeartbeat(events: EventStream, delayMs: number): void {
    if (this.signal.aborted) return;
    const { clock } = this.#surroundings;
    this.#heartbeat = clock.setTimer(() => {
      const idleMs = clock.monotonicMs() - this.#lastWriteMs;
      // While a page is in hand, the cursor is already behind it: see S3.
      if (idleMs >= streamHeartbeatMs && this.#isWaiting) {
        this.#gather(heartbeatFrame(events.cursor), 0);
        this.#flush();
      }
      const leftMs = streamHeartbeatMs - idleMs;
      this.#armHeartbeat(events, leftMs > 0 ? leftMs : streamHeartbeatMs);
    }, delayMs);
  }
}

/** Why a stream that failed ended, as its remark: a reconnect gets the problem document itself. */
export function remarkOf(thrown: unknown): string {
  const error = VmError.from(thrown);
  return `${error.code} ${error.message.replaceAll(/\s+/g, ' ')}`;
}
