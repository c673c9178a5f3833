/**
 * One reader's way through the event log: a cursor, a bounded queue, and the rule by which it is live or behind (see
 * event-feed.ts). Pull-based: whoever reads takes one item at a time and decides the pace.
 */
import { type EventType, VmError, type VmEvent, eventTypeOf } from '@vmpulse/wire';
import { backoffMs } from './backoff.ts';
import { pause } from './deadline.ts';
import { type FeedReader, isPassing } from './event-feed.ts';
import { eventPageSize, maxQueuedEvents } from './limits.ts';
import type { Link } from './link.ts';

/** Events that a reader cannot get any more. */
export interface Gap {
  /** `expired`: the server no longer keeps them. `replaced`: the server's log is another one than before. */
  readonly reason: 'expired' | 'replaced';
  /** First seq missed. */
  readonly from: number;
  /** Last seq missed; null when nobody can know. */
  readonly to: number | null;
}

/** What a reader gets, in order. */
export type FeedItem = { readonly event: VmEvent } | { readonly gap: Gap };

/** Which events, and from where. */
export interface SubscriptionOptions {
  /** Only events with a greater seq; default: those from now on. */
  readonly after?: number | undefined;
  /** Id of the one machine wanted. */
  readonly vmId?: string | undefined;
  readonly types?: readonly EventType[] | undefined;
  readonly onConnectionChange?: ((error: VmError | undefined) => void) | undefined;
}

/** See the head of this file. */
export class Subscription implements FeedReader {
  /** Resolves when the cursor is known (or it was closed before): what is committed from then on will be delivered. */
  readonly ready: Promise<void>;
  readonly #link: Link;
  readonly #options: SubscriptionOptions;
  readonly #types: ReadonlySet<EventType> | undefined;
  readonly #closing = new AbortController();
  readonly #disown: () => void;
  #queue: FeedItem[] = [];
  #cursor: number | undefined;
  #serverId: string | undefined;
  #live = false;
  #waited = false;
  /** Counts restarts: a page asked for before one is of the other log. */
  #epoch = 0;
  #failures = 0;
  /** False once the server said that it does not know the machine (any more) or a type: then it is filtered here. */
  #serverFilters = true;
  #error: VmError | undefined;
  #wakeUp: (() => void) | undefined;

  constructor(link: Link, options: SubscriptionOptions) {
    this.#link = link;
    this.#options = options;
    this.#types = options.types === undefined ? undefined : new Set(options.types);
    this.#serverId = link.identity?.id;
    this.#disown = link.own(this.close);
    if (link.closed) this.close();
    this.ready = this.#start();
    link.transport.holdChanges(this.ready);
  }

  get serverId(): string | undefined {
    return this.#serverId;
  }

  get cursor(): number | undefined {
    return this.#cursor;
  }

  /** Why it ended by itself. */
  get error(): VmError | undefined {
    return this.#error;
  }

  /** True while nothing is queued: the cursor is then all that was delivered. */
  get drained(): boolean {
    return this.#queue.length === 0;
  }

