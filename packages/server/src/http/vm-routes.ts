/** Machines and tasks over HTTP. */
import { type VmChange, type VmConfiguration, VmError } from '@vmpulse/wire';
import type { FastifyInstance } from 'fastify';
import type { TaskOperation } from '../vm/machine-service.ts';
import { bodyObject, requireNoBody } from './body.ts';
import { describeRoute, jsonAnswer } from './openapi.ts';
import { type HttpServerOptions, answer } from './server-options.ts';

interface OfVm {
  Params: { vm: string };
}
interface OfTask {
  Params: { id: string };
}

const ofVm = {
  type: 'object',
  properties: { vm: { type: 'string', description: 'Name (any case) or UUID.' } },
  required: ['vm'],
};
const ofTask = { type: 'object', properties: { id: { type: 'string' } }, required: ['id'] };
const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Each operation's route and what it does, for the document. */
const operations: Record<TaskOperation, { readonly path: string; readonly summary: string }> = {
  startup: { path: 'startup', summary: 'Start a machine, or restore a saved one' },
  turnOff: { path: 'turn-off', summary: 'Turn a machine off, as by its power switch' },
  reset: { path: 'reset', summary: 'Reset a machine' },
  pause: { path: 'pause', summary: 'Pause a machine' },
  resume: { path: 'resume', summary: 'Resume a paused machine' },
  save: { path: 'save', summary: "Save a machine's state and end it" },
  discardSavedState: { path: 'discard-saved-state', summary: 'Discard a saved state' },
  shutdown: { path: 'shutdown', summary: 'Ask the guest to shut down' },
  injectNmi: { path: 'inject-nmi', summary: 'Inject a non-maskable interrupt' },
};

const located = (answerSchema: object): object => ({
  ...answerSchema,
  headers: { location: { type: 'string', description: 'Where it is found from now on.' } },
});

function takeId(body: Record<string, unknown>): string | undefined {
  const { id } = body;
  if (id === undefined) return undefined;
  if (typeof id === 'string' && uuid.test(id)) return id.toLowerCase();
  throw new VmError('VMPULSE_E_REQUEST_INVALID', 'id is not a UUID; leave it out and the server makes one.', {
    field: '/id',
  });
}

function registerMachines(app: FastifyInstance, { service, clock }: HttpServerOptions): void {
  app.get(
    '/v1/vms',
    {
      schema: describeRoute('listVms', 'Every machine', {
        response: { 200: jsonAnswer('Machines.', 'VmList') },
      }),
    },
    async () => ({ vms: service.list() }),
  );
  app.post(
    '/v1/vms',
    {
      schema: describeRoute('createVm', 'Create a machine, or register one under its UUID', {
        body: { $ref: 'VmCreation#' },
        response: { 201: located(jsonAnswer('The machine, turned off.', 'VmInfo')) },
      }),
    },
    async (request, reply) => {
      const { id: _, ...configuration } = bodyObject(request);
      const id = takeId(bodyObject(request));
      const vm = await answer(clock, service.create(configuration as unknown as VmConfiguration, id));
      return reply.code(201).header('location', `/v1/vms/${vm.id}`).send(vm);
    },
  );
  app.get<OfVm>(
    '/v1/vms/:vm',
    {
      schema: describeRoute('getVm', 'A machine', {
        params: ofVm,
        response: { 200: jsonAnswer('It.', 'VmInfo') },
      }),
    },
    async ({ params }) => service.get(params.vm),
  );
  app.patch<OfVm>(
    '/v1/vms/:vm',
    {
      schema: describeRoute('changeVm', 'Change the configuration of a machine', {
        params: ofVm,
        body: { $ref: 'VmChange#' },
        response: { 200: jsonAnswer('The machine, changed.', 'VmInfo') },
      }),
    },
    async (request, reply) => {
      const vm = await answer(clock, service.change(request.params.vm, bodyObject(request) as VmChange));
      return reply.send(vm);
    },
  );
}

function registerDeletionAndGuest(app: FastifyInstance, { service, clock }: HttpServerOptions): void {
  app.delete<OfVm>(
    '/v1/vms/:vm',
    {
      schema: describeRoute('deleteVm', 'Delete a machine; disk images stay', {
        params: ofVm,
        response: { 204: { description: 'It is gone.', type: 'null' } },
      }),
    },
    async (request, reply) => {
      requireNoBody(request);
      await answer(clock, service.delete(request.params.vm));
      return reply.code(204).send();
    },
  );
  app.get<OfVm>(
    '/v1/vms/:vm/guest',
    {
      schema: describeRoute('getGuest', 'The guest of a machine', {
        params: ofVm,
        response: { 200: jsonAnswer('Heartbeat and additions.', 'GuestInfo') },
      }),
    },
    async ({ params }) => service.guest(params.vm),
  );
}

function registerOperations(app: FastifyInstance, { service }: HttpServerOptions): void {
  for (const [operation, { path, summary }] of Object.entries(operations)) {
    app.post<OfVm>(
      `/v1/vms/:vm/${path}`,
      {
        schema: describeRoute(operation, summary, {
          params: ofVm,
          response: { 202: located(jsonAnswer('The task that does it.', 'TaskInfo')) },
        }),
      },
      async (request, reply) => {
        requireNoBody(request);
        const task = service.operate(request.params.vm, operation as TaskOperation);
        return reply.code(202).header('location', `/v1/tasks/${task.id}`).send(task);
      },
    );
  }
}

function registerTasks(app: FastifyInstance, { service }: HttpServerOptions): void {
  app.get(
    '/v1/tasks',
    { schema: describeRoute('listTasks', 'Tasks', { response: { 200: jsonAnswer('Tasks.', 'TaskList') } }) },
    async () => ({ tasks: service.tasks() }),
  );
  app.get<OfTask>(
    '/v1/tasks/:id',
    {
      schema: describeRoute('getTask', 'A task', {
        params: ofTask,
        response: { 200: jsonAnswer('It.', 'TaskInfo') },
      }),
    },
    async ({ params }) => service.task(params.id),
  );
  app.post<OfTask>(
    '/v1/tasks/:id/cancel',
    {
      schema: describeRoute('cancelTask', 'Cancel a task', {
        params: ofTask,
        response: { 202: located(jsonAnswer('The task.', 'TaskInfo')) },
      }),
    },
    async (request, reply) => {
      requireNoBody(request);
      const task = service.cancelTask(request.params.id);
      return reply.code(202).header('location', `/v1/tasks/${task.id}`).send(task);
    },
  );
}

/** Registers what concerns machines and their tasks. */
export function registerVmRoutes(app: FastifyInstance, options: HttpServerOptions): void {
  registerMachines(app, options);
  registerDeletionAndGuest(app, options);
  registerOperations(app, options);
  registerTasks(app, options);
}
