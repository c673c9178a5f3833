/**
 * What a tick costs: in the parser, and from a real socket to the listener. Run by itself: `node bench/tick-source.ts`.
 * The sender is a process of its own, so that what is measured is the listening side alone.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '../packages/server/src/clock.ts';
import { TickerParser } from '../packages/server/src/tick/protocol.ts';
import type { TickListener } from '../packages/server/src/tick/source.ts';
import { VirtioSerialSource } from '../packages/server/src/tick/virtio-serial.ts';

/** One measurement. */
export interface Measurement {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
}

const ignore = (): void => undefined;

function nsPerCall(iterations: number, call: () => void): number {
  for (let i = 0; i < iterations / 10; i++) call();
  const start = process.hrtime.bigint();
  for (let i = 0; i < iterations; i++) call();
  return Number(process.hrtime.bigint() - start) / iterations;
}

/** Nanoseconds the parser takes for a tick, a hello and 64 KiB of garbage. */
export function benchParser(): Measurement[] {
  let ticks = 0;
  const onTick = (): void => {
    ticks += 1;
  };
  const parser = new TickerParser({ onHello: ignore, onTick, onBye: ignore, onRejected: ignore });
  const one = Buffer.from('tick 86400 86400123\n');
  const many = Buffer.from('tick 86400 86400123\n'.repeat(1_000));
  const halves = [one.subarray(0, 9), one.subarray(9)] as const;
  const hello = Buffer.from(
    'hello v=1 version=1.0.0 interval_ms=1000 os=Debian%20GNU%2FLinux%2012 host=web-1\n',
  );
  const worst = Buffer.from(`hello v=1 os=${'%C3%BC'.repeat(82)}\n`);
  const [garbage, newlines] = [Buffer.alloc(65_536, 'x'), Buffer.alloc(65_536, '\n')];
  const feed = (bytes: Buffer) => (): void => parser.feed(bytes);
  const results = [
    { name: 'tick, one a read', value: nsPerCall(2_000_000, feed(one)), unit: 'ns' },
    { name: 'tick, 1,000 a read', value: nsPerCall(2_000, feed(many)) / 1_000, unit: 'ns' },
    {
      name: 'tick, cut in two reads',
      value: nsPerCall(1_000_000, () => halves.forEach((half) => parser.feed(half))),
      unit: 'ns',
    },
    { name: 'hello', value: nsPerCall(100_000, feed(hello)), unit: 'ns' },
    { name: 'hello at its longest', value: nsPerCall(50_000, feed(worst)), unit: 'ns' },
    { name: '64 KiB without a newline', value: nsPerCall(2_000, feed(garbage)) / 1_000, unit: 'us' },
    { name: '64 KiB of newlines', value: nsPerCall(2_000, feed(newlines)) / 1_000, unit: 'us' },
  ];
  if (ticks === 0) throw new Error('no tick was heard');
  return results;
}

const sender = `
  const [folder, ports, perSecond] = process.argv.slice(1);
  const net = require('node:net');
  const sockets = new Set();
  let listening = 0;
  for (let i = 0; i < ports; i++) {
    net.createServer((socket) => { sockets.add(socket); socket.on('error', () => sockets.delete(socket)); })
      .listen(folder + '/' + i, () => { if (++listening === Number(ports)) console.log('listening'); });
  }
  let seq = 0;
  setInterval(() => {
    seq += 1;
    for (const socket of sockets) socket.write('tick ' + seq + ' ' + seq * 100 + '\\n');
  }, 1000 / perSecond);
`;

/** Processor time of this process for each tick that comes from one of `ports` real sockets. */
export async function benchSockets(
  ports: number,
  perSecond: number,
  durationMs: number,
): Promise<Measurement[]> {
  const folder = await mkdtemp(join(tmpdir(), 'ticks-'));
  const child = spawn(process.execPath, ['-e', sender, folder, String(ports), String(perSecond)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const clock = new SystemClock();
  const source = new VirtioSerialSource(clock);
  try {
    await once(child.stdout, 'data');
    const count = { ticks: 0, connected: 0 };
    const listener: TickListener = {
      onHello: ignore,
      onTick: () => {
        count.ticks += 1;
      },
      onBye: ignore,
      onRejected: ignore,
      onConnection: () => {
        count.connected += 1;
      },
    };
    const subscriptions = Array.from({ length: ports }, (_, i) =>
      source.listen(join(folder, String(i)), listener),
    );
    for (let i = 0; i < 500 && count.connected < ports; i++) await clock.sleep(20);
    await clock.sleep(1_000);
    const before = { ticks: count.ticks, cpu: process.cpuUsage(), atMs: clock.monotonicMs() };
    await clock.sleep(durationMs);
    const cpu = process.cpuUsage(before.cpu);
    const cpuUs = cpu.user + cpu.system;
    const heard = count.ticks - before.ticks;
    const elapsedMs = clock.monotonicMs() - before.atMs;
    for (const subscription of subscriptions) subscription.close();
    const name = `${ports} ports x ${perSecond}/s`;
    return [
      { name: `${name}: ticks heard`, value: (heard * 1_000) / elapsedMs, unit: '1/s' },
      { name: `${name}: processor time a tick`, value: cpuUs / heard, unit: 'us' },
      { name: `${name}: of one core`, value: cpuUs / elapsedMs / 10, unit: '%' },
    ];
  } finally {
    child.kill('SIGKILL');
    await rm(folder, { recursive: true, force: true });
  }
}

/** All of it. */
export async function benchTickSource(): Promise<Measurement[]> {
  return [
    ...benchParser(),
    ...(await benchSockets(100, 10, 5_000)),
    ...(await benchSockets(1_000, 1, 5_000)),
  ];
}

if (import.meta.main) {
  for (const { name, value, unit } of await benchTickSource()) {
    console.log(`${name.padEnd(46)} ${value.toFixed(value < 100 ? 2 : 0).padStart(10)} ${unit}`);
  }
}
