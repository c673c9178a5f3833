import { EventEmitter, once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type VmEvent, VmError } from '@vmpulse/wire';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  type HttpFixture,
  draft,
  openRawStream,
  openStreamReader,
  startHttp,
} from '../../../../test/support/http-fixture.ts';
import { MemoryEventLog } from '../../../../test/support/memory-event-log.ts';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { type EventStream, openStream } from '../event/outbox.ts';
import {
  maxCachedFrameBytes,
  maxStreamBufferBytes,
  streamHeartbeatMs,
  streamStallTimeoutMs,
  streamWriteBytes,
} from '../limits.ts';
import { FrameCache } from './event-frame.ts';
import { Metrics } from './metrics.ts';
import { StreamConnection } from './stream-connection.ts';

const web = { id: 'aaaaaaaa-0000-4000-8000-000000000001', name: 'web-1' };

/** A response whose reader takes what it is told to, when it is told to. */
class ScriptedResponse extends EventEmitter {
  written: Buffer[] = [];
  destroyed = false;
  ended = false;
  takes = true;

  write(chunk: Buffer): boolean {
    this.written.push(chunk);
    return this.takes;
  }

  end(): void {
    this.ended = true;
    this.destroy();
  }

  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.emit('close');
  }

  get text(): string {
    return Buffer.concat(this.written).toString();
  }

  get bytes(): number {
    return Buffer.concat(this.written).length;
  }
}

describe('a stream to a reader', () => {
  const clock = new SimulatedClock();
  let log: MemoryEventLog;
  let response: ScriptedResponse;
  let metrics: Metrics;
  let connection: StreamConnection;

  const append = async (count: number, size: number): Promise<void> => {
    await Promise.all(Array.from({ length: count }, async () => log.append(draft(web, size))));
  };
  const begin = (events?: EventStream): Promise<void> => {
    const { signal } = connection;
    return connection.run(events ?? openStream(log, { after: 0, signal, maxBuffered: 50 }), 0);
  };

  beforeEach(() => {
    log = new MemoryEventLog();
    response = new ScriptedResponse();
    metrics = new Metrics({ processMetrics: false });
    connection = new StreamConnection(response as unknown as ServerResponse, {
      clock,
      metrics,
      frames: new FrameCache(),
    });
  });

  afterEach(() => {
    response.destroy();
    expect(clock.pendingTimers).toBe(0);
  });

  it('writes what came together in one piece, at once', async () => {
    const running = begin();
    await clock.settle();
    await append(10, 10);
    await clock.settle();
    expect(response.written.length).toBe(2);
    expect(response.text.match(/^data: /gm)?.length).toBe(10);
    response.destroy();
    await running;
  });

  it('pulls no further than one write ahead of a reader that takes nothing, and cuts it off', async () => {
    await append(5_000, 1_000);
    response.takes = false;
    const running = begin();
    for (let turn = 0; turn < 20; turn += 1) await clock.settle();
    expect(response.bytes).toBeLessThan(200);
    // 64 pages of 50 events would be all of it: it holds one write of 64 KiB.
    expect(log.reads).toBeLessThan(4);
    await clock.advanceAsync(streamStallTimeoutMs - 1);
    expect(response.destroyed).toBe(false);
    await clock.advanceAsync(1);
    expect(response.destroyed).toBe(true);
    await running;
    expect(await metrics.text()).toContain('vmpulse_stream_slow_readers_total 1');
  });

  it('goes on with a slow reader for as long as it takes something', async () => {
    await append(500, 1_000);
    response.takes = false;
    const running = begin();
    let drains = 0;
    while (!response.text.includes('id: 500\n')) {
      const before = response.bytes;
      await clock.advanceAsync(streamStallTimeoutMs - 1);
      response.emit('drain');
      await clock.settle();
      drains += 1;
      expect(response.bytes - before).toBeLessThan(streamWriteBytes + 2_000);
      expect(drains).toBeLessThan(50);
    }
    const ids = [...response.text.matchAll(/^id: (\d+)\nevent/gm)].map(([, id]) => Number(id));
    expect(ids).toEqual(Array.from({ length: 500 }, (_, index) => index + 1));
    response.destroy();
    await running;
  });

  it('carries an event larger than all bounds', async () => {
    await append(1, maxStreamBufferBytes + 1);
    const running = begin();
    await clock.settle();
    expect(response.bytes).toBeGreaterThan(maxStreamBufferBytes);
    response.destroy();
    await running;
  });

  it('lets others have their turn while it catches up', async () => {
    await append(3_000, 1_000);
    const running = begin();
    let turns = 0;
    while (!response.text.includes('id: 3000\n')) {
      const before = response.bytes;
      await clock.settle();
      turns += 1;
      expect(response.bytes - before).toBeLessThan(1024 * 1024);
    }
    expect(turns).toBeGreaterThan(3);
    response.destroy();
    await running;
  });

  it('never writes an id ahead of the events before it', async () => {
    const page = [1, 2].map((seq) => ({
      seq,
      type: 'io.vmpulse.vmCreated',
      data: {},
    })) as unknown as VmEvent[];
    const large = { ...page[0], data: { value: 'x'.repeat(streamWriteBytes) } } as unknown as VmEvent;
    let wait: (events: VmEvent[]) => void = () => undefined;
    const events = {
      cursor: 0,
      next: async () =>
        new Promise<VmEvent[]>((resolve) => {
          wait = resolve;
        }),
    };
    const running = begin(events as unknown as EventStream);
    response.takes = false;
    events.cursor = 2;
    wait([large, page[1] as VmEvent]);
    await clock.settle();
    response.emit('drain');
    await clock.advanceAsync(streamStallTimeoutMs - 1);
    const ids = [...response.text.matchAll(/^id: (\d+)/gm)].map(([, id]) => Number(id));
    expect(ids).toEqual(ids.toSorted((a, b) => a - b));
    response.destroy();
    wait([]);
    await running;
  });

  it('sends no heartbeat to a reader that has not taken the last one', async () => {
    const running = begin();
    await clock.settle();
    response.takes = false;
    await clock.advanceAsync(streamHeartbeatMs);
    const { length } = response.written;
    await clock.advanceAsync(streamStallTimeoutMs - 1);
    expect(response.written.length).toBe(length);
    await clock.advanceAsync(1);
    expect(response.destroyed).toBe(true);
    await running;
  });

  it('fails with what the log fails with, unless the reader left first', async () => {
    const error = new VmError('VMPULSE_E_CURSOR_EXPIRED', 'Too old.');
    const failing = { cursor: 0, next: async () => Promise.reject(error) } as unknown as EventStream;
    await expect(begin(failing)).rejects.toBe(error);
    response.destroy();
    await begin(failing);
  });
});

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Bytes of buffers that something still holds. */
function held(): number {
  collectGarbage();
  return process.memoryUsage().arrayBuffers;
}

