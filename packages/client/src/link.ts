/** One server as its objects share it: requests, who the server is, and the feed of its events. */
import type { EventPage, EventType, ServerInfo, VmEvent } from '@vmpulse/wire';
import { readEventPage, readServerInfo } from './answer.ts';
import type { BackoffBounds } from './backoff.ts';
import { EventFeed } from './event-feed.ts';
import type { RequestOptions, Transport } from './transport.ts';

/** Which events of the log. */
export interface PageQuery {
  readonly after: number;
  readonly limit: number;
  /** Name or id of a machine. */
  readonly vm?: string | undefined;
  /** None named: all types. */
  readonly types?: readonly EventType[] | undefined;
}

/** Who the server was when last asked. */
export interface Identity {
  readonly id: string;
  /** Its newest event then. */
  readonly seq: number;
}

/** How the feed behaves. */
export interface FeedTiming extends BackoffBounds {
  /** Without a byte for this long the stream counts as dead, ms. */
  readonly idleTimeoutMs: number;
}

/** Shared by a VirtualServer and all that came from it. */
export class Link {
  readonly transport: Transport;
  readonly timing: FeedTiming;
  readonly feed: EventFeed;
  /** What ends when this does. */
  readonly #owned = new Set<() => void>();
  #closed = false;
  #identity: Identity | undefined;

  constructor(transport: Transport, timing: FeedTiming, onClose: () => void) {
    this.transport = transport;
    this.timing = timing;
    this.#owned.add(onClose);
    this.feed = new EventFeed(this);
  }

  /** Undefined before the first answer. */
  get identity(): Identity | undefined {
    return this.#identity;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** `end` is called at close(). Returns the way to take it back. */
  own(end: () => void): () => void {
    this.#owned.add(end);
    return () => {
      this.#owned.delete(end);
    };
  }

  close(): void {
    this.#closed = true;
    this.transport.close();
    for (const end of this.#owned) end();
    this.#owned.clear();
  }

  /** A request of this server; errors are those of Transport.request, E_ABORT after close(). */
  request(
    method: string,
    path: string,
    options: RequestOptions & { body?: unknown; urgent?: boolean } = {},
  ): Promise<unknown> {
    return this.transport.request(method, path, options);
  }

  /** GET /v1/server, remembering who answered. */
  async info(options: RequestOptions = {}): Promise<ServerInfo> {
    const info = readServerInfo(await this.request('GET', '/v1/server', options));
    this.#identity = { id: info.id, seq: info.seq };
    return info;
  }

  /** One page of the log. Errors: VMPULSE_E_CURSOR_EXPIRED, VM_E_VM_UNKNOWN for an unknown `vm`. */
  async page(query: PageQuery, options: RequestOptions = {}): Promise<EventPage<VmEvent>> {
    const search = new URLSearchParams({ after: String(query.after), limit: String(query.limit) });
    if (query.vm !== undefined) search.set('vm', query.vm);
    if (query.types !== undefined && query.types.length > 0) search.set('type', query.types.join(','));
    return readEventPage(await this.request('GET', `/v1/events?${search.toString()}`, options), query.after);
  }
}
