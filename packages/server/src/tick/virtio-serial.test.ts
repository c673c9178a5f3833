import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RecordingListener, until } from '../../../../test/contract/tick-source.ts';
import { GuestPort, socketFolder } from '../../../../test/support/guest-port.ts';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { SystemClock, type Clock, type Timer } from '../clock.ts';
import { maxTickBytesPerTurn } from '../limits.ts';
import type { TickSubscription } from './source.ts';
import { VirtioSerialSource } from './virtio-serial.ts';

let folder: ReturnType<typeof socketFolder>;
const ends: (() => unknown)[] = [];

beforeEach(() => {
  folder = socketFolder();
});

afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
  folder.remove();
});

function guestPort(name: string = 'heartbeat.sock'): GuestPort {
  const port = new GuestPort(join(folder.path, name));
  ends.push(() => port.close());
  return port;
}

function listen(
  clock: Clock,
  address: string,
): { listener: RecordingListener; subscription: TickSubscription } {
  const listener = new RecordingListener();
  const subscription = new VirtioSerialSource(clock).listen(address, listener);
  ends.push(() => subscription.close());
  return { listener, subscription };
}

async function connected(clock: Clock): Promise<ReturnType<typeof listen> & { port: GuestPort }> {
  const port = guestPort();
  await port.open();
  const listening = listen(clock, port.path);
  await until(() => listening.listener.connections.length === 1 && port.accepted === 1);
  return { ...listening, port };
}

/** Turns of the event loop, each with a poll of the sockets. */
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await turn();
}

/** A clock on which leaving a port unread takes no time, so that a flood is read as fast as it comes. */
class ImpatientClock extends SystemClock {
  override setTimer(callback: () => void, _delayMs: number): Timer {
    return super.setTimer(callback, 0);
  }
}