describe('a reader that never reads', () => {
  let http: HttpFixture;
  const clock = new SimulatedClock();

  beforeEach(async () => {
    http = await startHttp({ clock });
  });

  afterEach(async () => {
    await http.server.close();
  });

  it('is cut off, delays nobody, holds little memory, and gets the rest when it comes back', async () => {
    const total = 2_000;
    // Above what is kept for all streams, so that what is held is this stream's.
    const size = maxCachedFrameBytes + 4_000;
    for (let done = 0; done < total; done += 500) {
      await Promise.all(Array.from({ length: 500 }, async () => http.log.append(draft(web, size))));
    }
    const before = held();
    const stuck = openRawStream(http.port, '/v1/events?after=0');
    const quick = await openStreamReader(http.port, '/v1/events?after=0');
    await quick.until(() => quick.blocks.length === total + 1);
    quick.close();
    const cut = async (): Promise<boolean> => (await http.metrics.text()).includes('slow_readers_total 1');
    expect(await cut()).toBe(false);
    const sent = Number(/stream_bytes_total (\d+)/.exec(await http.metrics.text())?.[1]);
    const all = quick.blocks.length * size;
    // The kernel takes some megabytes of what it is sent; the server itself holds next to nothing of the rest.
    expect(sent - all).toBeLessThan(all * 0.9);
    // What the collector freed is given back by a thread of its own, a moment later.
    await vi.waitFor(() => expect(held() - before).toBeLessThan(maxStreamBufferBytes), 60_000);
    await clock.advanceAsync(streamStallTimeoutMs);
    while (!(await cut())) await clock.settle();
    const chunks: Buffer[] = [];
    stuck.on('data', (chunk: Buffer) => void chunks.push(chunk));
    stuck.resume();
    await once(stuck, 'close');
    const ids = [
      ...Buffer.concat(chunks)
        .toString()
        .matchAll(/^id: (\d+)\nevent.*\ndata.*\n/gm),
    ].map(([, id]) => Number(id));
    const last = ids.at(-1) ?? 0;
    expect(last).toBeLessThan(total);
    const resumed = await openStreamReader(http.port, '/v1/events?after=0', {
      'last-event-id': String(last),
    });
    await resumed.until(() => resumed.blocks.length === total - last + 1);
    const seen = [...ids, ...resumed.events().map(({ seq }) => seq)];
    expect(seen).toEqual(Array.from({ length: total }, (_, index) => index + 1));
  });

  it('ends when retention overtakes it, and is told 410 when it comes back', async () => {
    const fill = async (): Promise<void> => {
      await Promise.all(Array.from({ length: 1_000 }, async () => http.log.append(draft(web, 60_000))));
    };
    await fill();
    const stuck = openRawStream(http.port, '/v1/events?after=0');
    const sent = async (): Promise<number> =>
      Number(/stream_bytes_total (\d+)/.exec(await http.metrics.text())?.[1]);
    let last = -1;
    while ((await sent()) === 0 || (await sent()) !== last) {
      last = await sent();
      for (let turn = 0; turn < 20; turn += 1) await clock.settle();
    }
    await fill();
    http.log.deleteThrough(1_900);
    let text = '';
    stuck.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
    });
    stuck.resume();
    await once(stuck, 'close');
    expect(text).toContain(': VMPULSE_E_CURSOR_EXPIRED');
    const id = [...text.matchAll(/^id: (\d+)\nevent/gm)].at(-1)?.[1] ?? '';
    const back = await openStreamReader(http.port, '/v1/events', { 'last-event-id': id });
    expect(back.status).toBe(410);
  });
});
