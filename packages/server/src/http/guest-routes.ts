/** What is asked of a guest by its agent, over HTTP. */
import type { FastifyInstance } from 'fastify';
import { bodyObject, requireNoBody } from './body.ts';
import { describeRoute, jsonAnswer } from './openapi.ts';
import { type HttpServerOptions, answer } from './server-options.ts';

interface OfVm {
  Params: { vm: string };
}
interface OfParameter {
  Params: { vm: string; name: string };
}

const vm = { type: 'string', description: 'Name (any case) or UUID.' };
const ofVm = { type: 'object', properties: { vm }, required: ['vm'] };
const ofParameter = {
  type: 'object',
  properties: {
    vm,
    name: { type: 'string', description: '1 to 255 characters without a backslash, percent-encoded.' },
  },
  required: ['vm', 'name'],
};
const execution = {
  params: ofVm,
  body: { $ref: 'GuestExecution#' },
  response: { 200: jsonAnswer('How it ended, whatever its exit code.', 'GuestExecutionResult') },
  description:
    'Answered when the program has ended, or with 504 and VM_E_TIMED_OUT after its `timeoutMs`: then it goes on in ' +
    'the guest. What is to run longer is started in the background there, by a program that returns.',
};

/** Registers them. */
export function registerGuestRoutes(app: FastifyInstance, { service, clock }: HttpServerOptions): void {
  const { guests } = service;
  app.post<OfVm>(
    '/v1/vms/:vm/guest/execute',
    { schema: describeRoute('executeInGuest', 'Run a program in the guest', execution) },
    // Bounded by the program's own deadline, which is below what cuts an idle connection.
    async (request, reply) => reply.send(await guests.execute(request.params.vm, bodyObject(request))),
  );
  app.get<OfParameter>(
    '/v1/vms/:vm/guest/parameters/:name',
    {
      schema: describeRoute('getGuestParameter', 'A parameter of the guest', {
        params: ofParameter,
        response: { 200: jsonAnswer('It, as the guest has it.', 'GuestParameter') },
      }),
    },
    async ({ params }) => answer(clock, guests.parameter(params.vm, params.name)),
  );
  app.put<OfParameter>(
    '/v1/vms/:vm/guest/parameters/:name',
    {
      schema: describeRoute('setGuestParameter', 'Set a parameter for the guest, until it boots anew', {
        params: ofParameter,
        body: { $ref: 'GuestParameterChange#' },
        response: { 200: jsonAnswer('It, set.', 'GuestParameter') },
      }),
    },
    async (request, reply) => {
      const { vm: machine, name } = request.params;
      return reply.send(await answer(clock, guests.setParameter(machine, name, bodyObject(request))));
    },
  );
  app.post<OfVm>(
    '/v1/vms/:vm/guest/freeze',
    {
      schema: describeRoute('freezeGuest', "Freeze the guest's file systems for a time", {
        params: ofVm,
        body: { $ref: 'GuestFreeze#' },
        response: { 200: jsonAnswer('How many.', 'GuestFreezeResult') },
      }),
    },
    async (request, reply) => {
      const { params, body } = request;
      const asked = body === undefined || body === null ? {} : bodyObject(request);
      return reply.send(await answer(clock, guests.freeze(params.vm, asked)));
    },
  );
  app.post<OfVm>(
    '/v1/vms/:vm/guest/thaw',
    {
      schema: describeRoute('thawGuest', "Thaw the guest's file systems", {
        params: ofVm,
        response: { 200: jsonAnswer('How many.', 'GuestFreezeResult') },
      }),
    },
    async (request, reply) => {
      requireNoBody(request);
      return reply.send(await answer(clock, guests.thaw(request.params.vm)));
    },
  );
}
