/** A sink that is connected: `advise` makes one, `unadvise` ends it. */
import { type EventVerdict, VmError, type VmEvent } from '@vmpulse/wire';
import type { Link } from './link.ts';
import { type Routes, type SinkFailure, type SinkResult, attempt, dispatch, typesOf } from './sink.ts';
import { type Gap, Subscription } from './subscription.ts';

/** What went wrong at a sink: its own method failed (`method`, `event`), or it cannot be served any more. */
export interface SinkErrorContext {
  /** The sink's method that failed. */
  readonly method?: string;
  readonly event?: VmEvent;
}

/** How to connect a sink. */
export interface AdviseOptions {
  /** Begin after this seq instead of now: events from then on that the server still keeps come first. */
  after?: number;
  /** Disconnects the sink when it aborts. */
  signal?: AbortSignal;
  /**
   * A sink's method threw, rejected or answered a failure code; a gap was met and the sink has no `onGap`
   * (VMPULSE_E_CURSOR_EXPIRED); or the server refuses the sink for good. Default: `console.error`.
   */
  onError?: (error: VmError, context: SinkErrorContext) => void;
  /** The event stream was lost (`error` says why; it is opened again by itself) or is up (undefined). */
  onConnectionChange?: (error: VmError | undefined) => void;
  /**
   * Makes it a durable subscription of this name, whose place the server keeps: what is told while nobody is connected
   * comes later. Success acknowledges an event; a failure code, an exception or a rejected promise says "not taken":
   * it comes again, until it is set aside as a dead letter. Of several sinks of one name one is served, and the next
   * takes over. `after` counts only when the subscription is made.
   */
  name?: string;
  /** Of a named sink: names or ids of machines. Default: as the subscription is. */
  machines?: readonly string[];
  /** Of a named sink: of the events that carry a verdict only those with one of these. */
  verdicts?: readonly EventVerdict[];
  /** Of a named sink: how often an event is tried before it is set aside; default 10. */
  maxAttempts?: number;
  /**
   * Of a named sink: how long a method may take, ms; default 60,000; null: as long as it likes. Then the event counts
   * as not taken, and another sink of the name is served.
   */
  ackTimeoutMs?: number | null;
}

/** A connected sink. */
export interface Connection {
  /**
   * Resolves when the beginning is fixed: what the server commits from then on is delivered. So is, without waiting
   * for it, whatever this VirtualServer object is asked to do after advise(): its requests wait for the beginning.
   */
  readonly ready: Promise<void>;
  /** Resolves when no method runs any more and none will; with the error when the server refuses to go on. */
  readonly closed: Promise<VmError | undefined>;
  /** Seq up to which the sink has been told everything: `after` for a later advise. Undefined before `ready`. */
  readonly seq: number | undefined;
  /** No method is begun after this call. One that runs goes on; `closed` waits for it. */
  unadvise(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** The two kinds of sinks have these in common. */
interface AnySink {
  onEvent?(event: VmEvent): SinkResult;
  onGap?(gap: Gap): SinkResult;
}

/** Connects `sink`: one subscription, one loop that tells it one event at a time. */
export function connectSink<Sink extends AnySink>(
  link: Link,
  sink: Sink,
  routes: Routes<Sink>,
  options: AdviseOptions & { vmId?: string },
): Connection {
  return new SinkConnection(link, sink, routes, options);
}

class SinkConnection<Sink extends AnySink> implements Connection {
  readonly ready: Promise<void>;
  readonly closed: Promise<VmError | undefined>;
  readonly #sink: Sink;
  readonly #routes: Routes<Sink>;
  readonly #options: AdviseOptions;
  readonly #subscription: Subscription;
  #told: number | undefined;
  #busy = false;

  constructor(link: Link, sink: Sink, routes: Routes<Sink>, options: AdviseOptions & { vmId?: string }) {
    this.#sink = sink;
    this.#routes = routes;
    this.#options = options;
    this.#subscription = new Subscription(link, {
      after: checkedAfter(options.after),
      vmId: options.vmId,
      types: typesOf(sink, routes),
      onConnectionChange: (error) => {
        guarded(() => options.onConnectionChange?.(error));
      },
    });
    this.ready = this.#subscription.ready;
    const unadvise = (): void => this.#subscription.close();
    if (options.signal?.aborted === true) unadvise();
    options.signal?.addEventListener('abort', unadvise, { once: true });
    this.closed = this.#run().finally(() => options.signal?.removeEventListener('abort', unadvise));
  }

  get seq(): number | undefined {
    return this.#busy || !this.#subscription.drained ? this.#told : this.#subscription.cursor;
  }

  unadvise(): Promise<void> {
    this.#subscription.close();
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.unadvise();
  }

  /** Never rejects. */
  async #run(): Promise<VmError | undefined> {
    const fail = (failure: SinkFailure): void => this.#failed(failure);
    for (;;) {
      const item = await this.#subscription.next();
      if (item === undefined) break;
      this.#busy = true;
      if ('event' in item) {
        this.#told ??= item.event.seq - 1;
        await dispatch(this.#sink, this.#routes, item.event, fail);
        this.#told = item.event.seq;
      } else {
        await this.#tellGap(item.gap, fail);
      }
      this.#busy = false;
    }
    const { error } = this.#subscription;
    if (error !== undefined) this.#report(error, {});
    return error;
  }

  async #tellGap(gap: Gap, fail: (failure: SinkFailure) => void): Promise<void> {
    const sink: AnySink = this.#sink;
    if (typeof sink.onGap === 'function') {
      await attempt('onGap', undefined, () => sink.onGap?.(gap), fail);
    } else {
      this.#report(gapError(gap), {});
    }
    this.#told = gap.to ?? 0;
  }

  #failed({ method, event, error }: SinkFailure): void {
    this.#report(error, event === undefined ? { method } : { method, event });
  }

  #report(error: VmError, context: SinkErrorContext): void {
    reportError(this.#options, error, context);
  }
}

/** Tells the sink's owner. */
export function reportError({ onError }: AdviseOptions, error: VmError, context: SinkErrorContext): void {
  if (onError === undefined) complain(error);
  else guarded(() => onError(error, context));
}

/** A callback of the user's that fails must not end the loop of the sink. */
export function guarded(call: () => unknown): void {
  try {
    const result = call();
    if (result instanceof Promise) result.catch(complain);
  } catch (error) {
    complain(error);
  }
}

/** The last resort: nobody asked to be told, and silence would hide it. */
function complain(error: unknown): void {
  console.error('vmpulse client:', error);
}

/** A gap as an error, for whoever has no other way to be told. */
export function gapError(gap: Gap): VmError {
  const what =
    gap.reason === 'expired'
      ? `Events ${gap.from} to ${gap.to ?? '?'} are no longer kept by the server`
      : `The server's event log is another one than before; events after ${gap.from - 1} of the old one are lost`;
  return new VmError(
    'VMPULSE_E_CURSOR_EXPIRED',
    `${what}. Read the machines' present state and go on from there.`,
  );
}

/** Errors: E_INVALIDARG for what is no seq. */
export function checkedAfter(after: number | undefined): number | undefined {
  if (after === undefined || (Number.isSafeInteger(after) && after >= 0)) return after;
  throw new VmError('E_INVALIDARG', `after is ${after}; it must be the seq of an event, or 0 for all.`);
}
