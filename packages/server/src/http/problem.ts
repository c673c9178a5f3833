/** Every error as RFC 9457 problem document. What went wrong inside is logged and never leaves. */
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { type ErrorCode, type ProblemDocument, VmError } from '@vmpulse/wire';
import type { FastifyReply } from 'fastify';
import type { Logger } from 'pino';

/** Media type of problem documents. */
export const problemType = 'application/problem+json';

/** An error whose HTTP status is not that of its code: 405, 413, 415, ... have no code of their own. */
export class HttpError extends VmError {
  readonly #status: number;

  constructor(status: number, detail: string, code: ErrorCode = 'VMPULSE_E_REQUEST_INVALID') {
    super(code, detail);
    this.#status = status;
  }

  override get status(): number {
    return this.#status;
  }
}

/** What Fastify and Node call the things that can be wrong with a request. */
const requestErrors: Record<string, () => VmError> = {
  FST_ERR_CTP_BODY_TOO_LARGE: () => new HttpError(413, 'The request body is too large; send at most 1 MiB.'),
  FST_ERR_CTP_INVALID_MEDIA_TYPE: () =>
    new HttpError(415, 'The body has a content type that is not understood; send application/json.'),
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: () =>
    new HttpError(400, 'The body is not as long as its Content-Length says.'),
  FST_ERR_BAD_URL: () => new HttpError(400, 'The path is not valid percent-encoded UTF-8.'),
  FST_ERR_MAX_PARAM_LENGTH: () =>
    new HttpError(414, 'A part of the path is too long; names have at most 256 characters.'),
  ERR_HTTP_REQUEST_TIMEOUT: () => new HttpError(408, 'The request did not come in time; send it again.'),
  HPE_HEADER_OVERFLOW: () => new HttpError(431, 'The request head is too large; send at most 16 KiB.'),
};

function codeOf(thrown: unknown): string {
  if (typeof thrown !== 'object' || thrown === null || !('code' in thrown)) return '';
  return typeof thrown.code === 'string' ? thrown.code : '';
}

/** Whatever was thrown while a request was served, as the error it is answered with. */
function toVmError(thrown: unknown): VmError {
  if (thrown instanceof VmError) return thrown;
  return requestErrors[codeOf(thrown)]?.() ?? VmError.from(thrown);
}

/** Answers with the problem document of `thrown`; failures of the server's own are logged with their cause. */
export function sendProblem(reply: FastifyReply, thrown: unknown, logger: Logger): void {
  const error = toVmError(thrown);
  if (error.status === 500) {
    logger.error(
      { err: error.cause ?? error, method: reply.request.method, route: reply.request.routeOptions.url },
      'a request failed',
    );
  }
  if (error.status === 401) reply.header('www-authenticate', 'Bearer realm="vmpulse"');
  reply.code(error.status).header('content-type', problemType).send(problemText(error));
}

/** The document as text. */
export function problemText(error: VmError, more: object = {}): string {
  const problem: ProblemDocument = { ...error.toProblem(), status: error.status };
  return JSON.stringify({ ...problem, ...more });
}

/** Answers what never became a request (broken HTTP, too large a head, too slow), then closes the connection. */
export function answerBrokenRequest(thrown: Error, socket: Socket): void {
  if (codeOf(thrown) === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const error =
    requestErrors[codeOf(thrown)]?.() ?? new HttpError(400, 'This is not a valid HTTP/1.1 request.');
  const body = problemText(error);
  const head = [
    `HTTP/1.1 ${error.status} ${STATUS_CODES[error.status] ?? 'Bad Request'}`,
    `content-type: ${problemType}`,
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy());
}
