/** Webhooks over HTTP. */
import { VmError } from '@vmpulse/wire';
import type { FastifyInstance } from 'fastify';
import type { WebhookService } from '../delivery/hook-service.ts';
import { bodyObject, requireNoBody } from './body.ts';
import { describeRoute, jsonAnswer } from './openapi.ts';
import { type HttpServerOptions, answer } from './server-options.ts';

interface OfName {
  Params: { name: string };
}
interface OfLetter {
  Params: { name: string; seq: string };
}

const one = '/v1/webhooks/:name';
const ofName = {
  type: 'object',
  properties: { name: { type: 'string', description: 'Name of the webhook, in any case.' } },
  required: ['name'],
};
const ofLetter = {
  type: 'object',
  properties: { ...ofName.properties, seq: { type: 'string', description: 'seq of the event.' } },
  required: ['name', 'seq'],
};
const webhook = { 200: jsonAnswer('The webhook.', 'WebhookInfo') };
const withSecret = (description: string): object => ({
  description,
  content: {
    'application/json': {
      schema: { allOf: [{ $ref: 'WebhookInfo#' }, { $ref: 'WebhookSecret#' }] },
    },
  },
});
const count = { 200: jsonAnswer('How many.', 'WebhookDeadLetterCount') };

/** Errors: VMPULSE_E_REQUEST_INVALID. */
function seqOf(text: string): number {
  if (/^[1-9]\d{0,15}$/u.test(text)) return Number(text);
  throw new VmError(
    'VMPULSE_E_REQUEST_INVALID',
    `${JSON.stringify(text.slice(0, 40))} is no seq of an event.`,
  );
}

/** Registers what concerns webhooks. */
export function registerWebhookRoutes(app: FastifyInstance, options: HttpServerOptions): void {
  registerWebhooks(app, options);
  registerActions(app, options);
  registerDeadLetters(app, options);
}

function registerWebhooks(app: FastifyInstance, { webhooks, clock }: HttpServerOptions): void {
  app.get(
    '/v1/webhooks',
    {
      schema: describeRoute('listWebhooks', 'Every webhook', {
        response: { 200: jsonAnswer('By name.', 'WebhookList') },
      }),
    },
    async () => ({ webhooks: webhooks.list() }),
  );
  app.post(
    '/v1/webhooks',
    {
      schema: describeRoute('createWebhook', 'Create a webhook', {
        description:
          'Events are posted to it as CloudEvents by the Standard Webhooks specification, in order and at least ' +
          'once. The secret is told in this answer and never again.',
        body: { $ref: 'WebhookRequest#' },
        response: { 201: withSecret('The webhook, and its secret.') },
      }),
    },
    async (request, reply) => {
      const created = await answer(clock, webhooks.create(bodyObject(request)));
      reply.header('location', `/v1/webhooks/${created.name}`);
      return reply.code(201).send(created);
    },
  );
  app.get<OfName>(
    one,
    { schema: describeRoute('getWebhook', 'A webhook', { params: ofName, response: webhook }) },
    async ({ params }) => webhooks.get(params.name),
  );
  app.patch<OfName>(
    one,
    {
      schema: describeRoute('changeWebhook', 'Change, enable or disable a webhook', {
        params: ofName,
        body: { $ref: 'WebhookChange#' },
        response: webhook,
      }),
    },
    async (request, reply) =>
      reply.send(await answer(clock, webhooks.change(request.params.name, bodyObject(request)))),
  );
  app.delete<OfName>(
    one,
    {
      schema: describeRoute('deleteWebhook', 'Delete a webhook', {
        description: 'Its retries and its dead letters go with it.',
        params: ofName,
        response: { 204: { description: 'It is gone.', type: 'null' } },
      }),
    },
    async (request, reply) => {
      requireNoBody(request);
      await answer(clock, webhooks.delete(request.params.name));
      return reply.code(204).send();
    },
  );
}

function registerActions(app: FastifyInstance, { webhooks, clock }: HttpServerOptions): void {
  app.post<OfName>(
    `${one}/test`,
    {
      schema: describeRoute('testWebhook', 'Send a test event now', {
        description: 'Also where it is disabled. The answer is 200 whether the endpoint accepted it or not.',
        params: ofName,
        response: { 200: jsonAnswer('How it went.', 'WebhookTest') },
      }),
    },
    async (request) => {
      requireNoBody(request);
      return answer(clock, webhooks.test(request.params.name));
    },
  );
  app.post<OfName>(
    `${one}/rotate`,
    {
      schema: describeRoute('rotateWebhookSecret', 'Give a webhook a new secret', {
        description: 'The old one signs too for a time. The new one is told in this answer and never again.',
        params: ofName,
        body: { $ref: 'WebhookRotation#' },
        response: { 200: withSecret('The webhook, and its new secret.') },
      }),
    },
    async (request) => {
      const asked = request.body === undefined ? {} : bodyObject(request);
      return answer(clock, webhooks.rotate(request.params.name, asked));
    },
  );
}

/** Of all dead letters, and of one by its seq. */
function registerDeadLetters(app: FastifyInstance, { webhooks, clock }: HttpServerOptions): void {
  const letters = `${one}/dead-letters`;
  app.get<OfName>(
    letters,
    {
      schema: describeRoute('listWebhookDeadLetters', 'Events a webhook did not take', {
        params: ofName,
        response: { 200: jsonAnswer('The oldest event first.', 'WebhookDeadLetterList') },
      }),
    },
    async ({ params }) => ({ deadLetters: webhooks.deadLetters(params.name) }),
  );
  const act = (
    method: 'POST' | 'DELETE',
    words: readonly [operation: string, summary: string],
    work: WebhookService['replay'],
  ): void => {
    const [operation, summary] = words;
    const suffix = method === 'POST' ? '/replay' : '';
    const all = describeRoute(`${operation}s`, `${summary}s`, { params: ofName, response: count });
    app.route<OfName>({
      method,
      url: `${letters}${suffix}`,
      schema: all,
      handler: async (request) => {
        requireNoBody(request);
        return { count: await answer(clock, work(request.params.name)) };
      },
    });
    app.route<OfLetter>({
      method,
      url: `${letters}/:seq${suffix}`,
      schema: describeRoute(operation, summary, { params: ofLetter, response: count }),
      handler: async (request) => {
        requireNoBody(request);
        const { name, seq } = request.params;
        return { count: await answer(clock, work(name, seqOf(seq))) };
      },
    });
  };
  act('POST', ['replayWebhookDeadLetter', 'Try again a dead letter'], (name, seq) =>
    webhooks.replay(name, seq),
  );
  act('DELETE', ['dropWebhookDeadLetter', 'Forget a dead letter'], (name, seq) => webhooks.drop(name, seq));
}
