/** All webhooks of a server: a book and, while enabled, a courier for each. */
import {
  VmError,
  type WebhookDeadLetter,
  type WebhookDisabledReason,
  type WebhookInfo,
  type WebhookSecret,
  type WebhookTest,
  messageIds,
} from '@vmpulse/wire';
import type { Clock } from '../clock.ts';
import type { EventLog } from '../event/log.ts';
import { maxWebhookRetries, webhookCloseTimeoutMs, webhookDrainPollMs } from '../limits.ts';
import type { DocumentStore } from '../machine-record.ts';
import type { WebhookCount, WebhookService } from './hook-service.ts';
import { Lookups, type ResolveAll } from './webhook-address.ts';
import { WebhookBook } from './webhook-book.ts';
import { WebhookCourier } from './webhook-courier.ts';
import { describeWebhook } from './webhook-info.ts';
import { WebhookLedger } from './webhook-ledger.ts';
import { testLetter } from './webhook-letter.ts';
import {
  requireAllowed,
  requireRoom,
  requireWritable,
  unknownLetter,
  unknownWebhook,
} from './webhook-refusals.ts';
import { type WebhookRecord, newRecord, rotated } from './webhook-record.ts';
import { checkWebhookChange, checkWebhookRequest, checkWebhookRotation } from './webhook-request.ts';
import { WebhookSender } from './webhook-sender.ts';
import { loadWebhooks } from './webhook-load.ts';

/** What the webhooks work with. */
export interface WebhookPorts {
  readonly clock: Clock;
  readonly log: EventLog;
  readonly store: DocumentStore;
  readonly version: string;
  readonly warn: (message: string, error: unknown) => void;
  /** Forbids private targets; see webhook-address.ts. */
  readonly publicOnly?: boolean;
  /** How names are resolved; the system's own way unless a test has another. */
  readonly resolve?: ResolveAll;
  /** 0 to 1, for jitter. */
  readonly random?: () => number;
}

interface Hook {
  readonly book: WebhookBook;
  sender: WebhookSender;
  courier: WebhookCourier | undefined;
  /** One test at a time, so that tests leave a connection to what is delivered. */
  isTesting: boolean;
  /** Changes of one webhook are made one after the other. */
  queue: Promise<unknown>;
}

/** See the head of this file. */
export class Webhooks implements WebhookService {
  readonly #ports: WebhookPorts;
  readonly #lookups: Lookups;
  readonly #userAgent: string;
  /** By the name in lower case; null while one is being created. */
  readonly #hooks = new Map<string, Hook | null>();
  #phase: 'loaded' | 'running' | 'closed' = 'loaded';

  private constructor(ports: WebhookPorts) {
    this.#ports = ports;
    this.#lookups = new Lookups(ports.publicOnly ?? false, ports.resolve);
    this.#userAgent = `vmpulse/${ports.version}`;
  }

  /** With what is stored; nothing is sent before `start`. */
  static async open(ports: WebhookPorts): Promise<Webhooks> {
    const webhooks = new Webhooks(ports);
    await webhooks.#load();
    return webhooks;
  }

