/**
 * How many events a second go over SSE, to one reader and to a hundred: HTTP face, log in memory and readers in one
 * process, so the readers' work is in the number too; `node:net` readers that only count keep it small. Then how long
 * an event takes from `append` to the last reader. Run: node bench/stream.ts
 */
import { type Socket, connect } from 'node:net';
import type { EventDraft } from '@vmpulse/wire';
import { startHttp, testToken } from '../test/support/http-fixture.ts';

const vm = { id: 'aaaaaaaa-0000-4000-8000-000000000001', name: 'web-1' };
const evidence = {
  lastTickAt: '2026-01-01T00:00:00.000Z',
  sinceLastTickMs: 1_550.25,
  silenceMs: 1_550.25,
  subtracted: { suspendedMs: 0, runDelayMs: 0.5 },
  intervalMs: 1_000,
  marginMs: 50,
  witnesses: [
    { witness: 'qemu', answer: 'running', tookMs: 0.4 },
    { witness: 'agent', answer: 'no answer in 50 ms', tookMs: 50 },
    { witness: 'vcpu', answer: 'idle (0.4 % of 0.25 s)', tookMs: 0.2 },
  ],
};
const stopped: EventDraft = {
  type: 'heartbeatStopped',
  vm,
  timeMs: 0,
  data: { verdict: 'hung', cause: 'silence', evidence },
};

/** One line of the report. */
export interface StreamResult {
  readonly what: string;
  readonly readers: number;
  readonly eventsPerSecond: number;
  readonly megabytesPerSecond: number;
}

/** Counts what comes, and tells when the bytes of event `seq` have been seen. */
class Reader {
  bytes = 0;
  readonly #socket: Socket;
  #tail = '';
  #waiting: { marker: string; done: () => void } | undefined;

  constructor(port: number, after: number) {
    this.#socket = connect({ port, host: '127.0.0.1' });
    this.#socket.write(
      `GET /v1/events?after=${after} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n` +
        `Authorization: Bearer ${testToken}\r\n\r\n`,
    );
    this.#socket.on('data', (chunk: Buffer) => {
      this.bytes += chunk.length;
      if (this.#waiting === undefined) return;
      // Only the end can hold the last event: what is before was counted and is not looked at.
      this.#tail = (this.#tail + chunk.toString('latin1', Math.max(0, chunk.length - 2_048))).slice(-4_096);
      if (!this.#tail.includes(this.#waiting.marker)) return;
      this.#waiting.done();
      this.#waiting = undefined;
    });
  }

  async has(seq: number): Promise<void> {
    await new Promise<void>((done) => {
      this.#waiting = { marker: `"seq":${seq},`, done };
    });
  }

  close(): void {
    this.#socket.destroy();
  }
}

async function measure(readerCount: number, events: number, live: boolean): Promise<StreamResult> {
  const http = await startHttp();
  const appendAll = async (): Promise<void> => {
    for (let done = 0; done < events; done += 500) {
      await Promise.all(Array.from({ length: 500 }, async () => http.log.append(stopped)));
      // As a disk would, each batch takes a turn of its own.
      await new Promise(setImmediate);
    }
  };
  if (!live) await appendAll();
  const connected = async (): Promise<boolean> =>
    (await http.metrics.text()).includes(`vmpulse_streams_open ${readerCount}\n`);
  let began = performance.now();
  const readers = Array.from({ length: readerCount }, () => new Reader(http.port, 0));
  const complete = Promise.all(readers.map(async (reader) => reader.has(events)));
  if (live) {
    while (!(await connected())) await new Promise(setImmediate);
    began = performance.now();
    await appendAll();
  }
  await complete;
  const seconds = (performance.now() - began) / 1_000;
  const bytes = readers.reduce((sum, reader) => sum + reader.bytes, 0);
  for (const reader of readers) reader.close();
  await http.server.close();
  return {
    what: live ? 'live' : 'backlog',
    readers: readerCount,
    eventsPerSecond: Math.round((events * readerCount) / seconds),
    megabytesPerSecond: Math.round(bytes / seconds / 1e6),
  };
}

async function latency(
  readerCount: number,
  rounds: number,
): Promise<{ p50: number; p99: number; max: number }> {
  const http = await startHttp();
  const readers = Array.from({ length: readerCount }, () => new Reader(http.port, 0));
  const open = `vmpulse_streams_open ${readerCount}\n`;
  while (!(await http.metrics.text()).includes(open)) await new Promise(setImmediate);
  const taken: number[] = [];
  for (let seq = 1; seq <= rounds; seq += 1) {
    const all = Promise.all(readers.map(async (reader) => reader.has(seq)));
    const began = performance.now();
    await http.log.append(stopped);
    await all;
    taken.push(performance.now() - began);
    await new Promise(setImmediate);
  }
  for (const reader of readers) reader.close();
  await http.server.close();
  taken.sort((a, b) => a - b);
  const at = (share: number): number => Number((taken[Math.floor((rounds - 1) * share)] ?? 0).toFixed(2));
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

/** Runs them all and prints a table. */
export async function benchStreams(): Promise<void> {
  await measure(1, 5_000, false);
  const results = [
    await measure(1, 100_000, false),
    await measure(1, 100_000, true),
    await measure(100, 10_000, false),
    await measure(100, 10_000, true),
  ];
  for (const { what, readers, eventsPerSecond, megabytesPerSecond } of results) {
    console.log(`${what} to ${readers} readers: ${eventsPerSecond} events/s, ${megabytesPerSecond} MB/s`);
  }
  for (const readers of [1, 100]) {
    const { p50, p99, max } = await latency(readers, 1_000);
    console.log(`append to the last of ${readers} readers: p50 ${p50} ms, p99 ${p99} ms, max ${max} ms`);
  }
}

if (import.meta.main) await benchStreams();
