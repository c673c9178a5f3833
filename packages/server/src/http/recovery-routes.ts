/** Recovery over HTTP. */
import type { FastifyInstance } from 'fastify';
import { bodyObject, requireNoBody } from './body.ts';
import { describeRoute, jsonAnswer } from './openapi.ts';
import { type HttpServerOptions, answer } from './server-options.ts';

interface OfVm {
  Params: { vm: string };
}

const params = {
  type: 'object',
  properties: { vm: { type: 'string', description: 'Name (any case) or UUID.' } },
  required: ['vm'],
};

/** Registers what concerns recovery. A machine's own policy is its configuration's `recovery`. */
export function registerRecoveryRoutes(app: FastifyInstance, { recovery, clock }: HttpServerOptions): void {
  app.get(
    '/v1/recovery',
    {
      schema: describeRoute('getRecoveryDefault', 'What is done about guests that stop, by default', {
        response: { 200: jsonAnswer('Everything filled in.', 'RecoveryDefault') },
      }),
    },
    async () => recovery.serverDefault,
  );
  app.put(
    '/v1/recovery',
    {
      schema: describeRoute('setRecoveryDefault', 'Set what is done about guests that stop, by default', {
        description:
          "It is replaced as a whole, and rules machines whose own recovery's action is `default`.",
        body: { $ref: 'RecoveryDefault#' },
        response: { 200: jsonAnswer('Everything filled in.', 'RecoveryDefault') },
      }),
    },
    async (request, reply) => reply.send(await answer(clock, recovery.setServerDefault(bodyObject(request)))),
  );
  app.get<OfVm>(
    '/v1/vms/:vm/recovery',
    {
      schema: describeRoute('getRecovery', "A machine's recovery: policy, plan and history", {
        params,
        response: { 200: jsonAnswer('How it stands.', 'RecoveryInfo') },
      }),
    },
    (request, reply) => reply.send(recovery.info(request.params.vm)),
  );
  app.post<OfVm>(
    '/v1/vms/:vm/recovery/rearm',
    {
      schema: describeRoute('rearmRecovery', 'Take up again what was given up', {
        description: 'Attempts count from zero; a guest that is still stopped is recovered at once.',
        params,
        response: { 200: jsonAnswer('How it stands.', 'RecoveryInfo') },
      }),
    },
    async (request, reply) => {
      requireNoBody(request);
      return reply.send(await answer(clock, recovery.rearm(request.params.vm)));
    },
  );
}
