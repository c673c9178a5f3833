/**
 * The tail of the event log, shared: one event stream per VirtualServer, however many sinks there are (browsers open
 * six connections to a host). Three phases, per sink:
 *
 *   behind  the sink reads pages of the log from its own cursor (filtered by the server);
 *   cutover a page reached the feed's position: the sink and the feed know the same last seq, in the same turn;
 *   live    the feed offers each event; a sink whose queue is full goes back to `behind` and loses nothing.
 *
 * Invariants:
 *  - `position` is the seq up to which every live sink has been offered every event.
 *  - The feed never waits for a sink, so a slow sink delays nobody and the stream is read as fast as it comes.
 *  - A seq at or below `position` is a repetition and dropped; a jump sends the live sinks back to their pages.
 *  - The server is asked who it is before each stream is opened. Another id, or a log that ends before a sink's
 *    cursor, is another log: the sink is told a gap and reads that log from its beginning.
 */
import { type ErrorCode, type ServerInfo, VmError, type VmEvent } from '@vmpulse/wire';
import { backoffMs } from './backoff.ts';
import { pause } from './deadline.ts';
import { readEventStream } from './event-stream.ts';
import type { FeedTiming } from './link.ts';
import type { RequestOptions, Transport } from './transport.ts';

/** One reader of the feed. */
export interface FeedReader {
  /** Id of the log its cursor belongs to. */
  readonly serverId: string | undefined;
  /** Last seq it has taken. */
  readonly cursor: number | undefined;
  /** Takes the event, drops what it has, or falls behind. Never waits. */
  offer(event: VmEvent): void;
  /** Go on with pages if your cursor is below `seq`. */
  fallBehind(seq: number): void;
  /** The log is another one: tell it, begin at its beginning. */
  restart(serverId: string): void;
  /** The feed's position is known, or moved by more than an event. */
  wake(): void;
  /** The stream is up, or was lost and why. */
  connectionChanged(error: VmError | undefined): void;
  /** Nothing more will come. */
  fail(error: VmError): void;
}

/** What the feed needs of its link. */
export interface FeedSource {
  readonly transport: Transport;
  readonly timing: FeedTiming;
  info(options: RequestOptions): Promise<ServerInfo>;
}

/** Refusals that go away by themselves; all others end the sinks, with the reason. */
const passing: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'VMPULSE_E_UNREACHABLE',
  'VM_E_TIMED_OUT',
  'VM_E_APP_SHUTTING_DOWN',
  'VM_E_OUT_OF_RESOURCE',
  'VMPULSE_E_LOG_UNAVAILABLE',
  'VMPULSE_E_TOO_MANY_STREAMS',
  'VMPULSE_E_CURSOR_EXPIRED',
  'E_OUTOFMEMORY',
  'E_UNEXPECTED',
]);

/** True when trying again later can help. */
export function isPassing(error: VmError): boolean {
  return passing.has(error.code);
}

/** The shared stream. It runs while it has readers. */
export class EventFeed {
  readonly #source: FeedSource;
  readonly #readers = new Set<FeedReader>();
  #run: AbortController | undefined;
  #position: number | undefined;
  /** Id of the log that `#position` is of. */
  #serverId: string | undefined;
  #connected = false;

  constructor(source: FeedSource) {
    this.#source = source;
  }

  /** Undefined until the server has been asked. */
  get position(): number | undefined {
    return this.#position;
  }

  /** True while a stream is open. */
  get connected(): boolean {
    return this.#connected;
  }

  add(reader: FeedReader): void {
    this.#readers.add(reader);
    if (this.#run !== undefined) return;
    this.#run = new AbortController();
    this.#position = undefined;
    void this.#loop(this.#run.signal);
  }

  remove(reader: FeedReader): void {
    this.#readers.delete(reader);
    if (this.#readers.size > 0) return;
    this.#run?.abort();
    this.#run = undefined;
    this.#connected = false;
  }

  /** Never rejects: every failure is told to the readers. */
  async #loop(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted; failures += 1) {
      let error = new VmError(
        'VMPULSE_E_UNREACHABLE',
        `${this.#source.transport.address} ended the event stream.`,
      );
      const began = performance.now();
      let good = false;
      try {
        await this.#attempt(signal, () => {
          good = true;
        });
      } catch (thrown) {
        error = VmError.from(thrown);
      }
      if (signal.aborted) return;
      good ||= performance.now() - began > this.#source.timing.maxDelayMs;
      this.#connected = false;
      if (!isPassing(error)) {
        for (const reader of this.#readers) reader.fail(error);
        return;
      }
      for (const reader of this.#readers) reader.connectionChanged(error);
      if (good) failures = 0;
      await pause(backoffMs(failures, this.#source.timing), signal);
    }
  }

  /** One handshake and one stream, to its end. `onGood` is called with each event taken. */
  async #attempt(outer: AbortSignal, onGood: () => void): Promise<void> {
    const controller = new AbortController();
    const stop = (): void => controller.abort();
    outer.addEventListener('abort', stop, { once: true });
    try {
      const info = await this.#handshake(controller.signal);
      const after = this.#position ?? info.seq;
      const stream = await this.#openStream(after, info.seq, controller.signal);
      this.#connected = true;
      for (const reader of this.#readers) reader.connectionChanged(undefined);
      await readEventStream(stream, {
        idleTimeoutMs: this.#source.timing.idleTimeoutMs,
        signal: controller.signal,
        onEvent: (event) => {
          this.#take(event, info);
          onGood();
        },
      });
    } finally {
      outer.removeEventListener('abort', stop);
      controller.abort();
    }
  }

  async #handshake(signal: AbortSignal): Promise<ServerInfo> {
    // Cursors of before the question: a page read meanwhile may be newer than its answer.
    const cursors = [...this.#readers].map((reader) => ({ reader, cursor: reader.cursor ?? 0 }));
    const position = this.#position;
    const info = await this.#source.info({ signal });
    for (const { reader, cursor } of cursors) {
      const { serverId } = reader;
      if ((serverId !== undefined && serverId !== info.id) || cursor > info.seq) reader.restart(info.id);
    }
    const resumable = position !== undefined && position <= info.seq && position + 1 >= info.oldestSeq;
    if (!resumable || this.#serverId !== info.id) {
      this.#position = info.seq;
      this.#serverId = info.id;
      for (const reader of this.#readers) reader.fallBehind(info.seq);
    }
    for (const reader of this.#readers) reader.wake();
    return info;
  }

  async #openStream(after: number, newest: number, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    try {
      return await this.#source.transport.openStream(`/v1/events?after=${after}`, signal);
    } catch (error) {
      // The server answers, but gives no stream (too many are open, say): until it does, the readers read pages.
      if (!signal.aborted) {
        this.#position = newest;
        for (const reader of this.#readers) reader.fallBehind(newest);
        for (const reader of this.#readers) reader.wake();
      }
      throw error;
    }
  }

  #take(event: VmEvent, info: ServerInfo): void {
    if (event.source !== `/v1/server/${info.id}`) {
      throw new VmError('VMPULSE_E_UNREACHABLE', `${this.#source.transport.address} is another server now.`);
    }
    const position = this.#position ?? 0;
    if (event.seq <= position) return;
    const jumped = event.seq > position + 1;
    this.#position = event.seq;
    for (const reader of this.#readers) {
      if (jumped) reader.fallBehind(event.seq - 1);
      reader.offer(event);
      if (jumped) reader.wake();
    }
  }
}
