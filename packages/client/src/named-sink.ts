/**
 * A sink that takes from a durable subscription. The server keeps its place, and moves it when the sink has taken an
 * event: at least once, in order, over lost connections and restarts of either side.
 */
import { type SubscriptionInfo, type SubscriptionRequest, VmError } from '@vmpulse/wire';
import { readSubscriptionInfo } from './answer.ts';
import { backoffMs } from './backoff.ts';
import {
  type AdviseOptions,
  type Connection,
  checkedAfter,
  connectSink,
  gapError,
  guarded,
  reportError,
} from './connection.ts';
import { pause } from './deadline.ts';
import { subscriptionPath } from './durable-subscriptions.ts';
import { isPassing } from './event-feed.ts';
import { readMessages } from './event-stream.ts';
import { Lease } from './lease.ts';
import type { Link } from './link.ts';
import { type AnySink, type Routes, type SinkFailure, attempt, dispatch, typesOf } from './sink.ts';
import type { Gap } from './subscription.ts';

type NamedSinkOptions = AdviseOptions & { readonly name: string; readonly vmId?: string };

/** Connects `sink`: under a name to the durable subscription, which is made where there is none. */
export function adviseSink<Sink extends AnySink>(
  link: Link,
  sink: Sink,
  routes: Routes<Sink>,
  options: AdviseOptions & { vmId?: string },
): Connection {
  const { name } = options;
  if (name === undefined) return connectSink(link, sink, routes, options);
  return new NamedSinkConnection(link, sink, routes, { ...options, name });
}

class NamedSinkConnection<Sink extends AnySink> implements Connection {
  readonly ready: Promise<void>;
  readonly closed: Promise<VmError | undefined>;
  readonly #link: Link;
  readonly #sink: Sink;
  readonly #routes: Routes<Sink>;
  readonly #options: NamedSinkOptions;
  readonly #stopping = new AbortController();
  readonly #after: number | undefined;
  #begun: () => void = () => undefined;
  #serverId: string | undefined;
  #seq: number | undefined;

