/**
 * One connection under which a durable subscription serves this client: what came and waits, and what goes back. After
 * a refusal all that came is dropped until the server says that it begins again from there: the order stays.
 */
import type { SubscriptionLoss, VmEvent } from '@vmpulse/wire';
import { readEvent, readLease, readLoss, readRewind } from './answer.ts';
import { subscriptionPath } from './durable-subscriptions.ts';
import type { StreamMessage } from './event-stream.ts';
import type { Link } from './link.ts';
import { lastAckTimeoutMs } from './limits.ts';

/** What waits to be told. The server bounds how many: so many are in flight. */
export type LeaseItem = { readonly event: VmEvent } | { readonly loss: SubscriptionLoss };

/** See the head of this file. */
export class Lease {
  readonly #link: Link;
  readonly #name: string;
  /** Told once: acknowledging failed, and the connection is of no more use. */
  readonly #onFailure: (error: unknown) => void;
  #lease = '';
  /** All up to here was acknowledged, or told under this lease. */
  #highest = 0;
  #queue: LeaseItem[] = [];
  #dropping = false;
  #closed = false;
  #wakeUp: (() => void) | undefined;
  /** Acknowledged next, when the one before has arrived. */
  #pending: number | undefined;
  #sending: Promise<void> | undefined;

  constructor(link: Link, name: string, onFailure: (error: unknown) => void) {
    this.#link = link;
    this.#name = name;
    this.#onFailure = onFailure;
  }

  /** Last seq that is over, as far as this client knows. */
  get highest(): number {
    return this.#highest;
  }

  /** Takes a message of the stream. Errors: E_UNEXPECTED. */
  take({ event: kind, data }: StreamMessage): void {
    if (kind === 'lease') {
      const { lease, cursor } = readLease(data);
      this.#lease = lease;
      this.#highest = cursor;
    } else if (kind === 'rewind') {
      readRewind(data);
      this.#dropping = false;
    } else if (kind === 'lostPlace') {
      this.#queue.push({ loss: readLoss(data) });
    } else if (!this.#dropping) {
      this.#queue.push({ event: readEvent(data) });
    }
    this.#wakeUp?.();
  }

  /** The next item, or undefined once it is closed. */
  async next(): Promise<LeaseItem | undefined> {
    for (;;) {
      if (this.#closed) return undefined;
      const item = this.#queue.shift();
      if (item !== undefined) return item;
      await new Promise<void>((resolve) => {
        this.#wakeUp = resolve;
      });
    }
  }

  /** Nothing more is taken from it. */
  close(): void {
    this.#closed = true;
    this.#wakeUp?.();
  }

  /** The event was taken. Waits only for a replayed one, which is acknowledged by itself. */
  async acknowledge(seq: number): Promise<void> {
    if (seq <= this.#highest) {
      await this.flush();
      await this.#post('ack', { seq });
      return;
    }
    this.#highest = seq;
    this.#pending = seq;
    this.#sending ??= this.#send();
  }

  /** The event was not taken. */
  async refuse(seq: number, reason: string): Promise<void> {
    this.#dropping = true;
    this.#queue = this.#queue.filter((item) => 'loss' in item);
    await this.flush();
    await this.#post('nack', { seq, reason });
  }

  /** Waits until what was acknowledged has arrived, or failed to. */
  async flush(): Promise<void> {
    await this.#sending;
  }

  /** Acknowledging one acknowledges all before: what gathers meanwhile goes as one. */
  async #send(): Promise<void> {
    try {
      while (this.#pending !== undefined) {
        const seq = this.#pending;
        this.#pending = undefined;
        await this.#post('ack', { seq });
      }
    } catch (error) {
      this.#onFailure(error);
    } finally {
      this.#sending = undefined;
    }
  }

  async #post(what: 'ack' | 'nack', body: { seq: number; reason?: string }): Promise<void> {
    await this.#link.request('POST', `${subscriptionPath(this.#name)}/${what}`, {
      body: { ...body, lease: this.#lease },
      urgent: true,
      ...(this.#closed ? { timeoutMs: lastAckTimeoutMs } : {}),
    });
  }
}
