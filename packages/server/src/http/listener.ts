/** The sockets the server listens on, with the bounds every connection has. */
import { readFile } from 'node:fs/promises';
import { type RequestListener, type Server, type ServerOptions, createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, type Socket, isIPv4 } from 'node:net';
import { VmError } from '@vmpulse/wire';
import type { Clock } from '../clock.ts';
import { type Transport, noteTransport } from './authentication.ts';
import * as limits from '../limits.ts';
import { answerBrokenRequest } from './problem.ts';
import { listenOnUnixSocket } from './unix-socket.ts';

/** PEM files of a certificate (with its chain) and its key. */
export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

/** Where to listen. At least one of TCP and the Unix socket. */
export interface ListenOptions {
  /** Default 127.0.0.1. Anything but loopback needs `tls`. */
  readonly host?: string;
  /** 0: any free one. Undefined: not on TCP. */
  readonly port?: number;
  readonly tls?: TlsFiles;
  /** Path of the Unix socket (`DIR/vmpulse.sock`). Undefined: none. */
  readonly socketPath?: string;
  /** Names, besides localhost and the address itself, under which loopback TCP is reached (a proxy's). */
  readonly hostNames?: readonly string[];
}

/** Where the server listens. */
export interface ListenAddress {
  /** `http://127.0.0.1:7410`; null when it does not listen on TCP. */
  readonly url: string | null;
  readonly host: string | null;
  readonly port: number | null;
  readonly socketPath: string | null;
}

const failed = (detail: string, cause?: unknown): VmError =>
  new VmError('VMPULSE_E_LISTEN', detail, cause === undefined ? {} : { cause });

/** True for an address that only this host reaches. */
export function isLoopback(host: string): boolean {
  const name = host.toLowerCase();
  return name === 'localhost' || name === '::1' || (isIPv4(name) && name.startsWith('127.'));
}

const inUrl = (host: string): string => (host.includes(':') ? `[${host}]` : host);

function explain(host: string, port: number, cause: NodeJS.ErrnoException): VmError {
  const where = `${inUrl(host)}:${port}`;
  const details: Record<string, string> = {
    EADDRINUSE:
      `Port ${port} on ${host} is taken. See who holds it with: ss -ltnp 'sport = :${port}' - ` +
      'then stop that, or choose another with --listen HOST:PORT.',
    EACCES: `Port ${port} may not be used by this user; choose one above 1023 with --listen HOST:PORT.`,
    EADDRNOTAVAIL: `${host} is no address of this host; see "ip address" and choose one with --listen HOST:PORT.`,
    ENOTFOUND: `${host} is not known to the resolver; write the address itself with --listen HOST:PORT.`,
  };
  const detail = details[cause.code ?? ''] ?? `Listening on ${where} failed (${cause.code ?? 'unknown'}).`;
  return failed(detail, cause);
}

const serverOptions: ServerOptions = {
  maxHeaderSize: limits.maxHttpHeadBytes,
  headersTimeout: limits.httpHeadTimeoutMs,
  requestTimeout: limits.httpRequestTimeoutMs,
  keepAliveTimeout: limits.httpKeepAliveTimeoutMs,
  connectionsCheckingInterval: limits.httpConnectionCheckMs,
  noDelay: true,
};

function withBounds(server: Server, onError: (error: Error) => void): Server {
  // A failing accept (no file descriptor left) must not end the service.
  server.on('error', onError);
  server.maxConnections = limits.maxHttpConnections;
  server.timeout = limits.httpIdleTimeoutMs;
  server.on('clientError', (error, socket) => answerBrokenRequest(error, socket as never));
  return server;
}

async function readTls(files: TlsFiles): Promise<{ cert: Buffer; key: Buffer }> {
  const read = async (what: string, path: string): Promise<Buffer> =>
    readFile(path).catch((cause: NodeJS.ErrnoException) => {
      throw failed(`The TLS ${what} ${path} cannot be read (${cause.code ?? 'unknown'}).`, cause);
    });
  return { cert: await read('certificate', files.certFile), key: await read('key', files.keyFile) };
}

function hostNamesOf(host: string, more: readonly string[]): ReadonlySet<string> | null {
  if (!isLoopback(host)) return null;
  const names = ['localhost', '127.0.0.1', '[::1]', inUrl(host), ...more];
  return new Set(names.map((name) => name.toLowerCase()));
}

/** The open listeners of one server. */
export class Listeners {
  readonly #clock: Clock;
  readonly #handler: RequestListener;
  readonly #onError: (error: Error) => void;
  readonly #servers: Server[] = [];
  /** Connections, and how many requests of each are under way. */
  readonly #connections = new Map<Socket, number>();
  #closing = false;
  #address: ListenAddress = { url: null, host: null, port: null, socketPath: null };

