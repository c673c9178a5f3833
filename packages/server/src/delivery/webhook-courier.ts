/**
 * Tells one webhook its events, one attempt at a time. The order:
 *  1. Events stand in line by seq, and only the first is tried. Accepted, it is done; the cursor moves.
 *  2. Tried three times in vain (5 min), it goes on the list of retries, and the next event is the first. Where that
 *     list is full the line waits: nothing is lost but what the log itself no longer keeps (webhookMissed).
 *  3. Retries follow the rest of the schedule beside the line (see webhook-schedule.ts), turn by turn with it. One
 *     whose attempts are used up becomes a dead letter.
 *  4. When the circuit closes again, all retries are tried at once; such an attempt ahead of its time, where it fails,
 *     uses up nothing of the schedule.
 * Whatever was accepted is stored after it was, and whatever failed before the next attempt: a service that is killed
 * tells an event again rather than never.
 */
import { type VmEvent, messageIds } from '@vmpulse/wire';
import type { Timer } from '../clock.ts';
import type { EventLog } from '../event/log.ts';
import { type EventStream, openStream } from '../event/outbox.ts';
import { maxWebhookRetries, webhookCursorSaveMs, webhookPageEvents, webhookRepairMs } from '../limits.ts';
import type { Waiting, WebhookBook } from './webhook-book.ts';
import { compileFilter, isAboutWebhooks } from './webhook-filter.ts';
import { type LetterPorts, eventLetter } from './webhook-letter.ts';
import { lineAttempts, pauseMs } from './webhook-schedule.ts';
import type { Outcome, WebhookSender } from './webhook-sender.ts';

/** What a courier works with. */
export interface CourierPorts extends LetterPorts {
  readonly log: EventLog;
  /** 0 to 1, for jitter. */
  readonly random: () => number;
  readonly warn: (message: string, error: unknown) => void;
  /** The endpoint answered 410. */
  readonly gone: () => void;
}

/** See the head of this file. It runs once. */
export class WebhookCourier {
  readonly #ports: CourierPorts;
  readonly #book: WebhookBook;
  readonly #sender: WebhookSender;
  /** Ends the reading, the waiting and the choosing; an attempt under way goes on. */
  readonly #stopping = new AbortController();
  /** Cuts off the attempt under way. */
  readonly #cutting = new AbortController();
  /** A change of the filter gets a courier of its own. */
  readonly #passes: (event: VmEvent) => boolean;
  #line: Waiting[] = [];
  #stream: EventStream | undefined;
  /** The reader waits for events: all up to the stream's cursor is in line or done with. */
  #isReading = false;
  #lineTurn = true;
  #wake: (() => void) | undefined;
  #drained: (() => void) | undefined;
  #saving: Timer | undefined;
  #running: Promise<unknown> | undefined;

  constructor(ports: CourierPorts, book: WebhookBook, sender: WebhookSender) {
    this.#ports = ports;
    this.#book = book;
    this.#sender = sender;
    this.#passes = compileFilter(book.record.filter, book.record.name);
  }

  /** Everything up to here was accepted, did not pass the filter, or is in a list. */
  get cursor(): number {
    const { cursor } = this.#book;
    return this.#line.length === 0 && this.#isReading ? Math.max(cursor, this.#stream?.cursor ?? 0) : cursor;
  }

  /** When the next attempt is due, monotonic ms; null where nothing waits. */
  get nextAttemptMs(): number | null {
    const next = this.#choose();
    return next === undefined ? null : this.#dueMs(next);
  }

