/** `fetch` over node:http(s), for what the platform's own cannot do: Unix sockets and a certificate authority. */
import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import { rootCertificates } from 'node:tls';
import type { FetchFunction } from './transport.ts';

/** How to reach the server. */
export interface NodeFetchOptions {
  /** Path of the Unix socket. */
  readonly socketPath?: string;
  /** Certificate authority to trust besides the system's, PEM. */
  readonly ca?: string;
}

/** A fetch with its own connections; `close` ends those that are idle or in use. */
export interface NodeFetch {
  readonly fetch: FetchFunction;
  readonly close: () => void;
}

/** Connections kept open are unref'd while idle: they keep no process alive. */
export function createNodeFetch(options: NodeFetchOptions): NodeFetch {
  const http = new HttpAgent({ keepAlive: true });
  const https = new HttpsAgent({
    keepAlive: true,
    ...(options.ca === undefined ? {} : { ca: [...rootCertificates, options.ca] }),
  });
  const fetch: FetchFunction = (url, init) =>
    new Promise((resolve, reject) => {
      const secure = url.startsWith('https:');
      const request = (secure ? requestHttps : requestHttp)(
        url,
        {
          method: init.method,
          headers: {
            ...init.headers,
            ...(init.body === undefined ? {} : { 'content-length': String(Buffer.byteLength(init.body)) }),
          },
          agent: secure ? https : http,
          signal: init.signal,
          ...(options.socketPath === undefined ? {} : { socketPath: options.socketPath }),
        },
        (message) => {
          const status = message.statusCode ?? 0;
          if (status >= 300 && status < 400) {
            message.destroy();
            reject(new Error(`unexpected redirect (HTTP ${status})`));
            return;
          }
          resolve(toResponse(message, status));
        },
      );
      request.on('error', reject);
      request.end(init.body);
    });
  return {
    fetch,
    close: () => {
      http.destroy();
      https.destroy();
    },
  };
}

const bodiless = new Set([204, 205, 304]);

function toResponse(message: IncomingMessage, status: number): Response {
  const headers = new Headers();
  for (const [name, values] of Object.entries(message.headersDistinct)) {
    for (const value of values ?? []) headers.append(name, value);
  }
  if (bodiless.has(status)) {
    message.resume();
    return new Response(null, { status, headers });
  }
  return new Response(toStream(message), { status, headers });
}

/** The body as a web stream: paused while nobody reads, so that it holds one chunk at most. */
function toStream(message: IncomingMessage): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    start(controller) {
      let ended = false;
      const end = (error?: Error): void => {
        if (ended) return;
        ended = true;
        if (error === undefined) controller.close();
        else controller.error(error);
      };
      message.on('data', (chunk: Buffer) => {
        if (ended) return;
        controller.enqueue(new Uint8Array(chunk));
        if ((controller.desiredSize ?? 0) <= 0) message.pause();
      });
      message.once('end', () => end());
      message.once('error', end);
      message.once('close', () => end(message.complete ? undefined : new Error('the connection broke off')));
      message.pause();
    },
    pull() {
      message.resume();
    },
    cancel() {
      message.destroy();
    },
  });
}
