/**
 * One durable subscription. Kept here:
 *  1. The cursor moves when events are acknowledged, are not wanted, or were set aside for good; nothing else moves it.
 *     What is stored of it may be behind, never ahead: what a crash forgets is delivered again.
 *  2. One consumer is served at a time, under a lease of its own. When it leaves, what it did not acknowledge goes to
 *     the next one, from the cursor on.
 *  3. In order: an event that was not taken is sent again, after a pause, with all that was sent after it. After the
 *     last attempt it is set aside, durably, before the cursor passes it.
 *  4. In flight are at most `maxInFlightEvents`; a consumer that acknowledges nothing holds up nobody but itself.
 *  5. Where retention was faster, it goes on with the oldest event kept, and says so.
 */
import { randomUUID } from 'node:crypto';
import {
  type DeadLetter,
  type SubscriptionAck,
  type SubscriptionInfo,
  type SubscriptionNack,
  VmError,
  type VmEvent,
  messageIds,
} from '@vmpulse/wire';
import type { Clock, Timer } from '../clock.ts';
import type { EventLog } from '../event/log.ts';
import { openStream } from '../event/outbox.ts';
import { maxInFlightEvents, maxStandbyConsumers, redeliveryMs, subscriptionReadRetryMs } from '../limits.ts';
import type { DocumentStore, StoredDocument } from '../machine-record.ts';
import type { Consumer } from './consumer.ts';
import { DeadLetters } from './dead-letters.ts';
import { compileFilter } from './event-filter.ts';
import { Attempts, type RetryPolicy } from './retry.ts';
import type { SubscriptionDefinition } from './subscription-request.ts';
import { DeliveryWindow, type WindowItem } from './window.ts';

/** Kind of the stored documents. */
export const subscriptionKind = 'subscription';

/** What is stored of a subscription, under its name. */
export interface StoredSubscription extends SubscriptionDefinition {
  readonly createdMs: number;
  readonly cursor: number;
  /** Events that failed and are not over, and how often. */
  readonly failures: readonly (readonly [seq: number, failures: number])[];
}

/** What a subscription works with. */
export interface SubscriptionPorts {
  readonly clock: Clock;
  readonly log: EventLog;
  readonly store: DocumentStore;
  readonly warn: (message: string, error: unknown) => void;
  /** In [0, 1); default Math.random. */
  readonly random?: () => number;
}

interface Session {
  readonly consumer: Consumer;
  readonly lease: string;
  readonly ending: AbortController;
}

/** See the head of this file. */
export class Subscription {
  readonly name: string;
  readonly deadLetters: DeadLetters;
  readonly #ports: SubscriptionPorts;
  /** `soon`: something was acknowledged; else the cursor only passed over what was not wanted. */
  readonly #changed: (soon: boolean) => void;
  readonly #createdMs: number;
  readonly #attempts: Attempts;
  readonly #consumers: Consumer[] = [];
  #definition: SubscriptionDefinition;
  #wants: (event: VmEvent) => boolean;
  #window = new DeliveryWindow();
  /** Last seq looked at. */
  #passed: number;
  #session: Session | null = null;
  #timer: Timer | null = null;
  /** Ends the wait for room in the window. */
  #makeRoom: (() => void) | null = null;
  #closed = false;

  constructor(
    ports: SubscriptionPorts,
    name: string,
    stored: StoredSubscription,
    letters: readonly DeadLetter[],
    changed: (soon: boolean) => void,
  ) {
    this.name = name;
    this.#ports = ports;
    this.#changed = changed;
    this.#createdMs = stored.createdMs;
    this.#definition = stored;
    this.#wants = compileFilter(stored);
    this.#passed = stored.cursor;
    this.deadLetters = new DeadLetters(ports, name, letters);
    this.#attempts = new Attempts(ports.clock, () => this.#policy(), ports.random);
    this.#attempts.restore(stored.failures);
  }

  /** All up to it is over. */
  get cursor(): number {
    const { oldest } = this.#window;
    return oldest === undefined ? this.#passed : oldest.seq - 1;
  }

