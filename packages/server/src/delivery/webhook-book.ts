/**
 * What is known of one webhook and outlives the service: the webhook, its cursor, its list of retries and its dead
 * letters. Each change is put into the ledger; who changes decides when it is written. Times of documents are wall
 * times; in memory they are monotonic, so that no step of the wall clock hurries or holds up an attempt.
 */
import { type EventDraft, type VmEvent, type WebhookAttempt, type WebhookDeadLetter } from '@vmpulse/wire';
import type { Clock } from '../clock.ts';
import { maxWebhookDeadLetters, maxWebhookRetryAfterMs } from '../limits.ts';
import { Circuit } from './webhook-circuit.ts';
import { type WebhookLedger, kinds } from './webhook-ledger.ts';
import type { WebhookAttemptOutcome } from './hook-service.ts';
import type { WebhookRecord } from './webhook-record.ts';
import { pauseMs } from './webhook-schedule.ts';

/** How an event stands that was tried. */
export interface Standing {
  readonly failed: number;
  /** Wall time of its first attempt, ms. */
  readonly sinceMs: number;
  /** Wall time of its next attempt by its schedule, ms. */
  readonly nextMs: number;
  readonly error: string;
}

/** As stored. */
export interface StoredCursor {
  readonly cursor: number;
  readonly head: (Standing & { readonly seq: number }) | null;
  /** How its circuit stands, `notBeforeMs` by the wall clock; null or missing where nothing failed last. */
  readonly circuit?: { readonly failures: number; readonly notBeforeMs: number } | null;
}

/** As stored. */
export type StoredRetry = Standing & { readonly event: VmEvent };

/** An event that waits for an attempt. */
export interface Waiting {
  readonly event: VmEvent;
  failed: number;
  /** Wall time of its first attempt, ms; null before. */
  sinceMs: number | null;
  /** When it is tried by its schedule, monotonic ms. */
  scheduledMs: number;
  /** When it is tried; before its schedule where the endpoint is known to answer again. */
  dueMs: number;
  error: string;
}

/** What the book of one webhook is opened from. */
export interface StoredWebhook {
  readonly record: WebhookRecord;
  readonly cursor: StoredCursor;
  readonly retries: readonly StoredRetry[];
  readonly deadLetters: readonly WebhookDeadLetter[];
}

/** See the head of this file. */
export class WebhookBook {
  readonly id: string;
  readonly ledger: WebhookLedger;
  readonly circuit: Circuit = new Circuit();
  readonly retries: Map<number, Waiting> = new Map();
  readonly deadLetters: Map<number, WebhookDeadLetter> = new Map();
  /** Attempts since the service started, tests left out. */
  readonly attempts: Record<WebhookAttemptOutcome, number> = { accepted: 0, refused: 0, unanswered: 0 };
  lastAttempt: WebhookAttempt | null = null;
  #record: WebhookRecord;
  #cursor: StoredCursor;
  readonly #clock: Clock;

  constructor(clock: Clock, ledger: WebhookLedger, stored: StoredWebhook) {
    this.#clock = clock;
    this.ledger = ledger;
    this.id = stored.record.id;
    this.#record = stored.record;
    this.#cursor = stored.cursor;
    for (const retry of stored.retries) this.retries.set(retry.event.seq, this.waiting(retry.event, retry));
    for (const letter of stored.deadLetters) this.deadLetters.set(letter.seq, letter);
    const { circuit } = stored.cursor;
    if (circuit !== null && circuit !== undefined) {
      const leftMs = Math.min(Math.max(circuit.notBeforeMs - clock.wallMs(), 0), maxWebhookRetryAfterMs);
      this.circuit.restore(circuit.failures, clock.monotonicMs() + leftMs);
    }
  }

  get record(): WebhookRecord {
    return this.#record;
  }

  set record(record: WebhookRecord) {
    this.#record = record;
    this.ledger.put(kinds.webhook, this.id, record);
  }

  get cursor(): number {
    return this.#cursor.cursor;
  }

  /** The secrets that sign now. */
  secrets(): string[] {
    const nowMs = this.#clock.wallMs();
    return this.#record.secrets
      .filter(({ untilMs }) => untilMs === null || untilMs > nowMs)
      .map(({ secret }) => secret);
  }

  /** Everything up to `seq` is done with, or waits in a list. */
  moveTo(seq: number): void {
    this.#putCursor({ cursor: Math.max(seq, this.#cursor.cursor), head: null });
  }