  /** The next item, or undefined after close() or a failure. One call at a time. */
  async next(): Promise<FeedItem | undefined> {
    for (;;) {
      const item = this.#queue.shift();
      if (item !== undefined) return item;
      if (this.#closing.signal.aborted) return undefined;
      if (this.#cursor !== undefined && !this.#live) await this.#catchUp(this.#cursor);
      else await this.#woken();
    }
  }

  /** Ends it; what is queued is dropped, and the cursor says so. */
  readonly close = (): void => {
    const [first] = this.#queue;
    if (first !== undefined && 'event' in first) this.#cursor = first.event.seq - 1;
    this.#queue = [];
    this.#end();
  };

  fail(error: VmError): void {
    this.#error ??= error;
    this.#end();
  }

  offer(event: VmEvent): void {
    if (!this.#live || this.#cursor === undefined || event.seq <= this.#cursor) return;
    if (this.#wants(event)) {
      if (this.#queue.length >= maxQueuedEvents) {
        this.#live = false;
        return;
      }
      this.#queue.push({ event });
      this.wake();
    }
    this.#cursor = event.seq;
  }

  fallBehind(seq: number): void {
    if (this.#cursor === undefined || this.#cursor < seq) this.#live = false;
  }

  restart(serverId: string): void {
    this.#beginAnew({ reason: 'replaced', from: (this.#cursor ?? 0) + 1, to: null }, 0);
    this.#serverId = serverId;
  }

  wake(): void {
    this.#wakeUp?.();
  }

  connectionChanged(error: VmError | undefined): void {
    this.#options.onConnectionChange?.(error);
  }

  /**
   * The first cursor. While the stream is open it is the feed's position, at once; else the server is asked. When it
   * cannot be asked, the last seq this client knew: events of before may come then, but none of after is missed.
   */
  async #start(): Promise<void> {
    const { after } = this.#options;
    const known = this.#link.identity;
    const { feed } = this.#link;
    if (after === undefined && feed.connected && feed.position !== undefined) {
      this.#cursor = feed.position;
    } else {
      try {
        const info = await this.#link.info({ signal: this.#closing.signal });
        const foreign =
          after !== undefined && (after > info.seq || (known !== undefined && known.id !== info.id));
        if (foreign) this.#beginAnew({ reason: 'replaced', from: after + 1, to: null }, 0);
        else this.#cursor = after ?? info.seq;
        this.#serverId = info.id;
      } catch (thrown) {
        const error = VmError.from(thrown);
        if (!isPassing(error)) this.fail(error);
        this.#cursor = after ?? known?.seq ?? 0;
      }
    }
    if (this.#closing.signal.aborted) return;
    feed.add(this);
    this.wake();
  }

  #end(): void {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    this.#disown();
    this.#link.feed.remove(this);
    this.wake();
  }

  #beginAnew(gap: Gap, cursor: number): void {
    this.#queue.push({ gap });
    this.#cursor = cursor;
    this.#live = false;
    this.#epoch += 1;
    this.wake();
  }

  #wants(event: VmEvent): boolean {
    if (this.#options.vmId !== undefined && event.data.vm?.id !== this.#options.vmId) return false;
    return this.#types === undefined || this.#types.has(eventTypeOf(event));
  }

  /** Resolves at the next wake(), at the latest after `atMostMs`. */
  async #woken(atMostMs?: number): Promise<void> {
    const controller = new AbortController();
    const woken = new Promise<void>((resolve) => {
      this.#wakeUp = () => {
        controller.abort();
        resolve();
      };
    });
    await (atMostMs === undefined ? woken : pause(atMostMs, controller.signal));
    this.#wakeUp = undefined;
  }

  async #catchUp(cursor: number): Promise<void> {
    const { position } = this.#link.feed;
    if (position === undefined && !this.#waited) {
      // The feed is asking the server already; mostly its position turns out to be where this reader is.
      this.#waited = true;
      await this.#woken(this.#link.timing.minDelayMs);
    } else if (position !== undefined && cursor >= position) {
      this.#live = true;
    } else {
      await this.#readPage(cursor);
    }
  }

  async #readPage(after: number): Promise<void> {
    const epoch = this.#epoch;
    const query = {
      after,
      limit: eventPageSize,
      vm: this.#serverFilters ? this.#options.vmId : undefined,
      types: this.#serverFilters ? this.#options.types : undefined,
    };
    let page;
    try {
      page = await this.#link.page(query, { signal: this.#closing.signal });
    } catch (thrown) {
      await this.#pageFailed(VmError.from(thrown), after, epoch);
      return;
    }
    this.#failures = 0;
    if (epoch !== this.#epoch || this.#closing.signal.aborted) return;
    for (const event of page.events) if (this.#wants(event)) this.#queue.push({ event });
    this.#cursor = page.next;
    const { position } = this.#link.feed;
    if (position !== undefined && page.next >= position) this.#live = true;
    else if (page.next === after) await this.#woken(this.#link.timing.minDelayMs);
  }

  async #pageFailed(error: VmError, after: number, epoch: number): Promise<void> {
    if (this.#closing.signal.aborted || epoch !== this.#epoch) return;
    if (
      this.#serverFilters &&
      (error.code === 'VM_E_VM_UNKNOWN' || error.code === 'VMPULSE_E_REQUEST_INVALID')
    ) {
      this.#serverFilters = false;
      return;
    }
    if (error.code === 'VMPULSE_E_CURSOR_EXPIRED') {
      const oldest = await this.#oldestSeq();
      if (epoch !== this.#epoch) return;
      if (oldest !== undefined && oldest - 1 > after) {
        this.#beginAnew({ reason: 'expired', from: after + 1, to: oldest - 1 }, oldest - 1);
        return;
      }
    } else if (!isPassing(error)) {
      this.fail(error);
      return;
    }
    const delayMs = backoffMs(this.#failures, this.#link.timing);
    this.#failures += 1;
    await this.#woken(delayMs);
  }

  async #oldestSeq(): Promise<number | undefined> {
    try {
      return (await this.#link.info({ signal: this.#closing.signal })).oldestSeq;
    } catch {
      // The page is asked for again after a pause; a lasting failure comes out there.
      return undefined;
    }
  }
}
