/** The event log over HTTP: pages of JSON, and streams of server-sent events. */
import { VmError } from '@vmpulse/wire';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type StreamFilter, openStream } from '../event/outbox.ts';
import { maxStreams, streamPageEvents, streamRetryAfterSeconds } from '../limits.ts';
import { FrameCache } from './event-frame.ts';
import {
  type EventRequest,
  type RawQuery,
  parseEventQuery,
  parseSeq,
  wantsEventStream,
} from './event-query.ts';
import { StreamConnection, remarkOf } from './stream-connection.ts';
import { describeRoute } from './openapi.ts';
import { type HttpServerOptions, answer } from './server-options.ts';

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** The event routes of one server, and the streams that are open on them. */
export class EventRoutes {
  readonly #options: HttpServerOptions;
  readonly #frames = new FrameCache();
  readonly #streams = new Set<StreamConnection>();
  #closing = false;

  constructor(options: HttpServerOptions) {
    this.#options = options;
  }

  register(app: FastifyInstance): void {
    app.get<{ Querystring: RawQuery }>('/v1/events', { schema: eventsSchema }, async (request, reply) => {
      const asked = parseEventQuery(request.query);
      const filter = this.#filter(asked);
      const streaming = request.method === 'GET' && wantsEventStream(request.headers.accept);
      if (streaming) return this.#stream(request, reply, asked, filter);
      return this.#page(asked, filter);
    });
  }

  /** Ends every stream; readers resume elsewhere or later. New ones are refused from here on. */
  close(): void {
    this.#closing = true;
    for (const stream of this.#streams) stream.end('the server is stopping');
  }

  /** A name is that of a machine there is; a UUID may be that of a deleted one. Errors: VM_E_VM_UNKNOWN. */
  #filter({ vm, types }: EventRequest): StreamFilter {
    return {
      ...(vm === undefined ? {} : { vmId: this.#vmId(vm) }),
      ...(types === undefined ? {} : { types }),
    };
  }

  #vmId(vm: string): string {
    try {
      return this.#options.service.get(vm).id;
    } catch (error) {
      if (error instanceof VmError && error.code === 'VM_E_VM_UNKNOWN' && uuid.test(vm))
        return vm.toLowerCase();
      throw error;
    }
  }

  async #page(asked: EventRequest, filter: StreamFilter): Promise<object> {
    const { log, clock } = this.#options;
    const state = log.state();
    const after = asked.after ?? Math.max(state.oldestSeq - 1, 0);
    return answer(clock, log.read({ ...filter, after, limit: asked.limit }));
  }

  async #stream(
    request: FastifyRequest,
    reply: FastifyReply,
    asked: EventRequest,
    filter: StreamFilter,
  ): Promise<FastifyReply> {
    const { log, clock, logger } = this.#options;
    // A browser reconnects with the address it began with: what it saw last is newer than what it asked for then.
    const lastEventId = request.headers['last-event-id'];
    const resumed = typeof lastEventId === 'string' && lastEventId !== '' ? lastEventId : undefined;
    const asOf = resumed === undefined ? asked.after : parseSeq(resumed, 'last-event-id');
    const after = asOf ?? log.state().lastSeq;
    // Where the cursor has expired, this says so while there still is a status to say it with.
    await answer(clock, log.read({ after, limit: 1 }));
    // Gone while it was looked up: `close` will not come again.
    if (reply.raw.destroyed) return reply.hijack();
    const stream = this.#open(request, reply);
    const { signal } = stream;
    const events = openStream(log, { after, filter, signal, maxBuffered: streamPageEvents });
    stream.run(events, log.state().lastSeq).catch((error: unknown) => {
      const expired = error instanceof VmError && error.code === 'VMPULSE_E_CURSOR_EXPIRED';
      if (!expired) logger.warn({ err: error }, 'an event stream failed');
      stream.end(remarkOf(error));
    });
    return reply;
  }

  #open(request: FastifyRequest, reply: FastifyReply): StreamConnection {
    const { metrics } = this.#options;
    if (this.#closing)
      throw new VmError('VM_E_APP_SHUTTING_DOWN', 'The server is stopping; connect again later.');
    if (this.#streams.size >= maxStreams) {
      metrics.streamRefused();
      reply.header('retry-after', streamRetryAfterSeconds);
      throw new VmError(
        'VMPULSE_E_TOO_MANY_STREAMS',
        `${maxStreams} event streams are open, which is the bound; close some, or fetch pages of events instead.`,
      );
    }
    reply.hijack();
    const response = reply.raw;
    // A stream may be silent for longer than a connection may otherwise; dead peers are found by its heartbeat.
    request.raw.socket.setTimeout(0);
    request.raw.socket.setKeepAlive(true, 30_000);
    const stream = new StreamConnection(response, {
      clock: this.#options.clock,
      metrics,
      frames: this.#frames,
    });
    this.#streams.add(stream);
    metrics.streamOpened();
    response.once('close', () => {
      this.#streams.delete(stream);
      metrics.streamClosed();
    });
    response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      // The connection lost its idle bound: it ends with its stream.
      connection: 'close',
      // Reverse proxies gather what they pass on unless told otherwise.
      'x-accel-buffering': 'no',
    });
    return stream;
  }
}

const eventsSchema = describeRoute('readEvents', 'Events, as a page or as a stream', {
  description:
    'With `Accept: text/event-stream` a stream of server-sent events: `id` is the seq, `event` the type without its ' +
    'prefix, `data` the event. It begins after `Last-Event-ID` or, without it, `after`, or, without both, now. A ' +
    'message with an `id` and no data moves the cursor only. Otherwise a page, by default from the oldest event kept.',
  querystring: {
    type: 'object',
    properties: {
      after: { type: 'integer', minimum: 0, description: 'Only events with a greater seq.' },
      limit: { type: 'integer', minimum: 1, maximum: 1000, default: 100, description: 'Of a page.' },
      vm: { type: 'string', description: 'Name or UUID of a machine; the UUID also of a deleted one.' },
      type: {
        type: 'array',
        items: { type: 'string' },
        description: 'Types, with or without `io.vmpulse.`, repeated or with commas between.',
      },
    },
  },
  headers: {
    type: 'object',
    properties: { 'last-event-id': { type: 'string', description: 'seq a stream goes on after.' } },
  },
  response: {
    200: {
      description: 'A page, or a stream.',
      content: {
        'application/json': { schema: { $ref: 'EventPage#' } },
        'text/event-stream': { schema: { type: 'string' } },
      },
    },
  },
});
