/**
 * Reads the log for recovery, from the place where it was left. What was in the log when reading began is past; once
 * all of it was taken, recovery has caught up and may act.
 */
import { VmError, type VmEvent } from '@vmpulse/wire';
import { type Clock, withDeadline } from '../clock.ts';
import type { EventLog } from '../event/log.ts';
import { type EventStream, openStream } from '../event/outbox.ts';
import { durableAppendTimeoutMs, recoveryCursorEvery, recoveryRecheckMs } from '../limits.ts';
import type { Logger } from '../vm/ports.ts';
import type { RecoveryBook } from './book.ts';

/** What a follower works with. */
export interface LogFollowerPorts {
  readonly clock: Clock;
  readonly log: EventLog;
  readonly logger: Logger;
  /** The next event. */
  readonly take: (event: VmEvent) => void;
  /** `missed`: events were no longer kept when they were to be read, so that what is known may be over. */
  readonly onCaughtUp: (missed: boolean) => void;
  readonly closing: AbortSignal;
}

/** Moves the book's place, and stores it now and then. */
export class LogFollower {
  readonly #ports: LogFollowerPorts;
  readonly #book: RecoveryBook;
  #caughtUp = false;
  /** Where the log ended when reading began. */
  #target = 0;
  #missed = false;
  /** Events since the place was stored. */
  #unstored = 0;
  #reading: Promise<void> = Promise.resolve();

  constructor(ports: LogFollowerPorts, book: RecoveryBook) {
    this.#ports = ports;
    this.#book = book;
  }

  /** All was read that was in the log when reading began. */
  get caughtUp(): boolean {
    return this.#caughtUp;
  }

  start(): void {
    this.#reading = this.#read();
  }

  /** Once `closing` is aborted: stores the place. Never rejects. */
  async close(): Promise<void> {
    const { clock } = this.#ports;
    const late = (): VmError => new VmError('VMPULSE_E_LOG_UNAVAILABLE', 'The disk did not take it in time.');
    const ended = async (): Promise<void> => {
      await this.#reading;
      if (this.#unstored > 0) await this.#book.storePlace();
    };
    try {
      await withDeadline(clock, ended(), durableAppendTimeoutMs, late);
    } catch (error) {
      this.#ports.logger.warn({ err: error }, 'where recovery was in the log could not be stored');
    }
  }

  async #read(): Promise<void> {
    const { clock, log, logger, closing: signal } = this.#ports;
    this.#target = log.state().lastSeq;
    let stream: EventStream = openStream(log, { after: this.#book.place, signal });
    this.#checkCaughtUp();
    while (!signal.aborted) {
      try {
        const events = await stream.next();
        for (const event of events) this.#take(event);
        this.#book.place = Math.max(this.#book.place, stream.cursor);
        this.#checkCaughtUp();
        await this.#storePlaceNow();
      } catch (error) {
        if (signal.aborted) return;
        logger.warn({ err: error }, 'recovery could not read the log, and reads on');
        await clock.sleep(recoveryRecheckMs, signal);
        const isGone = error instanceof VmError && error.code === 'VMPULSE_E_CURSOR_EXPIRED';
        if (isGone) this.#skip();
        stream.close();
        stream = openStream(log, { after: this.#book.place, signal });
        this.#checkCaughtUp();
      }
    }
  }

  #take(event: VmEvent): void {
    this.#book.place = event.seq;
    this.#unstored += 1;
    this.#ports.take(event);
  }

  /** What was to be read is no longer kept: the rest is read as what is past, and then compared with what is. */
  #skip(): void {
    const { lastSeq, oldestSeq } = this.#ports.log.state();
    this.#book.place = Math.max(0, oldestSeq - 1);
    [this.#target, this.#caughtUp, this.#missed] = [lastSeq, false, true];
  }

  #checkCaughtUp(): void {
    if (this.#caughtUp || this.#book.place < this.#target) return;
    this.#caughtUp = true;
    const missed = this.#missed;
    this.#missed = false;
    this.#ports.onCaughtUp(missed);
  }

  /** Its own events move it too: the log at rest is not written for that. */
  async #storePlaceNow(): Promise<void> {
    if (this.#unstored < recoveryCursorEvery) return;
    this.#unstored = 0;
    await this.#book.storePlace();
  }
}
