/** Scripts on events over HTTP. */
import type { FastifyInstance } from 'fastify';
import { bodyObject, requireNoBody } from './body.ts';
import { describeRoute, jsonAnswer } from './openapi.ts';
import { type HttpServerOptions, answer } from './server-options.ts';

interface OfEvent {
  Params: { vm?: string; eventType: string };
}
interface OfVm {
  Params: { vm: string };
}

const vm = { type: 'string', description: 'Name (any case) or UUID.' };
const eventType = {
  type: 'string',
  description: 'An event type such as heartbeatStopped, or the VMEventType number of Virtual Server (8).',
};
const script = jsonAnswer('The script.', 'ScriptInfo');
const list = { response: { 200: jsonAnswer("Scripts; the server's first.", 'ScriptList') } };
const attached = {
  description:
    'An executable and its arguments, run without a shell for each such event from now on, at least once and in ' +
    'order: the event as JSON on its standard input, its main facts in VMPULSE_* variables. How it ends is an event ' +
    '(scriptEnded). 409 with VM_E_SCRIPT_ALREADY_EXISTS where one is attached.',
  body: { $ref: 'ScriptRequest#' },
  response: { 200: script },
};
const fetched = {
  description: '404 with VMPULSE_E_NOT_FOUND where none is attached.',
  response: { 200: script },
};
const removed = {
  description: 'Events that wait for it are dropped; a run under way goes on. 404 where none is attached.',
  response: { 204: { description: 'It is removed.', type: 'null' } },
};

/** Registers what concerns scripts. */
export function registerScriptRoutes(app: FastifyInstance, options: HttpServerOptions): void {
  registerSettings(app, options);
  const { scripts } = options;
  app.get('/v1/scripts', { schema: describeRoute('listScripts', 'Every script', list) }, async () => ({
    scripts: scripts.list(),
  }));
  app.get<OfVm>(
    '/v1/vms/:vm/scripts',
    {
      schema: describeRoute('listVmScripts', 'The scripts of a machine', { ...list, params: params({ vm }) }),
    },
    (request, reply) => reply.send({ scripts: scripts.list(request.params.vm) }),
  );
  registerScripts(app, options, '/v1/scripts/:eventType', params({ eventType }), [
    'ServerScript',
    'of the server',
  ]);
  const ofVm = params({ vm, eventType });
  registerScripts(app, options, '/v1/vms/:vm/scripts/:eventType', ofVm, ['VmScript', 'of a machine']);
}

function params(properties: Readonly<Record<string, object>>): object {
  return { type: 'object', properties, required: Object.keys(properties) };
}

function registerScripts(
  app: FastifyInstance,
  { scripts, clock }: HttpServerOptions,
  path: string,
  where: object,
  [name, whose]: readonly [string, string],
): void {
  app.put<OfEvent>(
    path,
    {
      schema: describeRoute(`attach${name}`, `Attach a script ${whose} to an event`, {
        ...attached,
        params: where,
      }),
    },
    async (request, reply) => {
      const asked = scripts.attach(request.params.vm ?? null, request.params.eventType, bodyObject(request));
      return reply.send(await answer(clock, asked));
    },
  );
  app.get<OfEvent>(
    path,
    {
      schema: describeRoute(`fetch${name}`, `The script ${whose} for an event`, {
        ...fetched,
        params: where,
      }),
    },
    (request, reply) => reply.send(scripts.fetch(request.params.vm ?? null, request.params.eventType)),
  );
  app.delete<OfEvent>(
    path,
    {
      schema: describeRoute(`remove${name}`, `Remove a script ${whose} from an event`, {
        ...removed,
        params: where,
      }),
    },
    async (request, reply) => {
      requireNoBody(request);
      await answer(clock, scripts.remove(request.params.vm ?? null, request.params.eventType));
      return reply.code(204).send();
    },
  );
}

function registerSettings(app: FastifyInstance, { scripts, clock }: HttpServerOptions): void {
  const settings = { 200: jsonAnswer('Which scripts run.', 'ScriptSettings') };
  app.get(
    '/v1/script-settings',
    { schema: describeRoute('getScriptSettings', 'Which scripts run', { response: settings }) },
    async () => scripts.settings(),
  );
  app.patch(
    '/v1/script-settings',
    {
      schema: describeRoute('changeScriptSettings', 'Switch scripts on or off', {
        description:
          'Both are off until they are switched on. Events of the time a script was off never run it.',
        body: { $ref: 'ScriptSettingsChange#' },
        response: settings,
      }),
    },
    async (request, reply) => reply.send(await answer(clock, scripts.changeSettings(bodyObject(request)))),
  );
}
