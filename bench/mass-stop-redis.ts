/**
 * Redis as a monitor of heartbeats: a key with a time to live for each guest, and a reader of the keyspace events that
 * tell its end. Part of mass-stop.ts. It is given every advantage: no persistence, no refreshing of keys while it
 * looks for expired ones, hz and effort at their highest.
 */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { distribution, say } from './figures.ts';
import { hasPeer, PeerProcess, versionOf } from './peer-process.ts';

/** Deadlines are spread over so long, as those of ticking guests are over their interval. */
const spreadMs = 6_000;
const commandsAtOnce = 10_000;
const patienceMs = 240_000;

function encode(words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`;
}

function wallMs(): number {
  return performance.timeOrigin + performance.now();
}

/** Sends commands whose answers are one line each, and counts those. */
class Client {
  readonly socket: Socket;
  private answers = 0;
  private wanted = 0;
  private done: (() => void) | null = null;

  constructor(path: string) {
    this.socket = connect(path);
    this.socket.on('data', (chunk: Buffer) => {
      for (const byte of chunk) if (byte === 0x0a) this.answers += 1;
      if (this.answers >= this.wanted) this.done?.();
    });
  }

  async send(commands: readonly (readonly string[])[]): Promise<void> {
    this.wanted += commands.length;
    const answered = new Promise<void>((resolve) => {
      this.done = resolve;
    });
    this.socket.write(commands.map(encode).join(''));
    if (this.answers < this.wanted) await answered;
  }
}

/** Reads `expired` events: of each message seven lines, the last of which is the key. */
class Expirations {
  readonly deadlineMs: Float64Array;
  readonly overshootMs: number[] = [];
  lastMs = 0;
  private readonly socket: Socket;
  private rest = '';
  private lines: string[] = [];

  constructor(path: string, keys: number) {
    this.deadlineMs = new Float64Array(keys);
    this.socket = connect(path);
    this.socket.setEncoding('latin1');
    this.socket.on('data', (text: string) => this.take(text));
  }

  async subscribe(): Promise<void> {
    await once(this.socket, 'connect');
    this.socket.write(encode(['SUBSCRIBE', '__keyevent@0__:expired']));
    await delay(200);
    this.lines = [];
  }

  close(): void {
    this.socket.destroy();
  }

  private take(text: string): void {
    const nowMs = wallMs();
    const parts = (this.rest + text).split('\r\n');
    this.rest = parts.pop() ?? '';
    for (const line of parts) {
      this.lines.push(line);
      if (this.lines.length < 7) continue;
      const key = Number(this.lines[6]);
      this.lines = [];
      this.overshootMs.push(nowMs - (this.deadlineMs[key] as number));
      this.lastMs = nowMs;
    }
  }
}

async function expire(path: string, keys: number, dying: number): Promise<void> {
  const client = new Client(path);
  const expirations = new Expirations(path, keys);
  await expirations.subscribe();
  await client.send([['FLUSHALL']]);
  // Late enough for every key to be there when the first of them expires.
  const firstMs = Math.ceil(wallMs()) + 10_000 + keys / 50;
  for (let key = 0; key < keys;) {
    const commands: string[][] = [];
    for (; commands.length < commandsAtOnce && key < keys; key += 1) {
      const dies = key % Math.round(keys / dying) === 0;
      const deadlineMs = Math.round(firstMs + (dies ? Math.random() * spreadMs : 3_600_000));
      expirations.deadlineMs[key] = deadlineMs;
      commands.push(['SET', String(key), '1', 'PXAT', String(deadlineMs)]);
    }
    await client.send(commands);
  }
  if (wallMs() > firstMs) throw new Error('the keys were not made in time');
  const endMs = firstMs + spreadMs + patienceMs;
  while (expirations.overshootMs.length < dying && wallMs() < endMs) await delay(50);
  const what = dying === keys ? `all ${keys} keys` : `${dying} of ${keys} keys`;
  say(`Redis: ${what} expire: events`, expirations.overshootMs.length);
  say(`Redis: ${what} expire: deadline -> event at a reader`, distribution(expirations.overshootMs), 'ms');
  say(`Redis: ${what} expire: last deadline -> last event`, expirations.lastMs - firstMs - spreadMs, 'ms');
  expirations.close();
  client.socket.destroy();
}

/** `some` of `keys` expire, then all of as many. */
export async function massStopOfRedis(keys: number, some: number): Promise<void> {
  if (!hasPeer('Redis', { 'redis-server': 'redis-server' })) return;
  console.log(versionOf('redis-server'));
  const directory = await mkdtemp(join(tmpdir(), 'vmpulse-redis-'));
  const path = join(directory, 'redis.sock');
  const settings = ['--hz', '500', '--active-expire-effort', '10', '--notify-keyspace-events', 'Ex'];
  const where = ['--port', '0', '--unixsocket', path, '--dir', directory, '--save', '', '--appendonly', 'no'];
  const bounds = ['--client-output-buffer-limit', 'pubsub', '0', '0', '0'];
  const server = new PeerProcess('redis-server', [...where, ...settings, ...bounds]);
  try {
    for (let waits = 0; !server.output.includes('ready to accept') && waits < 100; waits += 1)
      await delay(50);
    if (server.ended) throw new Error(`redis-server did not start: ${server.output}`);
    await expire(path, keys, some);
    await expire(path, keys, keys);
  } finally {
    await server.end();
    await rm(directory, { recursive: true, force: true });
  }
}
