/** An endpoint for webhooks on a real socket: answers as its script says, and keeps what it was sent. */
import {
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
  createServer,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { text } from 'node:stream/consumers';

/** One request, read whole. */
export interface Received {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly seq: number | undefined;
}

/** What an endpoint does with a request. */
export type EndpointScript = (received: Received, response: ServerResponse, request: IncomingMessage) => void;

/** Answers with a status and a short body. */
export function answering(status: number, headers: Record<string, string> = {}, body = 'ok'): EndpointScript {
  return (_received, response) => void response.writeHead(status, headers).end(body);
}

/** See the head of this file. */
export class Endpoint {
  readonly received: Received[] = [];
  /** Connections that were opened. */
  connections = 0;
  /** Of them, those that are open. */
  open = 0;
  script: EndpointScript;
  readonly #server: ReturnType<typeof createServer>;
  readonly #scheme: string;

  private constructor(script: EndpointScript, tls: { key: string; cert: string } | undefined) {
    this.script = script;
    this.#scheme = tls === undefined ? 'http' : 'https';
    const listener: RequestListener = (request, response) => void this.#serve(request, response);
    this.#server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
    // A kept connection is closed by what a test does, never because a busy machine let it lie idle for seconds.
    this.#server.keepAliveTimeout = 0;
    this.#server.on('connection', (socket: Socket) => {
      this.connections += 1;
      this.open += 1;
      socket.on('close', () => {
        this.open -= 1;
      });
    });
  }

  static async start(
    script: EndpointScript = answering(204, {}, ''),
    tls?: { key: string; cert: string },
  ): Promise<Endpoint> {
    const endpoint = new Endpoint(script, tls);
    await new Promise<void>((resolve) => {
      endpoint.#server.listen(0, '127.0.0.1', resolve);
    });
    return endpoint;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `${this.#scheme}://127.0.0.1:${this.port}/hook`;
  }

  /** seq of what was received, in order. */
  get seqs(): (number | undefined)[] {
    return this.received.map(({ seq }) => seq);
  }

  async stop(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await text(request).catch(() => '');
    const { seq } = JSON.parse(body === '' ? '{}' : body) as { seq?: number };
    const received: Received = { headers: request.headers, body, seq };
    this.received.push(received);
    this.script(received, response, request);
  }
}