  async #load(): Promise<void> {
    for (const stored of await loadWebhooks(this.#ports.store)) {
      const { name } = stored.record;
      this.#hooks.set(
        name.toLowerCase(),
        this.#hook(new WebhookBook(this.#ports.clock, this.#ledger(), stored)),
      );
    }
  }

  start(): void {
    this.#phase = 'running';
    for (const hook of this.#hooks.values()) if (hook !== null) this.#startCourier(hook);
  }

  /** Lets endpoints that answer have the rest for a short time; then nothing is sent any more. Idempotent. */
  async close(): Promise<void> {
    this.#phase = 'closed';
    await Promise.all(
      [...this.#hooks.values()].map(async (hook) => {
        if (hook === null) return;
        await this.#letDrain(hook);
        await hook.courier?.stop(0);
        hook.sender.close();
        await hook.book.ledger
          .flushWithin(this.#ports.clock, webhookCloseTimeoutMs)
          .catch((error: unknown) => this.#ports.warn('the state of a webhook cannot be stored', error));
      }),
    );
  }

  list(): WebhookInfo[] {
    return [...this.#hooks]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .flatMap(([, hook]) => (hook === null ? [] : [this.#info(hook)]));
  }

  get(name: string): WebhookInfo {
    return this.#info(this.#find(name));
  }

  counts(): WebhookCount[] {
    return [...this.#hooks.values()].flatMap((hook) => {
      if (hook === null) return [];
      const { name, lag, retrying, deadLetters, circuit, enabled } = this.#info(hook);
      const { attempts } = hook.book;
      return { name, lag, retrying, deadLetters, attempts, isOpen: circuit === 'open', isDisabled: !enabled };
    });
  }

  async create(request: object): Promise<WebhookInfo & WebhookSecret> {
    const { clock, log } = this.#ports;
    const { lastSeq } = log.state();
    const checked = checkWebhookRequest(request, lastSeq);
    const { name, url, secret, after } = checked;
    requireAllowed(this.#lookups, url);
    this.#requireOpen();
    requireWritable(log);
    const key = name.toLowerCase();
    requireRoom(name, this.#hooks.has(key), this.#hooks.size);
    const record = newRecord(checked, Math.trunc(clock.wallMs()));
    const cursor = { cursor: after ?? lastSeq, head: null };
    const book = new WebhookBook(clock, this.#ledger(), { record, cursor, retries: [], deadLetters: [] });
    book.record = record;
    book.moveTo(cursor.cursor);
    this.#hooks.set(key, null);
    try {
      await book.ledger.flush();
    } catch (error) {
      this.#hooks.delete(key);
      throw error;
    }
    const hook = this.#hook(book);
    this.#hooks.set(key, hook);
    this.#startCourier(hook);
    return { ...this.#info(hook), secret };
  }

  change(name: string, request: object): Promise<WebhookInfo> {
    const hook = this.#find(name);
    return this.#exclusively(hook, async () => {
      const { record } = hook.book;
      const { url, filter, timeoutMs, enabled, authority } = checkWebhookChange(request, record.filter);
      if (url !== undefined) requireAllowed(this.#lookups, url);
      const isElsewhere = (url !== undefined && url !== record.url) || authority !== undefined;
      const changed: WebhookRecord = {
        ...record,
        url: url ?? record.url,
        filter,
        timeoutMs: timeoutMs ?? record.timeoutMs,
        authority: authority === undefined ? (record.authority ?? null) : authority,
        disabled:
          enabled === true ? null : enabled === false ? (record.disabled ?? 'operator') : record.disabled,
      };
      await this.#rewrite(hook, changed, isElsewhere || enabled === true);
      return this.#info(hook);
    });
  }

  delete(name: string): Promise<void> {
    const hook = this.#find(name);
    return this.#exclusively(hook, async () => {
      await this.#stopCourier(hook);
      hook.book.erase();
      try {
        await hook.book.ledger.flush();
      } finally {
        // Where that could not be written it comes back with the next start; the operator was told.
        hook.sender.close();
        this.#hooks.delete(name.toLowerCase());
      }
    });
  }

  async test(name: string): Promise<WebhookTest> {
    const hook = this.#find(name);
    this.#requireOpen();
    if (hook.isTesting) {
      const detail = `A test of '${hook.book.record.name}' is under way; wait for its end.`;
      throw new VmError('VMPULSE_E_OPERATION_IN_PROGRESS', detail);
    }
    hook.isTesting = true;
    try {
      return await this.#sendTest(hook);
    } finally {
      hook.isTesting = false;
    }
  }

  async #sendTest({ book, sender }: Hook): Promise<WebhookTest> {
    const { clock, log } = this.#ports;
    const ports = { clock, userAgent: this.#userAgent };
    const outcome = await sender.send(testLetter(ports, book, log.serverId));
    const { accepted, at, status, tookMs, error, answer } = outcome;
    return { accepted, at, status, tookMs, error, answer };
  }

  rotate(name: string, request: object): Promise<WebhookInfo & WebhookSecret> {
    const hook = this.#find(name);
    return this.#exclusively(hook, async () => {
      const { secret, keepMs } = checkWebhookRotation(request);
      const nowMs = Math.trunc(this.#ports.clock.wallMs());
      await this.#store(hook, rotated(hook.book.record, secret, keepMs, nowMs));
      return { ...this.#info(hook), secret };
    });
  }

  deadLetters(name: string): WebhookDeadLetter[] {
    return [...this.#find(name).book.deadLetters.values()].toSorted((a, b) => a.seq - b.seq);
  }

  replay(name: string, seq?: number): Promise<number> {
    const hook = this.#find(name);
    return this.#exclusively(hook, async () => {
      const { book } = hook;
      const room = maxWebhookRetries - book.retries.size;
      const letters = this.#letters(hook, seq);
      if (room <= 0 && letters.length > 0) {
        const detail = `${book.retries.size} events are tried again already; replay when some of them are done.`;
        throw new VmError('VM_E_OUT_OF_RESOURCE', detail);
      }
      const replayed = letters.slice(0, room);
      for (const letter of replayed) {
        book.dropDeadLetter(letter.seq);
        book.keepRetry(book.waiting(letter.event, null));
      }
      await book.ledger.flush();
      hook.courier?.notice();
      return replayed.length;
    });
  }

  drop(name: string, seq?: number): Promise<number> {
    const hook = this.#find(name);
    return this.#exclusively(hook, async () => {
      const letters = this.#letters(hook, seq);
      for (const letter of letters) hook.book.dropDeadLetter(letter.seq);
      await hook.book.ledger.flush();
      return letters.length;
    });
  }

  /** That the service stops is an event too. */
  async #letDrain(hook: Hook): Promise<void> {
    const { clock } = this.#ports;
    const endMs = clock.monotonicMs() + webhookCloseTimeoutMs;
    for (;;) {
      const { enabled, lag, failuresInARow } = this.#info(hook);
      if (!enabled || lag === 0 || failuresInARow > 0 || clock.monotonicMs() >= endMs) return;
      await clock.sleep(webhookDrainPollMs);
    }
  }

  /** The oldest first. Errors: VMPULSE_E_NOT_FOUND. */
  #letters({ book }: Hook, seq: number | undefined): WebhookDeadLetter[] {
    if (seq === undefined) return this.deadLetters(book.record.name);
    const letter = book.deadLetters.get(seq);
    if (letter !== undefined) return [letter];
    throw unknownLetter(book.record.name, seq);
  }

  #ledger(): WebhookLedger {
    return new WebhookLedger(this.#ports.store, this.#ports.log);
  }

  #hook(book: WebhookBook): Hook {
    return {
      book,
      sender: this.#sender(book),
      courier: undefined,
      isTesting: false,
      queue: Promise.resolve(),
    };
  }

  #sender({ record }: WebhookBook): WebhookSender {
    return new WebhookSender(this.#ports.clock, this.#lookups, record.authority?.pem ?? null);
  }

  #startCourier(hook: Hook): void {
    if (this.#phase !== 'running' || hook.book.record.disabled !== null) return;
    const { clock, log, warn, random = Math.random } = this.#ports;
    const gone = (): void => this.#disable(hook, 'gone');
    hook.courier = new WebhookCourier(
      { clock, log, warn, random, userAgent: this.#userAgent, gone },
      hook.book,
      hook.sender,
    );
    hook.courier.start();
  }

  async #stopCourier(hook: Hook): Promise<void> {
    const { courier, book } = hook;
    hook.courier = undefined;
    // What its filter let pass is not for the next one's.
    if (courier !== undefined && courier.cursor > book.cursor) book.moveTo(courier.cursor);
    await courier?.stop(0);
  }

  /** As the endpoint wants it: told at once, and written with its event. */
  #disable(hook: Hook, reason: WebhookDisabledReason): void {
    const { courier, book } = hook;
    hook.courier = undefined;
    void courier?.stop(0);
    book.record = { ...book.record, disabled: reason };
    const draft = book.draft('webhookDisabled', { messageId: messageIds.webhookDisabled, reason });
    book.ledger
      .append(draft)
      .catch((error: unknown) => this.#ports.warn('that a webhook is disabled cannot be stored', error));
  }

  /** Stops the courier, writes the record, and starts anew by it. */
  async #rewrite(hook: Hook, record: WebhookRecord, anew: boolean): Promise<void> {
    const wasEnabled = hook.book.record.disabled === null;
    await this.#stopCourier(hook);
    if (anew) hook.book.startAnew();
    try {
      await this.#store(hook, record, wasEnabled && record.disabled !== null ? record.disabled : undefined);
    } finally {
      if (anew) {
        hook.sender.close();
        hook.sender = this.#sender(hook.book);
      }
      this.#startCourier(hook);
    }
  }

  /** Durable, or as it was. */
  async #store(hook: Hook, record: WebhookRecord, told?: WebhookDisabledReason): Promise<void> {
    const { book } = hook;
    const before = book.record;
    book.record = record;
    try {
      if (told === undefined) await book.ledger.flush();
      else {
        const data = { messageId: messageIds.webhookDisabled, reason: told };
        await book.ledger.append(book.draft('webhookDisabled', data));
      }
    } catch (error) {
      book.record = before;
      throw error;
    }
  }

  async #exclusively<T>(hook: Hook, work: () => Promise<T>): Promise<T> {
    this.#requireOpen();
    requireWritable(this.#ports.log);
    const turn = hook.queue.then(async () => {
      // It may have been deleted (and another one made under its name), or the service stopped, while this waited.
      const { name } = hook.book.record;
      if (this.#find(name) !== hook) throw unknownWebhook(name);
      this.#requireOpen();
      return work();
    });
    hook.queue = turn.catch(() => undefined);
    return turn;
  }

  #requireOpen(): void {
    if (this.#phase !== 'closed') return;
    throw new VmError('VM_E_APP_SHUTTING_DOWN', 'The service is stopping; ask again when it is back.');
  }

  #find(name: string): Hook {
    const hook = this.#hooks.get(name.toLowerCase());
    if (hook !== undefined && hook !== null) return hook;
    throw unknownWebhook(name);
  }

  #info({ book, courier }: Hook): WebhookInfo {
    const { clock, log } = this.#ports;
    return describeWebhook(clock, log, book, courier);
  }
}
