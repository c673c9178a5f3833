/**
 * Reads the log for one subscription, from its place on and as far as it has room. Types are filtered where the log
 * has an index of them, so that a narrow filter passes over a long log without its events being read.
 */
import { type EventType, VmError, type VmEvent } from '@vmpulse/wire';
import type { Clock } from '../clock.ts';
import type { EventLog } from '../event/log.ts';
import { type EventStream, openStream } from '../event/outbox.ts';
import { maxInFlightEvents, subscriptionReadRetryMs } from '../limits.ts';

/** Whom it reads for. */
export interface ReadingSubscription {
  readonly name: string;
  /** Where to read on: all up to this seq was looked at. */
  place(): number;
  /** Types worth looking at; null: all. */
  types(): readonly EventType[] | null;
  hasRoom(): boolean;
  /** The next event that is kept; the place is to move behind it. */
  look(event: VmEvent): void;
  /** There is nothing to look at up to this seq. */
  passed(seq: number): void;
  /** Events after the place are no longer kept. True: the place was moved to where they are; false: it was not. */
  expired(): boolean;
}

/** What a reader works with. */
export interface LogReaderPorts {
  readonly clock: Clock;
  readonly log: EventLog;
  readonly warn: (message: string, error: unknown) => void;
}

/** See the head of this file. */
export class LogReader {
  readonly #ports: LogReaderPorts;
  readonly #reading: ReadingSubscription;
  readonly #closing = new AbortController();
  #stream: EventStream | null = null;
  /** Ends the wait for room. */
  #wake: (() => void) | null = null;

  constructor(ports: LogReaderPorts, reading: ReadingSubscription) {
    this.#ports = ports;
    this.#reading = reading;
  }

  /** Reads until it is closed. Never rejects. */
  async run(): Promise<void> {
    const { signal } = this.#closing;
    const { clock, warn } = this.#ports;
    let failures = 0;
    while (!signal.aborted) {
      try {
        await this.#read();
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        const isExpired = error instanceof VmError && error.code === 'VMPULSE_E_CURSOR_EXPIRED';
        if (isExpired && this.#reading.expired()) continue;
        // A log that cannot be read is told once, not each second.
        if (failures === 0) warn(`subscription ${this.#reading.name} cannot read the log`, error);
        failures += 1;
        await clock.sleep(subscriptionReadRetryMs, signal);
      }
    }
  }

  /** There may be room again. */
  makeRoom(): void {
    this.#wake?.();
  }

  /** Begins anew at the place: other types are wanted. */
  restart(): void {
    this.#stream?.close();
    this.#wake?.();
  }

  close(): void {
    this.#closing.abort();
    this.#wake?.();
  }

  async #read(): Promise<void> {
    const reading = this.#reading;
    const { signal } = this.#closing;
    const types = reading.types();
    const stream: EventStream = openStream(this.#ports.log, {
      after: reading.place(),
      signal,
      maxBuffered: maxInFlightEvents,
      onPassed: (seq) => {
        // One that was closed speaks of a place that may have gone back since.
        if (stream.phase !== 'ended') reading.passed(seq);
      },
      ...(types === null ? {} : { filter: { types } }),
    });
    this.#stream = stream;
    const hasEnded = (): boolean => stream.phase === 'ended';
    try {
      for (;;) {
        const events = await stream.next();
        if (hasEnded()) return;
        for (const event of events) {
          while (!reading.hasRoom() && !hasEnded()) await this.#room();
          if (hasEnded()) return;
          reading.look(event);
        }
        if (hasEnded()) return;
        reading.passed(stream.cursor);
      }
    } finally {
      stream.close();
      this.#stream = null;
    }
  }

  async #room(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = null;
  }
}