/** A guest of another process that sends `megabytes` of garbage, a tick after each 64 KiB, as fast as it is read. */
async function floodingGuest(path: string, megabytes: number): Promise<ChildProcess> {
  const script = `
    const garbage = Buffer.concat([Buffer.alloc(65536 - 1, 'x'), Buffer.from('\\n')]);
    require('node:net').createServer((socket) => {
      let sent = 0;
      const send = () => {
        while (sent < ${megabytes * 16}) {
          sent += 1;
          socket.write(garbage);
          if (!socket.write('tick ' + sent + ' 1\\n')) return socket.once('drain', send);
        }
      };
      socket.on('error', () => undefined);
      send();
    }).listen(process.argv[1], () => console.log('listening'));`;
  const child = spawn(process.execPath, ['-e', script, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  ends.push(async () => {
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  });
  await once(child.stdout, 'data');
  return child;
}

describe('lines', () => {
  it('are heard when they come one byte at a time', async () => {
    const { port, listener } = await connected(new SystemClock());
    for (const byte of 'hello v=1 interval_ms=500\ntick 1 1000\nbye stop\n') {
      port.write(byte);
      await turns(1);
    }
    await until(() => listener.byes.length === 1);
    expect(listener.ticks).toMatchObject([{ seq: 1, uptimeMs: 1000 }]);
    expect(listener.hellos).toMatchObject([{ protocol: 1, intervalMs: 500 }]);
    expect(listener.rejectedBytes).toBe(0);
  });

  it('are heard when they are split across packets', async () => {
    const { port, listener } = await connected(new SystemClock());
    port.write('tick 1 10');
    await turns(5);
    expect(listener.ticks).toEqual([]);
    port.write('00\ntick 2 2000\nti');
    await until(() => listener.ticks.length === 2);
    port.write('ck 3 3000\n');
    await until(() => listener.ticks.length === 3);
    expect(listener.ticks).toMatchObject([{ uptimeMs: 1000 }, { uptimeMs: 2000 }, { uptimeMs: 3000 }]);
  });

  it('that came together with the one on which the port was closed are not told', async () => {
    const { port, listener, subscription } = await connected(new SystemClock());
    const onTick = listener.onTick.bind(listener);
    listener.onTick = (seq, uptimeMs) => {
      onTick(seq, uptimeMs);
      subscription.close();
    };
    port.write('tick 1 1\ntick 2 2\nbye stop\nhello v=1\njunk\n');
    await until(() => listener.ticks.length > 0);
    await turns(5);
    expect(listener).toMatchObject({ ticks: [{ seq: 1 }], byes: [], hellos: [], rejectedBytes: 0 });
  });

  it('are never answered: nothing is written to the port', async () => {
    const { port, listener } = await connected(new SystemClock());
    let written = 0;
    port.onData = (chunk) => {
      written += chunk.length;
    };
    port.write('hello v=1\ntick 1 1\njunk\nbye stop\n');
    await until(() => listener.byes.length === 1);
    await turns(5);
    expect(written).toBe(0);
  });

  it('left unfinished by a connection do not run into those of the next', async () => {
    const { port, listener } = await connected(new SystemClock());
    port.write('tick 1 1');
    await turns(5);
    port.hangUp();
    await until(() => port.accepted === 2);
    port.write('000\ntick 2 2\n');
    await until(() => listener.ticks.length === 1);
    expect(listener.ticks).toMatchObject([{ seq: 2, uptimeMs: 2 }]);
    expect(listener.connections).toEqual([true, false, true]);
    expect(listener.rejectedBytes).toBe('tick 1 1000\n'.length);
  });
});

describe('connecting again', () => {
  it('happens at once when the socket appears, without waiting for the time to try again', async () => {
    const clock = new SimulatedClock();
    const port = guestPort();
    const { listener } = listen(clock, port.path);
    for (let i = 0; i < 8; i++) {
      await until(() => clock.pendingTimers === 1);
      clock.advance(2_000);
    }
    await until(() => clock.pendingTimers === 1);
    await port.open();
    await until(() => {
      // Between its bind and its listen QEMU refuses; only then a wait follows, and a short one.
      if (clock.pendingTimers === 1 && (clock.nextTimerMs ?? 0) - clock.monotonicMs() <= 100)
        clock.advance(100);
      return listener.connections.length === 1;
    });
  });

  it('waits 50 ms, then twice as long each time, 2 s at most', async () => {
    const clock = new SimulatedClock();
    // No folder, so nothing can be watched.
    const { listener } = listen(clock, join(folder.path, 'none', 'heartbeat.sock'));
    const waits: number[] = [];
    for (let i = 0; i < 9; i++) {
      await until(() => clock.pendingTimers === 1);
      waits.push((clock.nextTimerMs ?? 0) - clock.monotonicMs());
      clock.advance(waits.at(-1) ?? 0);
    }
    expect(waits).toEqual([50, 100, 200, 400, 800, 1600, 2000, 2000, 2000]);
    mkdirSync(join(folder.path, 'none'));
    const port = guestPort('none/heartbeat.sock');
    await port.open();
    await until(() => clock.pendingTimers === 1);
    clock.advance(2_000);
    await until(() => listener.connections.length === 1);
  });

  it('is not done faster and faster when the other side hangs up each time', async () => {
    const clock = new SimulatedClock();
    const { port } = await connected(clock);
    for (let round = 1; round <= 4; round++) {
      port.hangUp();
      await until(() => clock.pendingTimers === 1);
      expect((clock.nextTimerMs ?? 0) - clock.monotonicMs()).toBe(50 * 2 ** (round - 1));
      await turns(20);
      expect(port.accepted).toBe(round);
      clock.advance(50 * 2 ** (round - 1));
      await until(() => port.accepted === round + 1);
    }
  });

  it('starts with a short wait again after a connection that lasted', async () => {
    const clock = new SimulatedClock();
    const { port } = await connected(clock);
    for (let round = 1; round <= 4; round++) {
      clock.advance(5_000);
      port.hangUp();
      await until(() => clock.pendingTimers === 1);
      expect((clock.nextTimerMs ?? 0) - clock.monotonicMs()).toBe(50);
      clock.advance(50);
      await until(() => port.accepted === round + 1);
    }
  });

  it('goes on after a socket that nobody listens on any more', async () => {
    const port = guestPort();
    const dying = spawn(process.execPath, [
      '-e',
      `require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`,
      port.path,
    ]);
    await once(dying, 'exit');
    const { listener } = listen(new SystemClock(), port.path);
    await turns(50);
    await port.open();
    await until(() => listener.connections.length === 1);
  });
});

describe('a flooding guest', () => {
  it('gets one share of work a turn, and then only one each 100 ms', async () => {
    const clock = new SimulatedClock({ autoPoll: false });
    const { port, listener, subscription } = await connected(clock);
    const reads: number[] = [];
    listener.onRejected = (bytes) => reads.push(bytes);
    for (let i = 0; i < 64; i++) port.write(Buffer.alloc(65_536, 'x'));
    await until(() => subscription.backlogged());
    await turns(20);
    // Nobody else had a turn as long as the clock has not polled, so the port has not either.
    expect(subscription.backlogged()).toBe(true);
    expect(reads.filter((bytes) => bytes === maxTickBytesPerTurn)).toHaveLength(1);
    await until(() => {
      clock.poll();
      return clock.pendingTimers === 1;
    });
    const read = reads.reduce((sum, bytes) => sum + bytes, 0);
    expect(read).toBeGreaterThan(500 * 1024);
    expect(read).toBeLessThan(600 * 1024);
    expect(Math.max(...reads)).toBeLessThanOrEqual(maxTickBytesPerTurn);
    for (let round = 0; round < 5; round++) {
      const before = reads.length;
      clock.advance(99);
      clock.poll();
      await turns(20);
      expect(reads).toHaveLength(before);
      expect(subscription.backlogged()).toBe(true);
      clock.advance(1);
      await until(() => reads.length === before + 1);
      await until(() => clock.pendingTimers === 1);
    }
  });

  it('is throttled too when it sends valid ticks, and when it sends them byte by byte', async () => {
    for (const line of ['tick 1 1\n'.repeat(8_000), 't']) {
      const clock = new SimulatedClock();
      const { port, subscription } = await connected(clock);
      for (let i = 0; i < 10_000 && clock.pendingTimers === 0; i++) {
        port.write(line);
        await turns(1);
        clock.poll();
      }
      expect(clock.pendingTimers).toBe(1);
      expect(subscription.backlogged()).toBe(true);
      await port.close();
    }
  });

  it('is left alone for longer the more its bytes cost to read, but no longer than 2 s', async () => {
    for (const [costMs, pauseMs] of [
      [0.1, 100],
      [5, 1_000],
      [500, 2_000],
    ] as const) {
      const clock = new SimulatedClock();
      const { port, listener } = await connected(clock);
      port.write(Buffer.alloc(768 * 1024, '\n'));
      await until(() => {
        clock.poll();
        return clock.pendingTimers === 1;
      });
      listener.onRejected = () => clock.stall(costMs);
      clock.advance(100);
      await until(() => clock.pendingTimers === 1);
      expect((clock.nextTimerMs ?? 0) - clock.monotonicMs()).toBeCloseTo(pauseMs, 5);
      await port.close();
    }
  });

  it('is no longer backlogged once it stops and what it sent is read', async () => {
    const clock = new SimulatedClock();
    const { port, listener, subscription } = await connected(clock);
    port.write(Buffer.alloc(1024 * 1024, '\n'));
    await until(() => {
      clock.poll();
      return clock.pendingTimers === 1;
    });
    port.write('tick 1 1\n');
    await until(() => {
      clock.advance(100);
      return listener.ticks.length === 1;
    });
    await until(() => {
      clock.advance(100);
      return !subscription.backlogged();
    });
    expect(listener.rejectedBytes).toBe(1024 * 1024);
    port.write('tick 2 2\n');
    await until(() => listener.ticks.length === 2);
  });

  it('is told as gone when its process ends while it is throttled', async () => {
    const clock = new SimulatedClock();
    const { port, listener } = await connected(clock);
    port.write(Buffer.alloc(768 * 1024, '\n'));
    await until(() => {
      clock.poll();
      return clock.pendingTimers === 1;
    });
    await port.close();
    await until(() => {
      clock.advance(100);
      return listener.connections.length === 2;
    });
    expect(listener.connections).toEqual([true, false]);
  });

  it('is not what a ticker at its fastest is, even after a minute that nobody read', async () => {
    const clock = new SimulatedClock();
    const { port, listener, subscription } = await connected(clock);
    for (let i = 0; i < 600; i++) port.write(`tick ${i} ${i * 100}\n`);
    await until(() => listener.ticks.length === 600);
    for (let i = 0; i < 3_000; i++) {
      clock.advance(100);
      port.write(`tick ${i} ${i * 100}\n`);
      while (listener.ticks.length < 601 + i) await turn();
      expect(clock.pendingTimers).toBe(0);
    }
    expect(subscription.backlogged()).toBe(false);
  });

  it('costs no memory and delays no other port, its own ticks counting all the while', async () => {
    const clock = new ImpatientClock();
    const { port, listener: other } = await connected(new SystemClock());
    const floodPath = join(folder.path, 'flood.sock');
    await floodingGuest(floodPath, 100);
    const rssBefore = process.memoryUsage.rss();
    let rssMost = 0;
    const { listener: flooder } = listen(clock, floodPath);
    /** What was read of the flood between the write of a tick and its arrival, each time. */
    const floods: number[] = [];
    while (flooder.ticks.length < 1_600) {
      const heard = other.ticks.length;
      const floodedBefore = flooder.rejectedBytes;
      port.write(`tick ${heard} 1\n`);
      await new Promise<void>((resolve) => {
        const onTick = other.onTick.bind(other);
        other.onTick = (seq, uptimeMs) => {
          delete (other as { onTick?: unknown }).onTick;
          onTick(seq, uptimeMs);
          resolve();
        };
      });
      floods.push(flooder.rejectedBytes - floodedBefore);
      rssMost = Math.max(rssMost, process.memoryUsage.rss());
    }
    expect(flooder.rejectedBytes).toBe(100 * 1024 * 1024);
    expect(rssMost - rssBefore).toBeLessThan(48 * 1024 * 1024);
    expect(floods.length).toBeGreaterThan(20);
    floods.sort((a, b) => a - b);
    expect(floods[Math.floor(floods.length * 0.9)]).toBeLessThanOrEqual(2 * maxTickBytesPerTurn);
  });

  it('is read at a few hundred KiB a second by the real clock, its ticks among it', async () => {
    const floodPath = join(folder.path, 'flood.sock');
    await floodingGuest(floodPath, 100);
    const { listener, subscription } = listen(new SystemClock(), floodPath);
    await until(() => subscription.backlogged());
    await until(() => listener.ticks.length >= 20);
    // 512 KiB at once, then 64 KiB each 100 ms: it takes 1.2 s to hear 20 ticks, and would take 10 ms unthrottled.
    const [first, last] = [listener.ticks[0], listener.ticks.at(-1)];
    expect((last?.atMs ?? 0) - (first?.atMs ?? 0)).toBeGreaterThan(500);
    expect(listener.rejectedBytes).toBeLessThan(3 * 1024 * 1024);
  });
});
