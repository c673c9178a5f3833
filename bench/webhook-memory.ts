/**
 * What 100 stuck webhooks cost the service: `npm run build`, then
 * `node bench/webhook-memory.ts [EVENTS] [SECONDS] [WEBHOOKS]` (100,000 events of backlog, 60 s, 100). Endpoints take
 * the connection and never answer, or answer one byte a second; besides, one that is well must not be late. The
 * service (real store, webhooks, HTTP face) is a process of its own. Memory is told before the webhooks are made,
 * at its highest while they are stuck, and at the end.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, type Server, type Socket, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { ServiceAnswer, ServiceCommand } from './delivery-service.ts';
import { say, sayWhere } from './figures.ts';
import { Endpoint } from '../test/support/endpoint.ts';

type Behaviour = 'silent' | 'trickling';

/** Takes connections, reads, and behaves badly. */
class StuckEndpoint {
  opened = 0;
  readonly sockets = new Set<Socket>();
  readonly #server: Server;

  private constructor(behaviour: Behaviour) {
    this.#server = createServer((socket) => {
      this.opened += 1;
      this.sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('data', () => {
        if (behaviour === 'trickling') this.#trickle(socket);
      });
      socket.on('data', () => undefined);
      socket.once('close', () => this.sockets.delete(socket));
    });
  }

  static async start(behaviour: Behaviour): Promise<StuckEndpoint> {
    const endpoint = new StuckEndpoint(behaviour);
    endpoint.#server.listen(0, '127.0.0.1');
    await once(endpoint.#server, 'listening');
    return endpoint;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/hook`;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.sockets) socket.destroy();
  }

  #trickle(socket: Socket): void {
    const answer = `HTTP/1.1 200 OK\r\nX-Slow: ${'x'.repeat(10_000)}`;
    let at = 0;
    const timer = setInterval(() => {
      socket.write(answer.charAt(at));
      at += 1;
    }, 1_000);
    socket.once('close', () => clearInterval(timer));
  }
}

const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);

async function measure(behaviour: Behaviour, events: number, seconds: number, count: number): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'vmpulse-webhooks-'));
  const service = fork(new URL('delivery-service.ts', import.meta.url), [directory], {
    serialization: 'advanced',
  });
  const gone = new AbortController();
  service.once('exit', () => gone.abort());
  const obey = async (command: ServiceCommand): Promise<ServiceAnswer> => {
    const answered = once(service, 'message', { signal: gone.signal }) as Promise<[ServiceAnswer]>;
    service.send(command);
    return (await answered)[0];
  };
  const stuck = await StuckEndpoint.start(behaviour);
  const well = await Endpoint.start();
  try {
    await obey({ do: 'fill', count: events, rareEvery: 1_000 });
    const before = await obey({ do: 'settled' });
    const hook = (name: string, url: string): { name: string; url: string; after: number } => ({
      name,
      url,
      after: 0,
    });
    const requests = Array.from({ length: count }, (_none, index) => hook(`stuck-${index}`, stuck.url));
    // The last place is that of the one that is well.
    await obey({ do: 'webhooks', requests: [...requests.slice(1), hook('well', well.url)] });
    let [rss, heap, sockets, open] = [0, 0, 0, 0];
    const beganMs = performance.now();
    let after = before;
    while (performance.now() - beganMs < seconds * 1_000) {
      after = await obey({ do: 'standing' });
      rss = Math.max(rss, after.rssBytes);
      heap = Math.max(heap, after.heapBytes);
      sockets = Math.max(sockets, after.sockets);
      open = Math.max(open, stuck.sockets.size);
      await delay(250);
    }
    const name = `${count - 1} ${behaviour}`;
    const rssLine = [before.rssBytes, rss, after.rssBytes].map(mebibytes).join(' / ');
    const heapLine = [before.heapBytes, heap, after.heapBytes].map(mebibytes).join(' / ');
    say(`${name}: resident before, highest, after ${seconds} s`, rssLine, 'MiB');
    say(`${name}: heap`, heapLine, 'MiB');
    say(`${name}: sockets of the service, highest`, `${before.sockets} / ${sockets}`);
    say(`${name}: connections at the stuck endpoint, highest / in all`, `${open} / ${stuck.opened}`);
    say(`${name}: the one that is well got meanwhile`, well.received.length / seconds, 'events/s');
  } finally {
    service.kill('SIGKILL');
    stuck.close();
    await well.stop();
    rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

const [events = 100_000, seconds = 60, count = 100] = process.argv.slice(2).map(Number);
sayWhere();
await measure('silent', events, seconds, count);
await measure('trickling', events, seconds, count);
sayWhere();
process.exit(0);
