/** Incidents over HTTP: what was kept of guests that stopped. */
import { extname } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { describeRoute, jsonAnswer } from './openapi.ts';
import { type HttpServerOptions, answer } from './server-options.ts';

interface OfIncident {
  Params: { seq: string; name: string };
}

const text = { type: 'string' };
const ofIncident = { type: 'object', properties: { seq: text }, required: ['seq'] };
const ofFile = { type: 'object', properties: { seq: text, name: text }, required: ['seq', 'name'] };
// A guest wrote what is in them: never shown as a page.
const contentTypes: Readonly<Record<string, string>> = { '.png': 'image/png', '.json': 'application/json' };

/** Registers what concerns incidents. */
export function registerIncidentRoutes(app: FastifyInstance, { incidents, clock }: HttpServerOptions): void {
  app.get(
    '/v1/incidents',
    {
      schema: describeRoute('listIncidents', 'What was kept of guests that stopped', {
        response: { 200: jsonAnswer('The newest first.', 'IncidentList') },
      }),
    },
    async () => ({ incidents: await answer(clock, incidents.list()) }),
  );
  app.get<OfIncident>(
    '/v1/incidents/:seq',
    {
      schema: describeRoute('getIncident', 'What was kept of one', {
        description: 'It goes by the number of its heartbeatStopped event.',
        params: ofIncident,
        response: { 200: jsonAnswer('Its files, and what could not be kept.', 'IncidentInfo') },
      }),
    },
    async (request, reply) => reply.send(await answer(clock, incidents.get(request.params.seq))),
  );
  app.get<OfIncident>(
    '/v1/incidents/:seq/files/:name',
    {
      schema: describeRoute('getIncidentFile', 'A file of an incident', {
        description: 'As it is; in base64, as JSON, where only application/json is accepted.',
        params: ofFile,
        response: { 200: jsonAnswer('The file.', 'IncidentContent') },
      }),
    },
    async (request, reply) => {
      const { seq, name } = request.params;
      const bytes = await answer(clock, incidents.file(seq, name));
      if (request.headers.accept === 'application/json') {
        return reply.send({ name, base64: bytes.toString('base64') });
      }
      return reply
        .type(contentTypes[extname(name)] ?? 'text/plain; charset=utf-8')
        .header('x-content-type-options', 'nosniff')
        .send(bytes);
    },
  );
}
