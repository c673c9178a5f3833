/** Durable subscriptions over HTTP: made, listed, taken from, and their dead letters. */
import { VmError } from '@vmpulse/wire';
import type { SubscriptionAck, SubscriptionNack, SubscriptionRequest } from '@vmpulse/wire';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { checkAck, checkNack } from '../delivery/subscription-request.ts';
import { bodyObject, requireNoBody } from './body.ts';
import { ConsumerConnection } from './consumer-connection.ts';
import { FrameCache } from './event-frame.ts';
import { parseSeq } from './event-query.ts';
import { describeRoute, jsonAnswer } from './openapi.ts';
import { type HttpServerOptions, answer } from './server-options.ts';

interface Named {
  Params: { name: string };
}

interface Letter {
  Params: { name: string; seq: string };
}

const name = { type: 'string', description: "The subscription's name." };
const named = { type: 'object', properties: { name }, required: ['name'] };
const ofLetter = {
  type: 'object',
  properties: { name, seq: { type: 'integer', minimum: 1, description: 'seq of the event.' } },
  required: ['name', 'seq'],
};
const path = '/v1/subscriptions/:name';
const done = (description: string): object => ({ 204: { description, type: 'null' } });

/** The routes of one server, and the consumers that are connected. */
export class SubscriptionRoutes {
  readonly #options: HttpServerOptions;
  readonly #frames = new FrameCache();
  readonly #connections = new Set<ConsumerConnection>();
  #closing = false;

  constructor(options: HttpServerOptions) {
    this.#options = options;
  }

  register(app: FastifyInstance): void {
    this.#registerDefinitions(app);
    this.#registerTaking(app);
    this.#registerLetters(app);
  }

  /** Ends every stream; consumers connect again elsewhere or later. */
  close(): void {
    this.#closing = true;
    for (const connection of this.#connections) connection.end('the server is stopping');
  }

  #registerDefinitions(app: FastifyInstance): void {
    const { subscriptions, clock } = this.#options;
    app.get(
      '/v1/subscriptions',
      {
        schema: describeRoute('listSubscriptions', 'Every subscription', {
          response: { 200: jsonAnswer('By name.', 'SubscriptionList') },
        }),
      },
      async () => ({ subscriptions: await answer(clock, subscriptions.list()) }),
    );
    app.get<Named>(
      path,
      {
        schema: describeRoute('getSubscription', 'A subscription', {
          params: named,
          response: { 200: jsonAnswer('How it stands.', 'SubscriptionInfo') },
        }),
      },
      (request) => answer(clock, subscriptions.find(request.params.name).info()),
    );
    app.put<Named>(
      path,
      { schema: describeRoute('putSubscription', 'Make or change a subscription', putSchema) },
      async (request, reply) => {
        const asked = bodyObject(request) as SubscriptionRequest;
        return reply.send(await answer(clock, subscriptions.put(request.params.name, asked)));
      },
    );
    app.delete<Named>(
      path,
      {
        schema: describeRoute('deleteSubscription', 'Delete a subscription and its dead letters', {
          params: named,
          response: done('It is gone, and its consumers were told.'),
        }),
      },
      async (request, reply) => {
        requireNoBody(request);
        await answer(clock, subscriptions.delete(request.params.name));
        return reply.code(204).send();
      },
    );
  }

