/**
 * The HTTP face of the virtual server. Every answer that is no success is a problem document; a client that is slow,
 * dead or hostile costs one bounded connection and delays nobody.
 */
import fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';
import { VmError } from '@vmpulse/wire';
import { httpCloseTimeoutMs, maxPathParameterLength, maxRequestBytes } from '../limits.ts';
import { createAuthentication } from './authentication.ts';
import { useBodyParser } from './body.ts';
import { EventRoutes } from './event-routes.ts';
import { registerGuestRoutes } from './guest-routes.ts';
import { registerHoldRoutes } from './hold-routes.ts';
import { registerIncidentRoutes } from './incident-routes.ts';
import { type ListenAddress, type ListenOptions, Listeners } from './listener.ts';
import { useOpenApi } from './openapi.ts';
import { HttpError, sendProblem } from './problem.ts';
import { registerScriptRoutes } from './script-routes.ts';
import { registerRecoveryRoutes } from './recovery-routes.ts';
import type { HttpServerOptions } from './server-options.ts';
import { registerServiceRoutes } from './service-routes.ts';
import { SubscriptionRoutes } from './subscription-routes.ts';
import { registerVmRoutes } from './vm-routes.ts';
import { registerWebhookRoutes } from './webhook-routes.ts';

export type { ListenAddress, ListenOptions, TlsFiles } from './listener.ts';
export type { HttpServerOptions, Readiness } from './server-options.ts';

/** The HTTP face of the virtual server. */
export interface HttpServer {
  /** Where it listens. */
  readonly address: ListenAddress;
  /** Begins to listen, on all that is asked for or on nothing. Errors: VMPULSE_E_LISTEN, with what to do. */
  listen(options: ListenOptions): Promise<ListenAddress>;
  /** Ends streams, lets requests under way end for a short time, and takes no more. Idempotent. */
  close(): Promise<void>;
}

/** Answers 405 with Allow wherever a path is known and its method is not. */
function refuseOtherMethods(app: FastifyInstance, methodsByPath: ReadonlyMap<string, Set<string>>): void {
  for (const [url, methods] of methodsByPath) {
    const allow = [...methods].toSorted().join(', ');
    app.route({
      url,
      method: app.supportedMethods.filter((method) => !methods.has(method)),
      schema: { hide: true },
      handler: async (request, reply) => {
        reply.header('allow', allow);
        throw new HttpError(405, `${request.method} is not possible here; use ${allow}.`);
      },
    });
  }
}

function unknownPath(request: FastifyRequest): VmError {
  const [path = ''] = request.url.split('?', 1);
  return new VmError(
    'VMPULSE_E_NOT_FOUND',
    `There is nothing at ${JSON.stringify(path.slice(0, 200))}; /openapi.json lists what there is.`,
  );
}

function createApp({ logger }: HttpServerOptions): FastifyInstance {
  return fastify({
    logger: false,
    bodyLimit: maxRequestBytes,
    routerOptions: { maxParamLength: maxPathParameterLength },
    exposeHeadRoutes: true,
    frameworkErrors: (error, _request, reply) => sendProblem(reply, error, logger),
  });
}

async function buildApp(
  options: HttpServerOptions,
  events: EventRoutes,
  subscriptions: SubscriptionRoutes,
): Promise<FastifyInstance> {
  const { logger, metrics, token } = options;
  const app = createApp(options);
  const authentication = createAuthentication(token);
  const methodsByPath = new Map<string, Set<string>>();
  // The schemas describe. What they would check, body.ts, event-query.ts and the service check, with better words;
  // and an answer is sent whole, whatever its schema forgot.
  app.setValidatorCompiler(() => () => true);
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  useBodyParser(app);
  app.setErrorHandler((error, _request, reply) => sendProblem(reply, error, logger));
  app.setNotFoundHandler((request) => {
    throw unknownPath(request);
  });
  app.addHook('onRequest', async (request) => authentication.admit(request));
  app.addHook('onResponse', async (request, reply) => {
    if (reply.sent && reply.raw.getHeader('content-type')?.toString().startsWith('text/event-stream')) return;
    const route = request.is404 ? 'unknown' : (request.routeOptions.url ?? 'unknown');
    const method = app.supportedMethods.includes(request.method) ? request.method : 'other';
    metrics.requestServed(method, route, reply.statusCode, reply.elapsedTime);
  });
  await useOpenApi(app, options.version);
  app.addHook('onRoute', ({ url, method, schema }) => {
    if (schema !== undefined && schema.hide) return;
    const methods = methodsByPath.get(url) ?? new Set();
    for (const one of [method].flat()) methods.add(one);
    methodsByPath.set(url, methods);
  });
  registerServiceRoutes(app, options, authentication);
  registerVmRoutes(app, options);
  registerGuestRoutes(app, options);
  registerHoldRoutes(app, options);
  registerWebhookRoutes(app, options);
  registerScriptRoutes(app, options);
  registerRecoveryRoutes(app, options);
  registerIncidentRoutes(app, options);
  events.register(app);
  subscriptions.register(app);
  refuseOtherMethods(app, methodsByPath);
  await app.ready();
  return app;
}

/** Builds the HTTP face; it listens when told to. */
export async function createHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { clock, logger, metrics, log } = options;
  metrics.observe({
    log: () => log.state(),
    subscriptions: () => options.subscriptions.counts(),
    webhooks: () => options.webhooks.counts(),
    scripts: () => options.scripts.counts(),
  });
  const events = new EventRoutes(options);
  const subscriptions = new SubscriptionRoutes(options);
  const app = await buildApp(options, events, subscriptions);
  const listeners = new Listeners(
    (request, response) => app.routing(request, response),
    clock,
    (error) => {
      logger.error({ err: error }, 'a listening socket failed');
    },
  );
  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    events.close();
    subscriptions.close();
    await listeners.close(httpCloseTimeoutMs);
    await app.close();
  };
  return {
    get address() {
      return listeners.address;
    },
    listen: async (where) => {
      const address = await listeners.open(where);
      logger.info({ address }, 'listening');
      return address;
    },
    close: async () => {
      closed ??= close();
      await closed;
    },
  };
}
