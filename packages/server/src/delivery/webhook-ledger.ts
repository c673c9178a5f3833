/**
 * The documents of one webhook on their way to the store. What could not be written stays here and goes with the next
 * write, so that no later state is ever stored without an earlier one that it rests on.
 */
import { type EventDraft, VmError } from '@vmpulse/wire';
import { type Clock, withDeadline } from '../clock.ts';
import type { EventLog } from '../event/log.ts';
import type { DocumentStore, StoredDocument } from '../machine-record.ts';

/** Kinds of documents. */
export const kinds = {
  /** The webhook itself, by its id. */
  webhook: 'webhook',
  /** Its cursor, and how the first event behind it stands; by its id. */
  cursor: 'webhookCursor',
  /** An event tried again beside the line, by id/seq. */
  retry: 'webhookRetry',
  /** By id/seq. */
  deadLetter: 'webhookDeadLetter',
} as const;

/** See the head of this file. */
export class WebhookLedger {
  readonly #store: DocumentStore;
  readonly #log: EventLog;
  /** Not written yet, the latest of each. */
  readonly #dirty = new Map<string, StoredDocument>();
  #writing: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;

  constructor(store: DocumentStore, log: EventLog) {
    this.#store = store;
    this.#log = log;
  }

  /** Null removes it. */
  put(kind: string, key: string, value: unknown): void {
    this.#dirty.set(`${kind} ${key}`, { kind, key, value });
  }

  /**
   * Resolves when all that was put is durable. One write is under way at a time, and one waits: what is put meanwhile
   * goes with that. Errors: VMPULSE_E_LOG_UNAVAILABLE.
   */
  flush(): Promise<void> {
    this.#next ??= this.#flushAfter(this.#writing);
    return this.#next;
  }

  /** As flush, but no longer than that: a full disk must not hold up the end of the service. */
  flushWithin(clock: Clock, timeoutMs: number): Promise<void> {
    const late = (): VmError => new VmError('VMPULSE_E_LOG_UNAVAILABLE', 'The disk did not take it in time.');
    return withDeadline(clock, this.flush(), timeoutMs, late);
  }

  async #flushAfter(former: Promise<void>): Promise<void> {
    // Whoever asked for that one was told how it ended.
    await former.catch(() => undefined);
    this.#next = undefined;
    this.#writing = this.#write();
    await this.#writing;
  }

  async #write(): Promise<void> {
    const documents = [...this.#dirty.values()];
    if (documents.length === 0) return;
    await this.#store.putDocuments(documents);
    this.#written(documents);
  }

  /** As flush, in one transaction with an event. */
  async append(draft: EventDraft): Promise<void> {
    const documents = [...this.#dirty.values()];
    await this.#log.append(draft, { documents });
    this.#written(documents);
  }

  #written(documents: readonly StoredDocument[]): void {
    for (const document of documents) {
      const id = `${document.kind} ${document.key}`;
      if (this.#dirty.get(id) === document) this.#dirty.delete(id);
    }
  }
}