  /** Events of the log after the cursor. */
  get lag(): number {
    return Math.max(0, this.#ports.log.state().lastSeq - this.cursor);
  }

  /** What to store of it now. */
  document(definition: SubscriptionDefinition = this.#definition): StoredDocument {
    const { types, machines, verdicts, maxAttempts } = definition;
    const value: StoredSubscription = {
      types,
      machines,
      verdicts,
      maxAttempts,
      createdMs: this.#createdMs,
      cursor: this.cursor,
      failures: this.#attempts.snapshot(),
    };
    return { kind: subscriptionKind, key: this.name, value };
  }

  /** Another filter or bound: what was taken up already is delivered all the same. */
  redefine(definition: SubscriptionDefinition): void {
    this.#definition = definition;
    this.#wants = compileFilter(definition);
  }

  async info(): Promise<SubscriptionInfo> {
    const { types, machines, verdicts, maxAttempts } = this.#definition;
    const oldestUnacknowledgedMs = await this.#oldestMs();
    return {
      name: this.name,
      types,
      machines,
      verdicts,
      maxAttempts,
      state: this.#session === null ? 'waiting' : 'served',
      standby: Math.max(0, this.#consumers.length - 1),
      cursor: this.cursor,
      lag: this.lag,
      inFlight: this.#window.inFlight,
      deadLetters: this.deadLetters.size,
      oldestUnacknowledgedMs,
      createdAt: new Date(this.#createdMs).toISOString(),
    };
  }

  /** It is served now, or when those before it have left. Returns the way to leave. Errors: see `requirePlace`. */
  connect(consumer: Consumer): () => void {
    this.requirePlace();
    this.#consumers.push(consumer);
    if (this.#session === null) this.#serveNext();
    return () => this.#leave(consumer);
  }

  /** Errors: VMPULSE_E_TOO_MANY_STREAMS, VMPULSE_E_NOT_FOUND once it was deleted. */
  requirePlace(): void {
    if (this.#closed) throw new VmError('VMPULSE_E_NOT_FOUND', `Subscription '${this.name}' is gone.`);
    if (this.#consumers.length <= maxStandbyConsumers) return;
    const detail = `'${this.name}' has ${this.#consumers.length} consumers, which is the bound; end some.`;
    throw new VmError('VMPULSE_E_TOO_MANY_STREAMS', detail);
  }

  /** Errors: VMPULSE_E_NOT_SERVED. */
  async acknowledge({ seq, lease }: SubscriptionAck): Promise<void> {
    this.#require(lease);
    const taken = seq > this.#passed ? null : this.#window.acknowledge(seq);
    if (taken === null) throw this.#notSent(seq);
    const replayed = taken.filter(({ isReplay }) => isReplay);
    for (const { event } of taken) this.#attempts.forget(event.seq);
    if (taken.length > 0) this.#moved(true);
    for (const { event } of replayed) await this.deadLetters.drop(event.seq);
  }

  /** Errors: VMPULSE_E_NOT_SERVED. */
  refuse({ seq, lease, reason }: Required<SubscriptionNack>): void {
    const { consumer } = this.#require(lease);
    const item = this.#window.sent(seq);
    if (item === undefined) throw this.#notSent(seq);
    const next = this.#attempts.failed(seq);
    this.#window.rewind(item);
    consumer.rewind({ seq });
    if (next === 'last') void this.#setAside(item, reason);
    this.#moved(true);
  }

  /** Delivers a dead letter once more. Errors: VMPULSE_E_NOT_FOUND, VMPULSE_E_LOG_UNAVAILABLE. */
  async replay(seq: number): Promise<void> {
    const { event } = await this.deadLetters.replay(seq);
    this.#attempts.forget(seq);
    if (this.#session === null) return;
    this.#window.addReplay(event);
    this.#pump();
  }

  /** Errors: VMPULSE_E_NOT_FOUND, VMPULSE_E_LOG_UNAVAILABLE. */
  async drop(seq: number): Promise<void> {
    this.deadLetters.get(seq);
    await this.deadLetters.drop(seq);
    this.#window.removeReplay(seq);
    this.#attempts.forget(seq);
    this.#moved(false);
  }

  /** Ends it for its consumers. */
  close(remark: string): void {
    this.#closed = true;
    this.#endSession();
    for (const consumer of this.#consumers.splice(0)) consumer.end(remark);
  }

  #policy(): RetryPolicy {
    const { maxAttempts } = this.#definition;
    return { firstDelayMs: redeliveryMs.first, longestDelayMs: redeliveryMs.longest, maxAttempts };
  }

  #require(lease: string): Session {
    if (this.#session?.lease === lease) return this.#session;
    const detail = `'${this.name}' does not serve this consumer (any more); connect again and use the new lease.`;
    throw new VmError('VMPULSE_E_NOT_SERVED', detail);
  }

  #notSent(seq: number): VmError {
    const detail = `Event ${seq} is not in flight now; acknowledge or refuse it when it was sent (again).`;
    return new VmError('VMPULSE_E_NOT_SERVED', detail);
  }

  #serveNext(): void {
    const [consumer] = this.#consumers;
    if (consumer === undefined || this.#closed) return;
    const session: Session = { consumer, lease: randomUUID(), ending: new AbortController() };
    this.#session = session;
    consumer.served({ lease: session.lease, cursor: this.cursor });
    for (const letter of this.deadLetters.list()) if (letter.replaying) this.#window.addReplay(letter.event);
    this.#pump();
    void this.#run(session);
  }

  #leave(consumer: Consumer): void {
    const index = this.#consumers.indexOf(consumer);
    if (index === -1) return;
    this.#consumers.splice(index, 1);
    if (this.#session?.consumer !== consumer) return;
    this.#endSession();
    this.#serveNext();
  }

  /** Whatever was in flight is read again for the next consumer. */
  #endSession(): void {
    const session = this.#session;
    if (session === null) return;
    this.#session = null;
    this.#timer?.cancel();
    this.#passed = this.cursor;
    this.#window = new DeliveryWindow();
    session.ending.abort();
    this.#makeRoom?.();
  }

  /** Never rejects. */
  async #run(session: Session): Promise<void> {
    const { signal } = session.ending;
    while (!signal.aborted) {
      try {
        await this.#read(signal);
      } catch (error) {
        if (signal.aborted) return;
        const expired = error instanceof VmError && error.code === 'VMPULSE_E_CURSOR_EXPIRED';
        if (expired && this.#losePlace(session)) continue;
        this.#ports.warn(`subscription ${this.name} cannot read the log`, error);
        await this.#ports.clock.sleep(subscriptionReadRetryMs, signal);
      }
    }
  }

  async #read(signal: AbortSignal): Promise<void> {
    const { log } = this.#ports;
    const stream = openStream(log, { after: this.#passed, signal, maxBuffered: maxInFlightEvents });
    try {
      for (;;) {
        const events = await stream.next();
        if (events.length === 0) return;
        for (const event of events) {
          await this.#room(signal);
          if (signal.aborted) return;
          // What was set aside before a crash that forgot the cursor is not delivered again.
          if (this.#wants(event) && !this.deadLetters.has(event.seq)) this.#window.add(event);
          this.#passed = event.seq;
        }
        this.#moved(false);
      }
    } finally {
      stream.close();
    }
  }

  async #room(signal: AbortSignal): Promise<void> {
    if (this.#window.size < maxInFlightEvents || signal.aborted) return;
    this.#moved(false);
    while (this.#window.size >= maxInFlightEvents && !signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#makeRoom = resolve;
      });
    }
    this.#makeRoom = null;
  }

  /** False where it did not, so that the reason is another one. */
  #losePlace({ consumer }: Session): boolean {
    const { clock, log, warn } = this.#ports;
    const loss = { from: this.#passed + 1, to: log.state().oldestSeq - 1 };
    if (loss.to < loss.from) return false;
    this.#passed = loss.to;
    consumer.lostPlace(loss);
    const data = { messageId: messageIds.subscriptionLostPlace, subscription: this.name, ...loss };
    log
      .append(
        { type: 'subscriptionLostPlace', timeMs: Math.trunc(clock.wallMs()), data },
        { documents: [this.document()] },
      )
      .catch((error: unknown) => warn(`the lost place of subscription ${this.name} was not told`, error));
    this.#changed(true);
    return true;
  }

  #moved(soon: boolean): void {
    this.#changed(soon);
    this.#makeRoom?.();
    this.#pump();
  }

  /** Sends what may be sent. What waits for its next attempt holds up those after it, unless it is a replay. */
  #pump(): void {
    const session = this.#session;
    if (session === null) return;
    this.#timer?.cancel();
    let soonestMs = Number.POSITIVE_INFINITY;
    for (const item of this.#window.items) {
      if (item.state !== 'queued') continue;
      const { seq } = item.event;
      const waitMs = this.#attempts.waitMs(seq);
      if (waitMs > 0) {
        soonestMs = Math.min(soonestMs, waitMs);
        if (item.isReplay) continue;
        break;
      }
      item.state = 'sent';
      session.consumer.deliver(item.event, this.#attempts.failures(seq) + 1);
    }
    if (soonestMs < Number.POSITIVE_INFINITY) {
      this.#timer = this.#ports.clock.setTimer(() => this.#pump(), soonestMs);
    }
  }

  async #setAside(item: WindowItem, reason: string): Promise<void> {
    const { event } = item;
    const window = this.#window;
    item.state = 'settingAside';
    try {
      await this.deadLetters.add(event, this.#attempts.failures(event.seq), reason);
      this.#attempts.forget(event.seq);
      window.remove(item);
    } catch (error) {
      this.#ports.warn(`event ${event.seq} could not be set aside; it is delivered again`, error);
      item.state = 'queued';
    }
    this.#moved(true);
  }

  async #oldestMs(): Promise<number | null> {
    const { clock, log } = this.#ports;
    const { oldestSeq, lastSeq } = log.state();
    const after = Math.max(this.cursor, oldestSeq - 1);
    if (after >= lastSeq) return null;
    let { oldest } = this.#window;
    try {
      oldest ??= (await log.read({ after, limit: 1 })).events[0];
    } catch {
      // Retention overtook the question.
      return null;
    }
    return oldest === undefined ? null : Math.max(0, clock.wallMs() - Date.parse(oldest.time));
  }
}
