/**
 * Request bodies. The transport is strict about shape (JSON, an object, not deep, no tricks with prototypes); what a
 * configuration may contain is the service's to say, with codes of its own.
 */
import { VmError } from '@vmpulse/wire';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { maxJsonDepth } from '../limits.ts';
import { HttpError } from './problem.ts';

/** A parsed JSON object. */
export type JsonObject = Record<string, unknown>;

const invalid = (detail: string): VmError => new VmError('VMPULSE_E_REQUEST_INVALID', detail);

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Errors: VMPULSE_E_REQUEST_INVALID where it is too deep or sets a prototype. */
function inspect(value: unknown, depth: number): void {
  if (typeof value !== 'object' || value === null) return;
  if (depth > maxJsonDepth) throw invalid(`The body nests deeper than ${maxJsonDepth} levels.`);
  if (Object.hasOwn(value, '__proto__')) throw invalid('The body has a key __proto__; leave it out.');
  for (const item of Object.values(value)) inspect(item, depth + 1);
}

function isJson(contentType: string): boolean {
  const essence = contentType.split(';', 1)[0]?.trim().toLowerCase() ?? '';
  return essence === 'application/json' || /^application\/[\w.-]+\+json$/.test(essence);
}

const decoder = new TextDecoder('utf-8', { fatal: true });

/** The value of a body; undefined when it is empty, whatever its type. Errors: VMPULSE_E_REQUEST_INVALID, 415. */
function parseBody(bytes: Buffer, contentType: string | undefined): unknown {
  if (bytes.length === 0) return undefined;
  if (contentType !== undefined && !isJson(contentType)) {
    throw new HttpError(415, 'The body is not JSON; send it as application/json.');
  }
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(bytes));
  } catch (cause) {
    const why = cause instanceof SyntaxError ? `: ${cause.message.slice(0, 120)}` : ' in UTF-8';
    throw new VmError('VMPULSE_E_REQUEST_INVALID', `The body is not valid JSON${why}.`, { cause });
  }
  inspect(value, 1);
  return value;
}

/** Takes all content types through `parseBody`. */
export function useBodyParser(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (request, body, done) => {
    try {
      // Where there is nothing, what was sent there does not matter.
      done(null, request.is404 ? undefined : parseBody(body as Buffer, request.headers['content-type']));
    } catch (error) {
      done(VmError.from(error));
    }
  });
}

/** The body of a request that needs one. Errors: VMPULSE_E_REQUEST_INVALID. */
export function bodyObject(request: FastifyRequest): JsonObject {
  if (!isObject(request.body)) throw invalid('The body must be a JSON object.');
  return request.body;
}

/** Refuses a body that says something where nothing can be said. Errors: VMPULSE_E_REQUEST_INVALID. */
export function requireNoBody(request: FastifyRequest): void {
  const { body } = request;
  if (body === undefined || body === null) return;
  const [key] = isObject(body) ? Object.keys(body) : ['a value'];
  if (key === undefined) return;
  throw invalid(`This request takes no body (it has ${JSON.stringify(key.slice(0, 64))}); leave it empty.`);
}
