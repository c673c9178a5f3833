/** All durable subscriptions of a server: by name, and their cursors written together. */
import { type SubscriptionInfo, type SubscriptionRequest, VmError } from '@vmpulse/wire';
import { type Timer, withDeadline } from '../clock.ts';
import { cursorSaveMs, durableAppendTimeoutMs, maxSubscriptions, passedCursorSaveMs } from '../limits.ts';
import type { StoredDocument } from '../machine-record.ts';
import { loadDeadLetters } from './dead-letters.ts';
import { checkSubscriptionName, checkSubscriptionRequest } from './subscription-request.ts';
import {
  type StoredSubscription,
  type SubscriptionCount,
  type SubscriptionPorts,
  subscriptionKind,
} from './subscription-record.ts';
import { Subscription } from './subscription.ts';

/** See the head of this file. */
export class Subscriptions {
  readonly #ports: SubscriptionPorts;
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #moved = new Set<Subscription>();
  /** Being deleted. */
  readonly #leaving = new Set<Subscription>();
  #timer: { readonly timer: Timer; readonly dueMs: number } | null = null;
  #writing: Promise<void> | null = null;
  #closed = false;

  constructor(ports: SubscriptionPorts) {
    this.#ports = ports;
  }

  /** Takes what is stored. Errors: those of the store's reading. */
  async load(): Promise<void> {
    const { store } = this.#ports;
    const letters = await loadDeadLetters(store);
    for (const { key, value } of await store.loadDocuments(subscriptionKind)) {
      this.#add(key, value as StoredSubscription, letters.get(key) ?? []);
    }
  }

  /** By name. */
  async list(): Promise<SubscriptionInfo[]> {
    const names = [...this.#subscriptions.keys()].toSorted();
    return Promise.all(names.map((name) => this.find(name).info()));
  }

  counts(): SubscriptionCount[] {
    return [...this.#subscriptions.values()].map((subscription) => subscription.count());
  }

  /** Errors: VMPULSE_E_NOT_FOUND. */
  find(name: string): Subscription {
    const found = this.#subscriptions.get(name);
    if (found !== undefined) return found;
    const shown = JSON.stringify(name.slice(0, 80));
    throw new VmError(
      'VMPULSE_E_NOT_FOUND',
      `There is no subscription ${shown}; vmpulse subscription list shows what there is.`,
    );
  }

  /**
   * Makes a subscription, or changes one: its cursor stays then. Resolves when it is durable.
   * Errors: VMPULSE_E_REQUEST_INVALID (with `field`), VM_E_OUT_OF_RESOURCE, VMPULSE_E_LOG_UNAVAILABLE.
   */
  async put(name: string, request: SubscriptionRequest): Promise<SubscriptionInfo> {
    const { clock, store } = this.#ports;
    const { definition, from } = checkSubscriptionRequest(request);
    const known = this.#subscriptions.get(checkSubscriptionName(name));
    this.#requireOpen();
    if (known !== undefined && this.#leaving.has(known)) {
      throw new VmError('VMPULSE_E_NOT_FOUND', `'${name}' is being deleted; make it when that is done.`);
    }
    if (known !== undefined) {
      await this.#durable(store.putDocuments([known.document(definition)]));
      known.redefine(definition);
      // A cursor written meanwhile brought the former definition with it.
      this.#changed(known, true);
      return known.info();
    }
    if (this.#subscriptions.size >= maxSubscriptions) {
      const detail = `There are ${maxSubscriptions} subscriptions, which is the bound; delete one first.`;
      throw new VmError('VM_E_OUT_OF_RESOURCE', detail);
    }
    const cursor = this.#beginning(from);
    const createdMs = Math.trunc(clock.wallMs());
    const made = this.#add(name, { ...definition, createdMs, cursor, failures: [] }, []);
    const stored = store.putDocuments([made.document()]).catch((error: unknown) => {
      this.#subscriptions.delete(name);
      made.close('the subscription could not be stored');
      throw error;
    });
    // Where that takes long it is there all the same, and after a restart.
    await this.#durable(stored);
    return made.info();
  }

  /** Forgets one with its dead letters. Errors: VMPULSE_E_NOT_FOUND, VMPULSE_E_LOG_UNAVAILABLE. */
  async delete(name: string): Promise<void> {
    const found = this.find(name);
    this.#requireOpen();
    // From here on nothing of it is written: it would come after the removal, and bring it back at the next start.
    this.#leaving.add(found);
    const removal: StoredDocument[] = [
      { kind: subscriptionKind, key: name, value: null },
      ...found.deadLetters.retire(),
    ];
    // Where that takes long it is deleted once the disk answers.
    await this.#durable(this.#remove(found, removal));
  }

  /** Errors: those of the store; then it stays as it was. */
  async #remove(found: Subscription, removal: readonly StoredDocument[]): Promise<void> {
    try {
      await this.#ports.store.putDocuments(removal);
    } catch (error) {
      found.deadLetters.restore();
      this.#leaving.delete(found);
      this.#changed(found, true);
      throw error;
    }
    this.#subscriptions.delete(found.name);
    this.#leaving.delete(found);
    this.#moved.delete(found);
    found.close('the subscription was deleted');
  }

  /** Ends every consumer and writes the cursors. Idempotent; never rejects. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const subscription of this.#subscriptions.values()) subscription.close('the server is stopping');
    this.#timer?.timer.cancel();
    try {
      await this.#durable((this.#writing ?? Promise.resolve()).then(() => this.#write()));
    } catch (error) {
      this.#ports.warn('cursors of subscriptions were not written; events are delivered again', error);
    }
  }

  #requireOpen(): void {
    if (this.#closed) throw new VmError('VM_E_APP_SHUTTING_DOWN', 'The server is stopping; try again later.');
  }

  #add(
    name: string,
    stored: StoredSubscription,
    letters: ConstructorParameters<typeof Subscription>[3],
  ): Subscription {
    const made: Subscription = new Subscription(this.#ports, name, stored, letters, (soon) =>
      this.#changed(made, soon),
    );
    this.#subscriptions.set(name, made);
    return made;
  }

  /** The cursor that stands before it. */
  #beginning(from: 'now' | number): number {
    const { lastSeq, oldestSeq } = this.#ports.log.state();
    if (from === 'now') return lastSeq;
    if (from <= lastSeq + 1) return Math.max(from, oldestSeq) - 1;
    const detail = `from is ${from}; the newest event is ${lastSeq}. Say 'now' for what is told from now on.`;
    throw new VmError('VMPULSE_E_REQUEST_INVALID', detail, { field: '/from' });
  }

