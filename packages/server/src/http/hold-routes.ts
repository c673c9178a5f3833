/** Holds on watches over HTTP. */
import type { HoldRequest } from '@vmpulse/wire';
import type { FastifyInstance } from 'fastify';
import { bodyObject, requireNoBody } from './body.ts';
import { describeRoute, jsonAnswer } from './openapi.ts';
import { type HttpServerOptions, answer } from './server-options.ts';

interface OfVm {
  Params: { vm: string };
}

const ofVm = {
  type: 'object',
  properties: { vm: { type: 'string', description: 'Name (any case) or UUID.' } },
  required: ['vm'],
};
const begun = {
  description:
    'Until the hold ends, silence is not judged; ticks are heard on, and what is certain (a process that exits, ' +
    'a kernel that panics) is told all the same, tagged `held`. A hold that is there is replaced. It outlives ' +
    'a restart of the service. Answered when its event is durable.',
  body: { $ref: 'HoldRequest#' },
  response: { 200: jsonAnswer('The hold.', 'HoldInfo') },
};
const released = {
  description:
    "Silence counts from zero, unless the other hold (that on all machines, or the machine's own) goes on. " +
    '404 with VMPULSE_E_NOT_FOUND where there is no such hold: who meant the other learns of it.',
  response: { 204: { description: 'It is over.', type: 'null' } },
};

/** Registers what concerns holds. */
export function registerHoldRoutes(app: FastifyInstance, { service, clock }: HttpServerOptions): void {
  const { holds } = service;
  app.get(
    '/v1/holds',
    {
      schema: describeRoute('listHolds', 'Every hold', {
        response: { 200: jsonAnswer('That on all first.', 'HoldList') },
      }),
    },
    async () => ({ holds: holds.list() }),
  );
  app.put(
    '/v1/holds',
    { schema: describeRoute('holdAll', 'Hold the watches of all machines', begun) },
    async (request, reply) =>
      reply.send(await answer(clock, holds.hold(null, bodyObject(request) as unknown as HoldRequest))),
  );
  app.delete(
    '/v1/holds',
    { schema: describeRoute('releaseAll', 'End the hold on all machines', released) },
    async (request, reply) => {
      requireNoBody(request);
      await answer(clock, holds.release(null));
      return reply.code(204).send();
    },
  );
  app.put<OfVm>(
    '/v1/vms/:vm/hold',
    { schema: describeRoute('holdVm', 'Hold the watch of a machine', { ...begun, params: ofVm }) },
    async (request, reply) => {
      const asked = bodyObject(request) as unknown as HoldRequest;
      return reply.send(await answer(clock, holds.hold(request.params.vm, asked)));
    },
  );
  app.delete<OfVm>(
    '/v1/vms/:vm/hold',
    { schema: describeRoute('releaseVm', 'End the hold of a machine', { ...released, params: ofVm }) },
    async (request, reply) => {
      requireNoBody(request);
      await answer(clock, holds.release(request.params.vm));
      return reply.code(204).send();
    },
  );
}
