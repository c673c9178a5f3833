/**
 * Who may ask. Over TCP the bearer token is always required, except of /healthz and /readyz, which answer a probe
 * with a word. The Unix socket goes by file permission. On loopback TCP the Host header must name this host, so that
 * a web page whose name was re-bound to 127.0.0.1 reaches nothing.
 */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { VmError } from '@vmpulse/wire';
import type { FastifyRequest } from 'fastify';
import { HttpError } from './problem.ts';
import { tokenCheck } from './token.ts';

/** How a connection came in. */
export interface Transport {
  readonly kind: 'tcp' | 'unix';
  /** The only Host names answered, in lower case; null: all. */
  readonly hostNames: ReadonlySet<string> | null;
}

const transports = new WeakMap<Socket, Transport>();

/** Notes how a connection came in, when it does. */
export function noteTransport(socket: Socket, transport: Transport): void {
  transports.set(socket, transport);
}

/** Paths that answer without a token. */
const openPaths: ReadonlySet<string> = new Set(['/healthz', '/readyz']);

/** The name in a Host header, without its port. */
function hostName(header: string): string {
  return header.toLowerCase().replace(/:\d*$/, '').replace(/\.$/, '');
}

function bearerToken(message: IncomingMessage): string | undefined {
  return /^bearer +([^\s]+) *$/i.exec(message.headers.authorization ?? '')?.[1];
}

/** Decides about one request. */
export interface Authentication {
  /** Errors: VMPULSE_E_UNAUTHENTICATED, E_ACCESSDENIED. */
  admit(request: FastifyRequest): void;
  /** True where the request came with the token or through the Unix socket. */
  isTrusted(request: FastifyRequest): boolean;
}

/** Authentication by `token`. */
export function createAuthentication(token: string): Authentication {
  const matches = tokenCheck(token);
  const isTrusted = ({ raw }: FastifyRequest): boolean => {
    if (transports.get(raw.socket)?.kind === 'unix') return true;
    const presented = bearerToken(raw);
    return presented !== undefined && matches(presented);
  };
  return {
    isTrusted,
    admit(request) {
      const { raw } = request;
      const names = transports.get(raw.socket)?.hostNames ?? null;
      const host = raw.headers.host;
      // Only HTTP/1.0 may leave Host out, and no browser speaks that.
      if (names !== null && host !== undefined && !names.has(hostName(host))) {
        throw new HttpError(
          403,
          `Host ${JSON.stringify(host.slice(0, 100))} is not served here; use localhost or 127.0.0.1.`,
          'E_ACCESSDENIED',
        );
      }
      const path = (raw.url ?? '').split('?', 1)[0] ?? '';
      if (openPaths.has(path) || isTrusted(request)) return;
      const detail =
        raw.headers.authorization === undefined
          ? 'This needs the bearer token: send the content of the file "token" in the data directory as ' +
            '"Authorization: Bearer TOKEN", or use the Unix socket.'
          : 'The bearer token is not the one in the file "token" of the data directory.';
      throw new VmError('VMPULSE_E_UNAUTHENTICATED', detail);
    },
  };
}
