/** The server itself over HTTP: what it is, how it is, what it counts and what it offers. */
import { VmError } from '@vmpulse/wire';
import type { FastifyInstance } from 'fastify';
import type { Authentication } from './authentication.ts';
import { describeRoute, jsonAnswer } from './openapi.ts';
import { problemText, problemType } from './problem.ts';
import { type HttpServerOptions, type UnreadyReason, answer } from './server-options.ts';

const plain = (description: string): object => ({
  description,
  content: { 'text/plain': { schema: { type: 'string' } } },
});
const openToAll: object[] = [];

/** What keeps the service from being ready: its own word, and the log's state. */
function unreadyReasons({ ready, log }: HttpServerOptions): readonly UnreadyReason[] {
  const told = ready();
  const { writable, error } = log.state();
  if (writable || told.reasons.some(({ reason }) => reason === 'logUnavailable')) {
    return told.ready ? [] : told.reasons;
  }
  const detail = `The event log cannot be written (${error ?? 'unknown'}); see that its disk has space.`;
  return [...told.reasons, { reason: 'logUnavailable', detail }];
}

function registerProbes(
  app: FastifyInstance,
  options: HttpServerOptions,
  authentication: Authentication,
): void {
  app.get(
    '/healthz',
    {
      schema: describeRoute('isAlive', 'Does the process answer?', {
        security: openToAll,
        response: { 200: plain('ok') },
      }),
    },
    async (_request, reply) => reply.type('text/plain; charset=utf-8').send('ok\n'),
  );
  app.get(
    '/readyz',
    {
      schema: describeRoute('isReady', 'Can the service do its work?', {
        description:
          '503 with `reasons` where it cannot: starting, stopping, logUnavailable, hypervisorUnavailable.',
        security: openToAll,
        response: { 200: plain('ready') },
      }),
    },
    async (request, reply) => {
      const told = unreadyReasons(options);
      const { ready } = options.ready();
      if (told.length === 0 && ready) return reply.type('text/plain; charset=utf-8').send('ready\n');
      const words = told.map(({ reason }) => reason).join(', ') || 'not ready';
      const code = told.some(({ reason }) => reason === 'logUnavailable')
        ? 'VMPULSE_E_LOG_UNAVAILABLE'
        : 'VM_E_OUT_OF_RESOURCE';
      const reasons = authentication.isTrusted(request) ? told : told.map(({ reason }) => ({ reason }));
      const body = problemText(new VmError(code, `The service is not ready: ${words}.`), { reasons });
      return reply.code(503).type(problemType).send(body);
    },
  );
}

/** Registers what concerns the server as a whole. */
export function registerServiceRoutes(
  app: FastifyInstance,
  options: HttpServerOptions,
  authentication: Authentication,
): void {
  const { service, metrics, clock } = options;
  registerProbes(app, options, authentication);
  app.get(
    '/v1/server',
    {
      schema: describeRoute('getServer', 'The virtual server', {
        response: { 200: jsonAnswer('It.', 'ServerInfo') },
      }),
    },
    async () => answer(clock, service.info()),
  );
  app.get(
    '/metrics',
    {
      schema: describeRoute('getMetrics', 'Metrics for Prometheus', {
        response: { 200: plain('Text format.') },
      }),
    },
    async (_request, reply) => reply.header('content-type', metrics.contentType).send(await metrics.text()),
  );
  app.get(
    '/openapi.json',
    {
      schema: describeRoute('getOpenApi', 'This description', {
        response: {
          200: {
            description: 'OpenAPI 3.1.',
            content: { 'application/json': { schema: { type: 'object' } } },
          },
        },
      }),
    },
    async () => app.swagger(),
  );
}
