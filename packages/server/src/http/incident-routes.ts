/** Incidents over HTTP: what was kept of guests that stopped. */
import type { FileHandle } from 'node:fs/promises';
import { extname } from 'node:path';
import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { maxIncidentPieceBytes } from '../limits.ts';
import { parseSeq } from './event-query.ts';
import { describeRoute, jsonAnswer } from './openapi.ts';
import { type HttpServerOptions, answer } from './server-options.ts';

interface OfIncident {
  Params: { seq: string; name: string };
  Querystring: { offset?: string };
}

const text = { type: 'string' };
const ofIncident = { type: 'object', properties: { seq: text }, required: ['seq'] };
const ofFile = { type: 'object', properties: { seq: text, name: text }, required: ['seq', 'name'] };
// A guest wrote what is in them: never shown as a page.
const contentTypes: Readonly<Record<string, string>> = {
  '.png': 'image/png',
  '.json': 'application/json',
  '.elf': 'application/octet-stream',
  '.kdump': 'application/octet-stream',
};

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
        description:
          'As it is; where only application/json is accepted, in base64 and in pieces of 1 MiB, from `offset` on.',
        params: ofFile,
        querystring: {
          type: 'object',
          properties: { offset: { type: 'integer', minimum: 0, description: 'Where the piece begins.' } },
        },
        response: { 200: jsonAnswer('The file.', 'IncidentContent') },
      }),
    },
    async (request, reply) => {
      const { seq, name } = request.params;
      const offset = parseSeq(String(request.query.offset ?? 0), 'offset');
      const { bytes, handle } = await answer(clock, incidents.file(seq, name));
      if (request.headers.accept === 'application/json') {
        const base64 = await answer(clock, pieceOf(handle, offset));
        return reply.send({ name, bytes, offset, base64 });
      }
      const isHead = request.method === 'HEAD';
      if (isHead) await handle.close();
      // Never whole in memory: a dump is as large as a guest. One that grows meanwhile is sent as it was.
      const body = isHead || bytes === 0 ? Readable.from([]) : handle.createReadStream({ end: bytes - 1 });
      if (!isHead && bytes === 0) await handle.close();
      return reply
        .type(contentTypes[extname(name)] ?? 'text/plain; charset=utf-8')
        .header('x-content-type-options', 'nosniff')
        .header('content-length', bytes)
        .send(body);
    },
  );
}

/** Closes the file. */
async function pieceOf(handle: FileHandle, offset: number): Promise<string> {
  try {
    const piece = Buffer.alloc(maxIncidentPieceBytes);
    const { bytesRead } = await handle.read(piece, 0, piece.length, offset);
    return piece.toString('base64', 0, bytesRead);
  } finally {
    await handle.close();
  }
}
