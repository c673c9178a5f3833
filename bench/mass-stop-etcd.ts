/**
 * etcd as a monitor of heartbeats: a key with a lease of its own for each guest, and a watch that tells its end.
 * Part of mass-stop.ts. Through etcd's HTTP gateway; the deadline of a lease is counted from when its grant was
 * answered, and nothing is kept alive meanwhile: both in its favour.
 */
import { Agent, type IncomingMessage, request } from 'node:http';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { distribution, say } from './figures.ts';
import { hasPeer, PeerProcess, versionOf } from './peer-process.ts';

const atOnce = 64;
const patienceMs = 120_000;
/** Leases of keys that do not expire while it is measured, seconds. */
const longLeaseS = 3_600;

const encode = (text: string): string => Buffer.from(text).toString('base64');

class Gateway {
  private readonly agent = new Agent({ keepAlive: true, maxSockets: atOnce });
  private readonly port: number;

  constructor(port: number) {
    this.port = port;
  }

  async call(path: string, body: unknown): Promise<Record<string, unknown>> {
    const answer = await this.open(path, body, this.agent);
    let text = '';
    for await (const chunk of answer) text += String(chunk);
    const parsed = JSON.parse(text) as Record<string, unknown>;
    if (answer.statusCode !== 200) throw new Error(`etcd answered ${path} with ${text}`);
    return parsed;
  }

  /** The answer as it comes, without an agent where it has no end. */
  open(path: string, body: unknown, agent?: Agent): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const { port } = this;
      const asked = request(
        { host: '127.0.0.1', port, path, method: 'POST', agent: agent ?? false },
        resolve,
      );
      asked.on('error', reject);
      asked.end(JSON.stringify(body));
    });
  }

  close(): void {
    this.agent.destroy();
  }
}

interface Watched {
  readonly overshootMs: number[];
  lastMs: number;
  close(): void;
}

/** Keys that are deleted, each against its deadline. */
async function watchDeletions(gateway: Gateway, prefix: string, deadlinesMs: Float64Array): Promise<Watched> {
  const stream = await gateway.open('/v3/watch', {
    create_request: { key: encode(prefix), range_end: encode(`${prefix}~`) },
  });
  const watched: Watched = { overshootMs: [], lastMs: 0, close: () => stream.destroy() };
  stream.on('error', () => undefined);
  let rest = '';
  stream.on('data', (chunk: Buffer) => {
    const nowMs = performance.now();
    const lines = (rest + chunk.toString()).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const { result } = JSON.parse(line) as {
        result?: { events?: { type?: string; kv: { key: string } }[] };
      };
      for (const { type, kv } of result?.events ?? []) {
        if (type !== 'DELETE') continue;
        const key = Number(Buffer.from(kv.key, 'base64').toString().slice(prefix.length));
        watched.overshootMs.push(nowMs - (deadlinesMs[key] as number));
        watched.lastMs = nowMs;
      }
    }
  });
  return watched;
}

async function expire(gateway: Gateway, keys: number, dying: number, leaseS: number): Promise<void> {
  const prefix = `guest-${dying}-`;
  const deadlinesMs = new Float64Array(keys);
  const watched = await watchDeletions(gateway, prefix, deadlinesMs);
  let [next, lastDeadlineMs] = [0, 0];
  const beganMs = performance.now();
  const lane = async (): Promise<void> => {
    for (let key = next++; key < keys; key = next++) {
      const dies = key % Math.round(keys / dying) === 0;
      const ttlS = dies ? leaseS : longLeaseS;
      const { ID } = await gateway.call('/v3/lease/grant', { TTL: ttlS });
      deadlinesMs[key] = performance.now() + ttlS * 1_000;
      if (dies) lastDeadlineMs = Math.max(lastDeadlineMs, deadlinesMs[key] as number);
      await gateway.call('/v3/kv/put', { key: encode(`${prefix}${key}`), value: encode('1'), lease: ID });
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  const what = dying === keys ? `all ${keys} leases` : `${dying} of ${keys} leases`;
  say(`etcd: ${keys} leases granted and used in`, performance.now() - beganMs, 'ms');
  if (performance.now() > beganMs + leaseS * 1_000) throw new Error('the leases were not granted in time');
  const endMs = lastDeadlineMs + patienceMs;
  while (watched.overshootMs.length < dying && performance.now() < endMs) await delay(50);
  say(`etcd: ${what} expire: events`, watched.overshootMs.length);
  say(`etcd: ${what} expire: deadline -> event at a watch`, distribution(watched.overshootMs), 'ms');
  say(`etcd: ${what} expire: last deadline -> last event`, watched.lastMs - lastDeadlineMs, 'ms');
  watched.close();
}

/** `some` of `leases` expire, then all of as many. */
export async function massStopOfEtcd(leases: number, some: number): Promise<void> {
  if (!hasPeer('etcd', { etcd: 'etcd-server' })) return;
  console.log(versionOf('etcd'));
  const directory = await mkdtemp(join(tmpdir(), 'vmpulse-etcd-'));
  const port = 20_000 + (process.pid % 20_000);
  const [client, peer] = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${port + 1}`];
  const urls = {
    'listen-client-urls': client,
    'advertise-client-urls': client,
    'listen-peer-urls': peer,
    'initial-advertise-peer-urls': peer,
    'initial-cluster': `default=${peer}`,
  };
  const settings = { 'data-dir': directory, 'log-level': 'error', ...urls };
  const flags = Object.entries(settings).map(([name, value]) => `--${name}=${value}`);
  const server = new PeerProcess('etcd', flags);
  const gateway = new Gateway(port);
  try {
    for (let waits = 0; waits < 100; waits += 1) {
      const up = await gateway.call('/v3/maintenance/status', {}).then(Boolean, () => false);
      if (up) break;
      await delay(100);
    }
    if (server.ended) throw new Error(`etcd did not start: ${server.output}`);
    await expire(gateway, leases, some, 60);
    await expire(gateway, leases, leases, 60);
  } finally {
    gateway.close();
    await server.end();
    await rm(directory, { recursive: true, force: true });
  }
}