  constructor(link: Link, sink: Sink, routes: Routes<Sink>, options: NamedSinkOptions) {
    this.#link = link;
    this.#sink = sink;
    this.#routes = routes;
    this.#options = options;
    this.#after = checkedAfter(options.after);
    this.ready = new Promise((resolve) => {
      this.#begun = resolve;
    });
    link.transport.holdChanges(this.ready);
    const stop = (): void => this.#stopping.abort();
    const disown = link.own(stop);
    if (link.closed || options.signal?.aborted === true) stop();
    options.signal?.addEventListener('abort', stop, { once: true });
    this.closed = this.#run().finally(() => {
      disown();
      this.#begun();
      options.signal?.removeEventListener('abort', stop);
    });
  }

  get seq(): number | undefined {
    return this.#seq;
  }

  unadvise(): Promise<void> {
    this.#stopping.abort();
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.unadvise();
  }

  /** Never rejects. */
  async #run(): Promise<VmError | undefined> {
    const { signal } = this.#stopping;
    const { timing, transport } = this.#link;
    for (let failures = 0; !signal.aborted; failures += 1) {
      let error = new VmError('VMPULSE_E_UNREACHABLE', `${transport.address} ended the event stream.`);
      try {
        await this.#define();
        this.#begun();
        await this.#serve(() => {
          failures = 0;
        });
      } catch (thrown) {
        error = VmError.from(thrown);
      }
      this.#begun();
      if (signal.aborted) break;
      if (!isPassing(error) && error.code !== 'VMPULSE_E_NOT_SERVED') {
        reportError(this.#options, error, {});
        return error;
      }
      guarded(() => this.#options.onConnectionChange?.(error));
      await pause(backoffMs(failures, timing), signal);
    }
    return undefined;
  }

  /**
   * Makes the subscription, or tells it what is wanted now. One that was deleted meanwhile is not made again, unless
   * the server's log is another one. Errors: VMPULSE_E_NOT_FOUND then.
   */
  async #define(): Promise<void> {
    const known = await this.#known();
    const isFirst = this.#serverId === undefined;
    if (isFirst || known === undefined) {
      const { id } = await this.#link.info({ signal: this.#stopping.signal });
      if (known === undefined && this.#serverId === id) {
        throw new VmError('VMPULSE_E_NOT_FOUND', `Subscription '${this.#options.name}' was deleted.`);
      }
      if (!isFirst && this.#serverId !== id) {
        await this.#tellGap({ reason: 'replaced', from: (this.#seq ?? 0) + 1, to: null });
      }
      this.#serverId = id;
    }
    const wanted = this.#wanted(known);
    if (known !== undefined && isSame(known, wanted)) return;
    const after = isFirst ? this.#after : 0;
    const from = after === undefined ? 'now' : after + 1;
    await this.#link.request('PUT', this.#path, {
      body: known === undefined ? { ...wanted, from } : wanted,
      signal: this.#stopping.signal,
      urgent: true,
    });
  }

  get #path(): string {
    return subscriptionPath(this.#options.name);
  }

  async #known(): Promise<SubscriptionInfo | undefined> {
    const { signal } = this.#stopping;
    try {
      return readSubscriptionInfo(await this.#link.request('GET', this.#path, { signal }));
    } catch (error) {
      if (error instanceof VmError && error.code === 'VMPULSE_E_NOT_FOUND') return undefined;
      throw error;
    }
  }

  /** The sink says which types it can take; what nobody says here stays as an operator set it. */
  #wanted(known: SubscriptionInfo | undefined): SubscriptionRequest {
    const { machines, verdicts, maxAttempts = known?.maxAttempts, vmId } = this.#options;
    const { ackTimeoutMs = known?.ackTimeoutMs } = this.#options;
    const types = typesOf(this.#sink, this.#routes);
    const named = vmId === undefined ? machines : [vmId];
    return {
      types: types === undefined || types.length === 0 ? (known?.types ?? null) : types,
      machines: named === undefined ? (known?.machines ?? null) : [...named],
      verdicts: verdicts === undefined ? (known?.verdicts ?? null) : [...verdicts],
      ...(maxAttempts === undefined ? {} : { maxAttempts }),
      ...(ackTimeoutMs === undefined ? {} : { ackTimeoutMs }),
    };
  }

  /** One connection, to its end. `onGood` is called with each event that was dealt with. */
  async #serve(onGood: () => void): Promise<void> {
    const ending = new AbortController();
    const { signal } = this.#stopping;
    let failure: unknown;
    const fail = (error: unknown): void => {
      failure ??= error;
      ending.abort();
    };
    const lease = new Lease(this.#link, this.#options.name, fail);
    // A sink that leaves lets the method that runs end, and acknowledges it, before the stream ends.
    let isOpen = false;
    const stop = (): void => {
      lease.close();
      if (!isOpen) ending.abort();
    };
    signal.addEventListener('abort', stop, { once: true });
    let work = Promise.resolve();
    const began = performance.now();
    try {
      const stream = await this.#link.transport.openStream(`${this.#path}/events`, ending.signal);
      isOpen = true;
      guarded(() => this.#options.onConnectionChange?.(undefined));
      work = this.#work(lease, onGood).then(() => ending.abort(), fail);
      await readMessages(stream, {
        idleTimeoutMs: this.#link.timing.idleTimeoutMs,
        signal: ending.signal,
        onMessage: (message) => lease.take(message),
      });
    } catch (error) {
      fail(error);
    } finally {
      signal.removeEventListener('abort', stop);
      lease.close();
      // No two methods of a sink run at once: one that runs is waited for before the next connection.
      await work;
      ending.abort();
      if (performance.now() - began > this.#link.timing.maxDelayMs) onGood();
    }
    if (failure !== undefined) throw VmError.from(failure);
  }

  async #work(lease: Lease, onGood: () => void): Promise<void> {
    for (;;) {
      const item = await lease.next();
      if (item === undefined) break;
      if ('loss' in item) {
        await this.#tellGap({ reason: 'expired', from: item.loss.from, to: item.loss.to });
        continue;
      }
      const { seq } = item.event;
      const failures: SinkFailure[] = [];
      await dispatch(this.#sink, this.#routes, item.event, (failure) => failures.push(failure));
      for (const { method, error } of failures) {
        reportError(this.#options, error, { method, event: item.event });
      }
      const [first] = failures;
      if (first === undefined) await lease.acknowledge(seq);
      else await lease.refuse(seq, first.error.message);
      this.#seq = lease.highest;
      onGood();
    }
    await lease.flush();
  }

  async #tellGap(gap: Gap): Promise<void> {
    const sink: AnySink = this.#sink;
    if (typeof sink.onGap !== 'function') {
      reportError(this.#options, gapError(gap), {});
      return;
    }
    await attempt(
      'onGap',
      undefined,
      () => sink.onGap?.(gap),
      ({ method, error }) => reportError(this.#options, error, { method }),
    );
  }
}

function isSame(known: SubscriptionInfo, wanted: SubscriptionRequest): boolean {
  return (
    haveSame(known.types, wanted.types) &&
    haveSame(known.machines, wanted.machines) &&
    haveSame(known.verdicts, wanted.verdicts) &&
    (wanted.maxAttempts ?? known.maxAttempts) === known.maxAttempts &&
    (wanted.ackTimeoutMs === undefined || wanted.ackTimeoutMs === known.ackTimeoutMs)
  );
}

function haveSame(one: readonly string[] | null, other: readonly string[] | null | undefined): boolean {
  if (one === null || other === null || other === undefined) return one === (other ?? null);
  const words = new Set(one);
  return other.length === words.size && other.every((word) => words.has(word));
}