  /** `onError` hears of what goes wrong while listening (accept fails); nothing ends by it. */
  constructor(handler: RequestListener, clock: Clock, onError: (error: Error) => void) {
    this.#handler = handler;
    this.#clock = clock;
    this.#onError = onError;
  }

  get address(): ListenAddress {
    return this.#address;
  }

  /** Opens them all or none. Errors: VMPULSE_E_LISTEN, with what to do. */
  async open(options: ListenOptions): Promise<ListenAddress> {
    if (options.port === undefined && options.socketPath === undefined) {
      throw failed('There is nothing to listen on: give a port, a Unix socket, or both.');
    }
    try {
      if (options.port !== undefined) await this.#openTcp(options, options.port);
      if (options.socketPath !== undefined) await this.#openUnix(options.socketPath);
    } catch (error) {
      await this.close(0);
      throw error;
    }
    return this.#address;
  }

  async #openTcp(options: ListenOptions, port: number): Promise<void> {
    const { host = '127.0.0.1', tls } = options;
    if (tls === undefined && !isLoopback(host)) {
      throw failed(
        `${host} is reachable from other hosts, and the token must not cross a network in the clear: ` +
          'give a certificate and its key (--tls-cert FILE --tls-key FILE), or listen on 127.0.0.1.',
      );
    }
    const handler = this.#from({ kind: 'tcp', hostNames: hostNamesOf(host, options.hostNames ?? []) });
    const server = withBounds(
      tls === undefined ? createServer(serverOptions, handler) : await this.#tlsServer(tls, handler),
      this.#onError,
    );
    await new Promise<void>((resolve, reject) => {
      const onError = (cause: NodeJS.ErrnoException): void => reject(explain(host, port, cause));
      server.once('error', onError);
      server.listen({ host, port, backlog: 511 }, () => {
        server.off('error', onError);
        resolve();
      });
    });
    this.#keep(server, tls === undefined ? 'connection' : 'secureConnection');
    const bound = (server.address() as AddressInfo).port;
    const url = `${tls === undefined ? 'http' : 'https'}://${inUrl(host)}:${bound}`;
    this.#address = { ...this.#address, url, host, port: bound };
  }

  async #tlsServer(tls: TlsFiles, handler: RequestListener): Promise<Server> {
    const pair = await readTls(tls);
    try {
      const options = { ...serverOptions, ...pair, handshakeTimeout: limits.tlsHandshakeTimeoutMs };
      return createTlsServer(options, handler);
    } catch (cause) {
      throw failed(`${tls.certFile} and ${tls.keyFile} are no certificate with its key (PEM).`, cause);
    }
  }

  async #openUnix(path: string): Promise<void> {
    const handler = this.#from({ kind: 'unix', hostNames: null });
    const server = withBounds(createServer(serverOptions, handler), this.#onError);
    await listenOnUnixSocket(server, path, this.#clock);
    this.#keep(server, 'connection');
    this.#address = { ...this.#address, socketPath: path };
  }

  #keep(server: Server, connected: 'connection' | 'secureConnection'): void {
    this.#servers.push(server);
    server.on(connected, (socket: Socket) => {
      this.#connections.set(socket, 0);
      socket.once('close', () => this.#connections.delete(socket));
    });
  }

  #from(transport: Transport): RequestListener {
    return (request, response) => {
      const { socket } = request;
      noteTransport(socket, transport);
      this.#connections.set(socket, (this.#connections.get(socket) ?? 0) + 1);
      response.once('close', () => this.#answered(socket));
      this.#handler(request, response);
    };
  }

  #answered(socket: Socket): void {
    const left = (this.#connections.get(socket) ?? 1) - 1;
    if (!socket.destroyed) this.#connections.set(socket, left);
    // What was written still goes out.
    if (this.#closing && left === 0) socket.destroySoon();
  }

  /** Takes no more connections, lets requests under way end within `withinMs`, then cuts what is left. */
  async close(withinMs: number): Promise<void> {
    const servers = this.#servers.splice(0);
    this.#closing = true;
    const closed = servers.map(
      async (server) =>
        new Promise<void>((resolve) => {
          server.close(() => resolve());
          server.closeIdleConnections();
        }),
    );
    // Browsers and HTTP clients keep one open that they have asked nothing on yet; Node does not take it for idle.
    for (const [socket, requests] of this.#connections) if (requests === 0) socket.destroy();
    const timer = this.#clock.setTimer(() => {
      for (const server of servers) server.closeAllConnections();
    }, withinMs);
    await Promise.all(closed);
    timer.cancel();
  }
}