  /** An event as it waits: new, or as it stood when it was stored. */
  waiting(event: VmEvent, stored: Standing | null = this.#headStanding(event)): Waiting {
    const nowMs = this.#clock.monotonicMs();
    if (stored === null) {
      return { event, failed: 0, sinceMs: null, scheduledMs: nowMs, dueMs: nowMs, error: '' };
    }
    const { failed, sinceMs, nextMs, error } = stored;
    // A wall clock that was set back must not postpone it by more than the pause it is in.
    const longestMs = pauseMs(failed, 1) ?? 0;
    const dueMs = nowMs + Math.min(Math.max(nextMs - this.#clock.wallMs(), 0), longestMs);
    return { event, failed, sinceMs, scheduledMs: dueMs, dueMs, error };
  }

  /** The first of the line was tried in vain, and stays the first. */
  keepHead(waiting: Waiting): void {
    const head = { seq: waiting.event.seq, ...this.#standing(waiting) };
    this.#putCursor({ cursor: this.#cursor.cursor, head });
  }

  /** How the circuit stands goes with the next write, so that no restart hurries an endpoint that fails. */
  keepCircuit(): void {
    this.#putCursor(this.#cursor);
  }

  keepRetry(waiting: Waiting): void {
    const { event } = waiting;
    this.retries.set(event.seq, waiting);
    this.ledger.put(kinds.retry, this.#key(event.seq), { event, ...this.#standing(waiting) });
  }

  dropRetry(seq: number): void {
    this.retries.delete(seq);
    this.ledger.put(kinds.retry, this.#key(seq), null);
  }

  bury({ event, failed, sinceMs, error }: Waiting): void {
    const { seq } = event;
    const since = new Date(sinceMs ?? this.#clock.wallMs()).toISOString();
    const letter: WebhookDeadLetter = { seq, attempts: failed, since, error, event };
    this.deadLetters.set(seq, letter);
    this.ledger.put(kinds.deadLetter, this.#key(seq), letter);
    if (this.deadLetters.size <= maxWebhookDeadLetters) return;
    this.dropDeadLetter(Math.min(...this.deadLetters.keys()));
    this.record = { ...this.#record, deadLettersLost: this.#record.deadLettersLost + 1 };
  }

  dropDeadLetter(seq: number): void {
    this.deadLetters.delete(seq);
    this.ledger.put(kinds.deadLetter, this.#key(seq), null);
  }

  /** The endpoint is another one, or mended: what waits is tried at once. No courier may run. */
  startAnew(): void {
    this.circuit.reset();
    this.hurry();
    this.moveTo(this.cursor);
  }

  /** All retries are tried now, ahead of their schedule. */
  hurry(): void {
    for (const waiting of this.retries.values()) {
      waiting.dueMs = Math.min(waiting.dueMs, this.#clock.monotonicMs());
    }
  }

  /** Nothing of it is kept. */
  erase(): void {
    for (const seq of this.retries.keys()) this.ledger.put(kinds.retry, this.#key(seq), null);
    for (const seq of this.deadLetters.keys()) this.ledger.put(kinds.deadLetter, this.#key(seq), null);
    this.ledger.put(kinds.cursor, this.id, null);
    this.ledger.put(kinds.webhook, this.id, null);
  }

  /** With the time of now. */
  draft<T extends 'webhookDisabled' | 'webhookDeadLetter' | 'webhookMissed'>(
    type: T,
    data: Omit<Extract<EventDraft, { type: T }>['data'], 'webhook'>,
  ): EventDraft {
    const timeMs = Math.trunc(this.#clock.wallMs());
    return { type, timeMs, data: { webhook: this.#record.name, ...data } } as unknown as EventDraft;
  }

  #headStanding({ seq }: VmEvent): Standing | null {
    return this.#cursor.head?.seq === seq ? this.#cursor.head : null;
  }

  #standing({ failed, sinceMs, scheduledMs, error }: Waiting): Standing {
    const wallMs = Math.trunc(this.#clock.wallMs());
    const nextMs = Math.round(wallMs + scheduledMs - this.#clock.monotonicMs());
    return { failed, sinceMs: sinceMs ?? wallMs, nextMs, error };
  }

  #putCursor(moved: StoredCursor): void {
    const { failures, notBeforeMs } = this.circuit;
    const leftMs = Math.max(0, notBeforeMs - this.#clock.monotonicMs());
    const circuit =
      failures === 0 ? null : { failures, notBeforeMs: Math.round(this.#clock.wallMs() + leftMs) };
    this.#cursor = { ...moved, circuit };
    this.ledger.put(kinds.cursor, this.id, this.#cursor);
  }

  #key(seq: number): string {
    return `${this.id}/${seq}`;
  }
}
