/** The HTTP face on real sockets over a scripted service and a log in memory, and the plainest of clients. */
import { type IncomingHttpHeaders, type RequestOptions, request as httpRequest } from 'node:http';
import { type Socket, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EventDraft, VmEvent } from '@vmpulse/wire';
import { type Clock, SystemClock } from '../../packages/server/src/clock.ts';
import { Subscriptions } from '../../packages/server/src/delivery/subscriptions.ts';
import { Webhooks } from '../../packages/server/src/delivery/webhooks.ts';
import { Scripts } from '../../packages/server/src/delivery/script.ts';
import { Metrics } from '../../packages/server/src/http/metrics.ts';
import {
  type HttpServer,
  type HttpServerOptions,
  type ListenOptions,
  createHttpServer,
} from '../../packages/server/src/http/server.ts';

import { Incidents } from '../../packages/server/src/recovery/evidence.ts';
import { MemoryEventLog } from './memory-event-log.ts';
import { ScriptedMachineService } from './scripted-machine-service.ts';
import { ScriptedRecovery } from './scripted-recovery.ts';

/** The token of every fixture. */
export const testToken = 'test-token-0123456789-0123456789-abcdef';

/** A server that listens, and what it is made from. */
export interface HttpFixture {
  readonly server: HttpServer;
  readonly service: ScriptedMachineService;
  readonly webhooks: Webhooks;
  readonly log: MemoryEventLog;
  readonly metrics: Metrics;
  readonly subscriptions: Subscriptions;
  readonly port: number;
  /** Lines the server logged. */
  readonly logged: string[];
}

/** Starts one on a free port of 127.0.0.1. */
export async function startHttp(
  options: Partial<HttpServerOptions> & {
    readonly clock?: Clock;
    readonly listen?: ListenOptions;
    readonly log?: MemoryEventLog;
  } = {},
): Promise<HttpFixture> {
  const clock = options.clock ?? new SystemClock();
  const log = options.log ?? new MemoryEventLog();
  const service = new ScriptedMachineService();
  const metrics = new Metrics({ processMetrics: false });
  const logged: string[] = [];
  const record = (details: object, message: string): void => {
    const error = 'err' in details ? String((details.err as Error).stack) : '';
    logged.push(`${message} ${error}`);
  };
  const logger = { info: record, warn: record, error: record } as unknown as HttpServerOptions['logger'];
  const { listen = { port: 0 }, ...rest } = options;
  const warn = (message: string, err: unknown): void => record({ err }, message);
  // Random pauses are whole: a test sees their bound.
  const subscriptions = new Subscriptions({ clock, log, store: log, warn, random: () => 0 });
  await subscriptions.load();
  const webhooks = await Webhooks.open({ clock, log, store: log, version: '1.2.3', warn: () => undefined });
  webhooks.start();
  // Kept, and not run: no test of the HTTP face starts them.
  const scripts = new Scripts({
    clock,
    log,
    store: log,
    logger,
    directory: join(tmpdir(), 'vmpulse-no-scripts'),
    findVm: (vm) => service.get(vm),
  });
  const server = await createHttpServer({
    service,
    webhooks,
    subscriptions,
    scripts,
    recovery: new ScriptedRecovery(service),
    incidents: new Incidents({
      clock: new SystemClock(),
      directory: '/nonexistent/incidents',
      machines: { recoverable: () => ({ process: null }) },
      memoryDumpMiB: () => null,
    }),
    log,
    metrics,
    logger,
    clock,
    token: testToken,
    version: '1.2.3',
    ready: () => ({ ready: true, reasons: [] }),
    ...rest,
  });
  const { port } = await server.listen(listen);
  return { server, service, webhooks, log, metrics, subscriptions, port: port ?? 0, logged };
}