  #changed(subscription: Subscription, soon: boolean): void {
    if (this.#subscriptions.get(subscription.name) !== subscription || this.#leaving.has(subscription))
      return;
    this.#moved.add(subscription);
    this.#writeWithin(soon ? cursorSaveMs : passedCursorSaveMs);
  }

  #writeWithin(delayMs: number): void {
    if (this.#closed || this.#writing !== null) return;
    const { clock } = this.#ports;
    const dueMs = clock.monotonicMs() + delayMs;
    if (this.#timer !== null && this.#timer.dueMs <= dueMs) return;
    this.#timer?.timer.cancel();
    const begin = (): void => {
      this.#timer = null;
      this.#writing = this.#write().finally(() => {
        this.#writing = null;
        if (this.#moved.size > 0) this.#writeWithin(cursorSaveMs);
      });
    };
    this.#timer = { timer: clock.setTimer(begin, delayMs), dueMs };
  }

  /** One transaction for all that moved. Never rejects. */
  async #write(): Promise<void> {
    const moved = [...this.#moved].filter((subscription) => !this.#leaving.has(subscription));
    this.#moved.clear();
    if (moved.length === 0) return;
    try {
      await this.#ports.store.putDocuments(moved.map((subscription) => subscription.document()));
    } catch (error) {
      this.#ports.warn('cursors of subscriptions were not written; that is tried again', error);
      for (const one of moved) if (this.#subscriptions.get(one.name) === one) this.#moved.add(one);
    }
  }

  #durable(written: Promise<void>): Promise<void> {
    return withDeadline(this.#ports.clock, written, durableAppendTimeoutMs, () => {
      const detail = `Nothing was written for ${durableAppendTimeoutMs / 1_000} s; look at the data directory's disk.`;
      return new VmError('VMPULSE_E_LOG_UNAVAILABLE', detail);
    });
  }
}
