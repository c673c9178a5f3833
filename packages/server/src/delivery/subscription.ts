/**
 * One durable subscription. Kept here:
 *  1. The cursor moves when events are acknowledged, are not wanted, or were set aside for good; nothing else moves it.
 *     What is stored of it may be behind, never ahead: what a crash forgets is delivered again.
 *  2. One consumer is served at a time, under a lease of its own. When it leaves, what it did not acknowledge goes to
 *     the next one, from the cursor on. One that answers nothing for `ackTimeoutMs` is cut off: what it held up counts
 *     as not taken. While there is no consumer, the cursor passes what is not wanted, up to the first that is.
 *  3. In order: an event that was not taken is sent again, after a pause, with all that was sent after it. After the
 *     last attempt it is set aside, durably, before the cursor passes it; it is not sent after a later one.
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
} from '@vmpulse/wire';
import type { Timer } from '../clock.ts';
import { maxInFlightEvents, maxStandbyConsumers, redeliveryMs, subscriptionReadRetryMs } from '../limits.ts';
import type { StoredDocument } from '../machine-record.ts';
import { AckWatch } from './ack-watch.ts';
import type { Consumer } from './consumer.ts';
import { DeadLetters } from './dead-letters.ts';
import { compileFilter } from './event-filter.ts';
import { LogReader, type ReadingSubscription } from './log-reader.ts';
import { Attempts, type RetryPolicy } from './retry.ts';
import {
  type StoredSubscription,
  type SubscriptionCount,
  type SubscriptionPorts,
  ackTimeoutOf,
  ageMs,
  oldestAgeMs,
  subscriptionDocument,
  tellLoss,
} from './subscription-record.ts';
import type { SubscriptionDefinition } from './subscription-request.ts';
import { DeliveryWindow, type WindowItem } from './window.ts';

interface Session {
  readonly consumer: Consumer;
  readonly lease: string;
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
  #reader: LogReader | null = null;
  #session: Session | null = null;
  #timer: Timer | null = null;
  readonly #watch: AckWatch;
  #redeliveries = 0;
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
    const timeoutMs = (): number | null => ackTimeoutOf(this.#definition);
    this.#watch = new AckWatch(ports.clock, timeoutMs, (ms) => this.#fellSilent(ms));
    this.#readAnew();
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

  /** How it stands, for metrics. */
  count(): SubscriptionCount {
    const { name, lag } = this;
    const oldestMs = ageMs(this.#ports.clock, this.#window.oldest) ?? 0;
    const deadLetters = this.deadLetters.size;
    return {
      name,
      lag,
      oldestMs,
      inFlight: this.#window.inFlight,
      redeliveries: this.#redeliveries,
      deadLetters,
    };
  }

  /** What to store of it now. */
  document(definition: SubscriptionDefinition = this.#definition): StoredDocument {
    const { cursor } = this;
    const progress = { createdMs: this.#createdMs, cursor, failures: this.#attempts.snapshot() };
    return subscriptionDocument(this.name, definition, progress);
  }

  /** Another filter or bound: what a consumer was sent or waits for is delivered all the same. */
  redefine(definition: SubscriptionDefinition): void {
    this.#definition = definition;
    this.#wants = compileFilter(definition);
    if (this.#session === null) this.#readAnew();
    else this.#reader?.restart();
  }

  async info(): Promise<SubscriptionInfo> {
    const { types, machines, verdicts, maxAttempts } = this.#definition;
    const oldestUnacknowledgedMs = await oldestAgeMs(this.#ports, this.cursor, this.#window.oldest);
    return {
      name: this.name,
      types,
      machines,
      verdicts,
      maxAttempts,
      ackTimeoutMs: ackTimeoutOf(this.#definition),
      state: this.#session === null ? 'waiting' : 'served',
      standby: Math.max(0, this.#consumers.length - 1),
      cursor: this.cursor,
      lag: this.lag,
      inFlight: this.#window.inFlight,
      redeliveries: this.#redeliveries,
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
    if (taken.length > 0) {
      this.#watch.answered(this.#window.inFlight > 0);
      this.#moved(true);
    }
    for (const { event } of replayed) await this.deadLetters.drop(event.seq);
  }

  /** Errors: VMPULSE_E_NOT_SERVED. */
  refuse({ seq, lease, reason }: Required<SubscriptionNack>): void {
    const { consumer } = this.#require(lease);
    const item = this.#window.sent(seq);
    if (item === undefined) throw this.#notSent(seq);
    const next = this.#attempts.failed(seq);
    this.#window.rewind(item);
    this.#watch.answered(this.#window.inFlight > 0);
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
    this.#reader?.close();
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
    const session: Session = { consumer, lease: randomUUID() };
    this.#session = session;
    consumer.served({ lease: session.lease, cursor: this.cursor });
    this.#readAnew();
    for (const letter of this.deadLetters.list()) if (letter.replaying) this.#window.addReplay(letter.event);
    this.#pump();
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
    if (this.#session === null) return;
    this.#session = null;
    this.#timer?.cancel();
    this.#watch.end();
    this.#readAnew();
  }

  /** Reads on from the cursor: for the consumer, or, while there is none, up to the first event that is wanted. */
  #readAnew(): void {
    this.#passed = this.cursor;
    this.#window = new DeliveryWindow();
    this.#reader?.close();
    if (this.#closed) return;
    const reader = new LogReader(this.#ports, this.#reading());
    this.#reader = reader;
    void reader.run();
  }

  #reading(): ReadingSubscription {
    return {
      name: this.name,
      place: () => this.#passed,
      types: () => this.#definition.types,
      hasRoom: () => this.#window.size < maxInFlightEvents,
      look: (event) => this.#look(event),
      passed: (seq) => {
        this.#passed = Math.max(this.#passed, seq);
        // Of what failed some may not be wanted any more.
        const { cursor } = this;
        this.#attempts.keep((each) => each > cursor || this.deadLetters.has(each));
        this.#moved(false);
      },
      expired: () => this.#losePlace(),
    };
  }

  #look(event: VmEvent): void {
    this.#passed = event.seq;
    // What was set aside before a crash that forgot the cursor is not delivered again.
    if (!this.#wants(event) || this.deadLetters.has(event.seq)) return;
    this.#window.add(event);
    if (this.#session === null) this.#reader?.close();
    else this.#pump();
  }

  /** False where it did not, so that the reason is another one. */
  #losePlace(): boolean {
    const loss = { from: this.#passed + 1, to: this.#ports.log.state().oldestSeq - 1 };
    if (loss.to < loss.from) return false;
    const session = this.#session;
    if (session === null) {
      // Whether anything wanted was among them nobody can know any more: the next consumer is told.
      this.#reader?.close();
      return true;
    }
    this.#passed = loss.to;
    this.#attempts.forgetLost(loss);
    session.consumer.lostPlace(loss);
    tellLoss(this.#ports, this.name, loss, this.document());
    this.#changed(true);
    return true;
  }

  /** The consumer answered nothing for too long: what it holds up was not taken, and another one may try. */
  #fellSilent(timeoutMs: number): void {
    const session = this.#session;
    const item = this.#window.sentFirst;
    if (session === null || item === undefined) return;
    const { seq } = item.event;
    const reason = `no acknowledgement within ${timeoutMs / 1_000} s`;
    this.#ports.warn(`the consumer of subscription ${this.name} is cut off`, `event ${seq}: ${reason}`);
    if (this.#attempts.failed(seq) === 'last') void this.#setAside(item, reason);
    session.consumer.end(`event ${seq}: ${reason}`);
    this.#leave(session.consumer);
    this.#changed(true);
  }

  #moved(soon: boolean): void {
    this.#changed(soon);
    this.#reader?.makeRoom();
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
      if (item.sentAs > 0 || this.#attempts.failures(seq) > 0) this.#redeliveries += 1;
      this.#window.markSent(item);
      this.#watch.sent();
      session.consumer.deliver(item.event, this.#attempts.failures(seq) + 1);
    }
    if (soonestMs < Number.POSITIVE_INFINITY) {
      this.#timer = this.#ports.clock.setTimer(() => this.#pump(), soonestMs);
    }
  }

  /** Tried until it is durable, or until the consumer has left: then the event is read again. Never rejects. */
  async #setAside(item: WindowItem, reason: string): Promise<void> {
    const { seq } = item.event;
    const window = this.#window;
    const { clock, warn } = this.#ports;
    item.state = 'settingAside';
    for (;;) {
      try {
        await this.deadLetters.add(item.event, this.#attempts.failures(seq), reason);
        break;
      } catch (error) {
        warn(`event ${seq} could not be set aside; that is tried again`, error);
      }
      if (window === this.#window) await clock.sleep(subscriptionReadRetryMs);
      if (window !== this.#window) return;
    }
    this.#attempts.forget(seq);
    window.remove(item);
    // The next consumer's, read before this was over.
    this.#window.removeQueued(seq);
    this.#moved(true);
  }
}