  #registerTaking(app: FastifyInstance): void {
    const { subscriptions, clock } = this.#options;
    app.get<Named>(
      `${path}/events`,
      { schema: describeRoute('takeEvents', "Take a subscription's events", takeSchema) },
      async (request, reply) => this.#stream(request, reply),
    );
    app.post<Named>(
      `${path}/ack`,
      { schema: describeRoute('acknowledgeEvents', 'Say that events were taken', ackSchema) },
      async (request, reply) => {
        const ack = checkAck(bodyObject(request) as unknown as SubscriptionAck);
        await answer(clock, subscriptions.find(request.params.name).acknowledge(ack));
        return reply.code(204).send();
      },
    );
    app.post<Named>(
      `${path}/nack`,
      { schema: describeRoute('refuseEvent', 'Say that an event was not taken', nackSchema) },
      async (request, reply) => {
        const nack = checkNack(bodyObject(request) as unknown as SubscriptionNack);
        subscriptions.find(request.params.name).refuse(nack);
        return reply.code(204).send();
      },
    );
  }

  #registerLetters(app: FastifyInstance): void {
    const { subscriptions, clock } = this.#options;
    app.get<Named>(
      `${path}/dead-letters`,
      {
        schema: describeRoute('listDeadLetters', 'Events of a subscription that were set aside', {
          params: named,
          response: { 200: jsonAnswer('The oldest first.', 'DeadLetterList') },
        }),
      },
      async (request) => ({ deadLetters: subscriptions.find(request.params.name).deadLetters.list() }),
    );
    app.post<Letter>(
      `${path}/dead-letters/:seq/replay`,
      { schema: describeRoute('replayDeadLetter', 'Deliver a dead letter once more', replaySchema) },
      async (request, reply) => {
        requireNoBody(request);
        const subscription = subscriptions.find(request.params.name);
        await answer(clock, subscription.replay(parseSeq(request.params.seq, 'seq')));
        return reply.code(204).send();
      },
    );
    app.delete<Letter>(
      `${path}/dead-letters/:seq`,
      {
        schema: describeRoute('dropDeadLetter', 'Drop a dead letter', {
          params: ofLetter,
          response: done('It is gone.'),
        }),
      },
      async (request, reply) => {
        requireNoBody(request);
        const subscription = subscriptions.find(request.params.name);
        await answer(clock, subscription.drop(parseSeq(request.params.seq, 'seq')));
        return reply.code(204).send();
      },
    );
  }

  #stream(request: FastifyRequest<Named>, reply: FastifyReply): FastifyReply {
    const { subscriptions, clock, metrics } = this.#options;
    const subscription = subscriptions.find(request.params.name);
    if (this.#closing) {
      throw new VmError('VM_E_APP_SHUTTING_DOWN', 'The server is stopping; connect again later.');
    }
    // While there still is a status to say it with.
    subscription.requirePlace();
    reply.hijack();
    const response = reply.raw;
    if (response.destroyed) return reply;
    request.raw.socket.setTimeout(0);
    request.raw.socket.setKeepAlive(true, 30_000);
    response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      connection: 'close',
      'x-accel-buffering': 'no',
    });
    if (request.method === 'HEAD') {
      response.end();
      return reply;
    }
    const connection = new ConsumerConnection(response, { clock, metrics, frames: this.#frames });
    this.#connections.add(connection);
    metrics.streamOpened();
    connection.begin();
    const leave = subscription.connect(connection);
    response.once('close', () => {
      leave();
      this.#connections.delete(connection);
      metrics.streamClosed();
    });
    return reply;
  }
}

const putSchema = {
  description:
    'Where it exists, its filter is replaced and its cursor stays: `from` counts only when it is made. A new ' +
    'filter concerns what is read from now on.',
  params: named,
  body: { $ref: 'SubscriptionRequest#' },
  response: { 200: jsonAnswer('Made, or changed, and durable.', 'SubscriptionInfo') },
};

const takeSchema = {
  description:
    'Server-sent events. One consumer at a time is served: its stream says `lease`, with which it acknowledges; ' +
    'others wait, and take over when it leaves. Events follow from the cursor on, at least once, in order; only so ' +
    'many are in flight unacknowledged. A consumer that answers nothing for `ackTimeoutMs` is cut off. After a ' +
    'nack `rewind` says that what was sent from that event on is sent again. ' +
    '`lostPlace` says that events were missed, because they are no longer kept.',
  params: named,
  response: {
    200: { description: 'A stream.', content: { 'text/event-stream': { schema: { type: 'string' } } } },
  },
};

const ackSchema = {
  description:
    'All events up to `seq` are done with; of a replayed dead letter only that one. 409 with VMPULSE_E_NOT_SERVED ' +
    'under a lease that is over, or for an event that is not in flight.',
  params: named,
  body: { $ref: 'SubscriptionAck#' },
  response: done('Taken note of; written within 100 ms. What a crash forgets is delivered again.'),
};

const nackSchema = {
  description:
    'It is delivered again after a pause that grows, and after the last attempt set aside as a dead letter; the rest ' +
    'goes on.',
  params: named,
  body: { $ref: 'SubscriptionNack#' },
  response: done('Taken note of.'),
};

const replaySchema = {
  description: 'With fresh attempts, as soon as a consumer is served. Acknowledged, it is gone.',
  params: ofLetter,
  response: done('It will be.'),
};