  start(): void {
    this.#running = Promise.all([this.#read(), this.#deliver()]).catch((error: unknown) =>
      this.#ports.warn('a webhook stands still until the service starts again', error),
    );
    this.#saveInTime();
  }

  /** What waits in the lists changed, or is to be tried earlier. */
  notice(): void {
    this.#wake?.();
  }

  /** Ends: the attempt under way may take `graceMs` to come to its end. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort();
    this.#saving?.cancel();
    this.#wake?.();
    this.#drained?.();
    if (graceMs <= 0) this.#cutting.abort();
    const timer = this.#ports.clock.setTimer(() => this.#cutting.abort(), graceMs);
    await this.#running;
    timer.cancel();
  }

  get #isStopped(): boolean {
    return this.#stopping.signal.aborted;
  }

  async #read(): Promise<void> {
    const { log, clock, warn } = this.#ports;
    const { signal } = this.#stopping;
    const { types } = this.#book.record.filter;
    while (!this.#isStopped) {
      const stream = openStream(log, {
        after: this.#book.cursor,
        signal,
        maxBuffered: webhookPageEvents,
        ...(types === undefined ? {} : { filter: { types } }),
      });
      this.#stream = stream;
      try {
        for (;;) {
          this.#isReading = true;
          const events = await stream.next();
          this.#isReading = false;
          if (events.length === 0) return;
          await this.#queue(events);
        }
      } catch (error) {
        this.#isReading = false;
        if (!this.#skipMissed()) {
          warn('the events of a webhook cannot be read', error);
          await clock.sleep(webhookRepairMs, signal);
        }
      }
    }
  }

  /** Resolves when they are done with. */
  async #queue(events: readonly VmEvent[]): Promise<void> {
    // What was read as this ended is read again by the next; nobody delivers it here any more.
    if (this.#isStopped) return;
    this.#line = events.filter(this.#passes).map((event) => this.#book.waiting(event));
    if (this.#line.length === 0) return;
    const drained = new Promise<void>((resolve) => {
      this.#drained = resolve;
    });
    this.#wake?.();
    await drained;
  }

  /** The log no longer keeps what comes next: it goes on with what there is, and says so. */
  #skipMissed(): boolean {
    const { cursor } = this.#book;
    const { oldestSeq, lastSeq } = this.#ports.log.state();
    if (cursor <= lastSeq && cursor + 1 >= oldestSeq) return false;
    const to = cursor > lastSeq ? cursor : oldestSeq - 1;
    const data = { messageId: messageIds.webhookMissed, from: cursor + 1, to };
    this.#book.moveTo(to);
    if (to > cursor) this.#tell(this.#book.ledger.append(this.#book.draft('webhookMissed', data)));
    return to > cursor;
  }

  async #deliver(): Promise<void> {
    while (!this.#isStopped) {
      const next = this.#choose();
      const delayMs = next === undefined ? null : this.#dueMs(next) - this.#ports.clock.monotonicMs();
      if (next === undefined || delayMs === null || delayMs > 0) await this.#untilWoken(delayMs);
      else await this.#attempt(next);
    }
  }

  /** Of the first in line and the first retry: the one that is due; of two, they take turns; else the earlier. */
  #choose(): Waiting | undefined {
    const [head] = this.#line;
    let retry: Waiting | undefined;
    for (const waiting of this.#book.retries.values()) {
      if (retry === undefined || waiting.dueMs < retry.dueMs) retry = waiting;
    }
    if (head === undefined || retry === undefined) return head ?? retry;
    const nowMs = this.#ports.clock.monotonicMs();
    if (head.dueMs <= nowMs && retry.dueMs <= nowMs) return this.#lineTurn ? head : retry;
    return head.dueMs <= retry.dueMs ? head : retry;
  }

  #dueMs({ dueMs }: Waiting): number {
    return Math.max(dueMs, this.#book.circuit.notBeforeMs);
  }

  async #untilWoken(delayMs: number | null): Promise<void> {
    let timer: Timer | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      if (delayMs !== null) timer = this.#ports.clock.setTimer(resolve, delayMs);
    });
    timer?.cancel();
    this.#wake = undefined;
  }

  async #attempt(waiting: Waiting): Promise<void> {
    const { clock, gone } = this.#ports;
    this.#lineTurn = this.#line[0] !== waiting;
    waiting.sinceMs ??= Math.trunc(clock.wallMs());
    const letter = eventLetter(this.#ports, this.#book, waiting.event, this.#cutting.signal);
    const outcome = await this.#sender.send(letter);
    // Cut off it counts as never made: it is made again.
    if (outcome.cutOff) return;
    const { at, status, tookMs, error } = outcome;
    this.#book.lastAttempt = { at, status, tookMs, error };
    this.#book.attempts[outcome.accepted ? 'accepted' : status === null ? 'unanswered' : 'refused'] += 1;
    if (outcome.accepted) this.#accepted(waiting);
    else if (outcome.gone) gone();
    else this.#failed(waiting, outcome);
  }

  #accepted(waiting: Waiting): void {
    const hadFailed = this.#book.circuit.failures > 0;
    const hasClosed = this.#book.circuit.succeeded();
    this.#takeOff(waiting);
    if (hadFailed) this.#book.keepCircuit();
    if (hasClosed) {
      this.#book.hurry();
      for (const head of this.#line.slice(0, 1)) head.dueMs = this.#ports.clock.monotonicMs();
    }
    this.#tell(this.#book.ledger.flush());
  }

  #failed(waiting: Waiting, outcome: Outcome): void {
    const { clock, random } = this.#ports;
    const nowMs = clock.monotonicMs();
    this.#book.circuit.failed(nowMs, outcome.retryAfterMs);
    this.#book.keepCircuit();
    waiting.error = outcome.error ?? '';
    let pause: number | null = 0;
    if (nowMs >= waiting.scheduledMs) {
      waiting.failed += 1;
      pause = pauseMs(waiting.failed, random());
      waiting.scheduledMs = nowMs + (pause ?? 0);
    }
    waiting.dueMs = waiting.scheduledMs;
    if (pause === null) this.#bury(waiting);
    else this.#keep(waiting);
  }

  #keep(waiting: Waiting): void {
    const isHead = this.#line[0] === waiting;
    const givesWay = waiting.failed >= lineAttempts && this.#book.retries.size < maxWebhookRetries;
    if (isHead && !givesWay) {
      this.#book.keepHead(waiting);
    } else {
      if (isHead) this.#takeOff(waiting);
      this.#book.keepRetry(waiting);
    }
    this.#tell(this.#book.ledger.flush());
  }

  #bury(waiting: Waiting): void {
    this.#takeOff(waiting);
    this.#book.bury(waiting);
    const { event, failed: attempts, error } = waiting;
    const data = { messageId: messageIds.webhookDeadLetter, failed: event.seq, attempts, error };
    const { ledger } = this.#book;
    this.#tell(
      isAboutWebhooks(event) ? ledger.flush() : ledger.append(this.#book.draft('webhookDeadLetter', data)),
    );
  }

  /** From the line, or from the list of retries. */
  #takeOff(waiting: Waiting): void {
    if (this.#line[0] !== waiting) {
      this.#book.dropRetry(waiting.event.seq);
      this.#giveWay();
      return;
    }
    this.#line.shift();
    this.#book.moveTo(waiting.event.seq);
    if (this.#line.length === 0) this.#drained?.();
  }

  /** There is room for the first in line, if it waited for that. */
  #giveWay(): void {
    const [head] = this.#line;
    if (head === undefined || head.failed < lineAttempts || this.#book.retries.size >= maxWebhookRetries)
      return;
    this.#takeOff(head);
    this.#book.keepRetry(head);
  }

  /** Nothing waits for the disk: what is not stored yet goes with the next write. */
  #tell(writing: Promise<unknown>): void {
    writing.catch((error: unknown) => this.#ports.warn('the state of a webhook cannot be stored', error));
  }

  /** A cursor that moves past filtered events is stored now and then, so that it never falls out of the log. */
  #saveInTime(): void {
    this.#saving = this.#ports.clock.setTimer(() => {
      if (this.cursor > this.#book.cursor) this.#book.moveTo(this.cursor);
      this.#tell(this.#book.ledger.flush());
      this.#saveInTime();
    }, webhookCursorSaveMs);
  }
}