/** An answer, read whole. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  readonly json: Record<string, unknown>;
}

/** One request on a connection of its own. A `body` that is no string or Buffer goes as JSON. */
export async function ask(
  where: { readonly port: number } | { readonly socketPath: string },
  method: string,
  path: string,
  options: {
    readonly headers?: Record<string, string>;
    readonly body?: unknown;
    readonly token?: string | null;
  } = {},
): Promise<Answer> {
  const { body, token = 'port' in where ? testToken : null } = options;
  const raw = typeof body === 'string' || Buffer.isBuffer(body);
  const bytes = body === undefined || raw ? body : JSON.stringify(body);
  const settings: RequestOptions = {
    ...('port' in where ? { host: '127.0.0.1', port: where.port } : { socketPath: where.socketPath }),
    method,
    path,
    agent: false,
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined || raw ? {} : { 'content-type': 'application/json' }),
      ...(bytes === undefined ? {} : { 'content-length': String(Buffer.byteLength(bytes)) }),
      ...options.headers,
    },
  };
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(settings, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('error', reject);
      response.on('end', () => {
        const isJson = /json/.test(response.headers['content-type'] ?? '') && text !== '';
        const json = (isJson ? JSON.parse(text) : {}) as Record<string, unknown>;
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json });
      });
    });
    outgoing.on('error', reject);
    outgoing.end(bytes);
  });
}

/** Sends bytes as they are and reads until the server closes. */
export async function askRaw(port: number, bytes: string): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1' });
  socket.write(bytes);
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  return text;
}

/** A connection that asked for a stream and reads nothing until told to. */
export function openRawStream(port: number, path = '/v1/events', headers: readonly string[] = []): Socket {
  const socket = connect({ port, host: '127.0.0.1' });
  socket.pause();
  const head = [
    `GET ${path} HTTP/1.1`,
    'Host: localhost',
    'Accept: text/event-stream',
    `Authorization: Bearer ${testToken}`,
    ...headers,
  ];
  socket.write(`${head.join('\r\n')}\r\n\r\n`);
  socket.on('error', () => undefined);
  return socket;
}

/** One block of a stream: its lines by field; comments under ''. */
export type Block = Record<string, string>;

/** A stream being read. */
export interface StreamReader {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** All that came so far. */
  readonly blocks: Block[];
  /** The events among them. */
  events(): VmEvent[];
  /** Resolves when `condition` holds, looked at whenever something comes or the stream ends. */
  until(condition: () => boolean): Promise<void>;
  readonly ended: boolean;
  close(): void;
}

function parseBlock(text: string): Block {
  const block: Block = {};
  for (const line of text.split('\n')) {
    const [, field = '', value = ''] = /^([^:]*): ?([^]*)$/.exec(line) ?? [];
    block[field] = field in block ? `${block[field]}\n${value}` : value;
  }
  return block;
}

/** Opens a stream and reads it. */
export async function openStreamReader(
  port: number,
  path = '/v1/events',
  headers: Record<string, string> = {},
): Promise<StreamReader> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(
      {
        host: '127.0.0.1',
        port,
        path,
        agent: false,
        headers: { accept: 'text/event-stream', authorization: `Bearer ${testToken}`, ...headers },
      },
      (response) => {
        const state = { rest: '', ended: false, wake: (): void => undefined };
        const blocks: Block[] = [];
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          const parts = (state.rest + chunk).split('\n\n');
          state.rest = parts.pop() ?? '';
          blocks.push(...parts.map(parseBlock));
          state.wake();
        });
        response.on('error', () => undefined);
        response.on('close', () => {
          state.ended = true;
          state.wake();
        });
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          blocks,
          events: () =>
            blocks.flatMap((block) =>
              block['data'] === undefined ? [] : [JSON.parse(block['data']) as VmEvent],
            ),
          until: async (condition) => {
            while (!condition()) {
              if (state.ended) throw new Error(`the stream ended: ${JSON.stringify(blocks.slice(-3))}`);
              await new Promise<void>((wake) => {
                state.wake = wake;
              });
            }
          },
          get ended() {
            return state.ended;
          },
          close: () => outgoing.destroy(),
        });
      },
    );
    outgoing.on('error', reject);
    outgoing.end();
  });
}

/** An event of `size` characters or more about machine `vm`. */
export function draft(vm: { readonly id: string; readonly name: string }, size = 0): EventDraft {
  return {
    type: 'configurationChanged',
    vm,
    timeMs: 0,
    data: { key: 'notes', value: 'x'.repeat(size), effective: 'now' },
  };
}
