import { VmError } from '@vmpulse/wire';
import { describe, expect, it, vi } from 'vitest';
import { eventually } from '../../../test/support/eventually.ts';
import { reconnectingClients } from '../../../test/support/reconnecting-clients.ts';
import { type ScriptedServer, frame } from '../../../test/support/scripted-server.ts';
import type { Gap } from './index.ts';

let scripted: ScriptedServer;
const connect = reconnectingClients((server) => {
  scripted = server;
});

describe('a lost connection', () => {
  it('loses and doubles no event over restarts of the server', async () => {
    const server = await connect();
    const seqs: number[] = [];
    const changes: (string | undefined)[] = [];
    const connection = server.advise(
      { onEvent: (event) => void seqs.push(event.seq) },
      { onConnectionChange: (error) => void changes.push(error?.code) },
    );
    await connection.ready;
    await scripted.streaming();
    for (let round = 0; round < 4; round += 1) {
      scripted.stopGuest();
      await scripted.stop();
      for (let i = 0; i < 50; i += 1) scripted.stopGuest();
      await scripted.listen();
      await scripted.streaming();
      scripted.stopGuest();
    }
    await eventually('208 events', () => seqs.length >= 208);
    expect(seqs).toEqual(Array.from({ length: 208 }, (_, i) => i + 1));
    expect(changes[0]).toBeUndefined();
    expect(changes).toContain('VMPULSE_E_UNREACHABLE');
  });

  it('resumes the stream from the last event taken', async () => {
    const server = await connect();
    let last = 0;
    await server.advise({ onEvent: (event) => void (last = event.seq) }).ready;
    await scripted.streaming();
    scripted.stopGuest();
    await eventually('1', () => last === 1);
    const pages = (): number => scripted.requests.filter((line) => line.includes('limit=')).length;
    const before = pages();
    scripted.dropStreams();
    await eventually('a second stream', () => scripted.requests.includes('GET /v1/events?after=1'));
    scripted.stopGuest();
    await eventually('2', () => last === 2);
    expect(pages()).toBe(before);
  });

  it('drops what the server repeats', async () => {
    const server = await connect();
    const seqs: number[] = [];
    await server.advise({ onEvent: (event) => void seqs.push(event.seq) }).ready;
    await scripted.streaming();
    const event = scripted.stopGuest();
    for (const stream of scripted.streams) stream.write(frame(event) + frame(event));
    scripted.stopGuest();
    await eventually('2', () => seqs.includes(2));
    expect(seqs).toEqual([1, 2]);
  });

  it('fetches what a stream left out', async () => {
    const server = await connect();
    const seqs: number[] = [];
    await server.advise({ onEvent: (event) => void seqs.push(event.seq) }).ready;
    await scripted.streaming();
    const streams = [...scripted.streams];
    scripted.streams.clear();
    scripted.stopGuest();
    scripted.stopGuest();
    for (const stream of streams) scripted.streams.add(stream);
    scripted.stopGuest();
    await eventually('3', () => seqs.includes(3));
    expect(seqs).toEqual([1, 2, 3]);
  });

  it('takes a stream without a byte for dead', async () => {
    const server = await connect({ streamIdleTimeoutMs: 60 });
    const seqs: number[] = [];
    const codes: (string | undefined)[] = [];
    await server.advise(
      { onEvent: (event) => void seqs.push(event.seq) },
      { onConnectionChange: (error) => void codes.push(error?.code) },
    ).ready;
    await eventually('the timeout', () => codes.includes('VM_E_TIMED_OUT'));
    scripted.stopGuest();
    await eventually('the event', () => seqs.length === 1);
  });

  it('keeps a stream open on which comments come', async () => {
    const idleMs = 150;
    let codes: (string | undefined)[] = [];
    // Where this process itself stood still so long, the stream is rightly taken for dead: once more then.
    for (let tries = 0, longestMs = idleMs; tries < 50 && longestMs >= idleMs; tries += 1) {
      const server = await connect({ streamIdleTimeoutMs: idleMs });
      const seen: (string | undefined)[] = [];
      await server.advise({}, { onConnectionChange: (error) => void seen.push(error?.code) }).ready;
      await scripted.streaming();
      [codes, longestMs] = [seen, 0];
      for (let i = 0, atMs = performance.now(); i < 10; i += 1) {
        for (const stream of scripted.streams) stream.write(': still here\n\n');
        await new Promise((resolve) => {
          setTimeout(resolve, 30);
        });
        longestMs = Math.max(longestMs, performance.now() - atMs);
        atMs = performance.now();
      }
      await server.close();
    }
    expect(codes).toEqual([undefined]);
  });

  it('reads pages while the server has no stream to give', async () => {
    scripted.refuseNext(/after=\d+$/u, new VmError('VMPULSE_E_TOO_MANY_STREAMS', 'Too many streams.'), 5);
    const server = await connect();
    const seqs: number[] = [];
    await server.advise({ onEvent: (event) => void seqs.push(event.seq) }).ready;
    scripted.stopGuest();
    await eventually('the event', () => seqs.length === 1);
    expect(scripted.streams.size).toBe(0);
  });

  it('begins at the last known seq when the server cannot be asked at advise', async () => {
    const server = await connect();
    await scripted.stop();
    const seqs: number[] = [];
    const connection = server.advise({ onEvent: (event) => void seqs.push(event.seq) });
    await connection.ready;
    scripted.stopGuest();
    await scripted.listen();
    await eventually('the event', () => seqs.length === 1);
  });

  it('ends the sinks, and says why, when the server refuses them for good', async () => {
    const server = await connect();
    const onError = vi.fn<(error: VmError) => void>();
    const connection = server.advise({}, { onError });
    await scripted.streaming();
    scripted.token = 'changed';
    scripted.dropStreams();
    expect(await connection.closed).toMatchObject({ code: 'VMPULSE_E_UNAUTHENTICATED' });
    expect(onError).toHaveBeenCalledWith(expect.objectContaining({ code: 'VMPULSE_E_UNAUTHENTICATED' }), {});
  });
});

describe('a gap', () => {
  it('is told when events are no longer kept, and the sink goes on with the oldest', async () => {
    for (let i = 0; i < 20; i += 1) scripted.stopGuest();
    scripted.oldestSeq = 11;
    scripted.log = scripted.log.slice(10);
    const server = await connect();
    const told: unknown[] = [];
    server.advise(
      { onGap: (gap: Gap) => void told.push(gap), onEvent: (event) => void told.push(event.seq) },
      { after: 3 },
    );
    await eventually('all', () => told.length === 11);
    expect(told[0]).toEqual({ reason: 'expired', from: 4, to: 10 });
    expect(told.slice(1)).toEqual(Array.from({ length: 10 }, (_, i) => i + 11));
  });

  it('is told to onError when the sink has no onGap', async () => {
    for (let i = 0; i < 5; i += 1) scripted.stopGuest();
    scripted.oldestSeq = 4;
    scripted.log = scripted.log.slice(3);
    const server = await connect();
    const onError = vi.fn<(error: VmError) => void>();
    const seqs: number[] = [];
    server.advise({ onHeartbeatStopped: (_name, event) => void seqs.push(event.seq) }, { after: 0, onError });
    await eventually('both', () => seqs.length === 2);
    expect(onError).toHaveBeenCalledExactlyOnceWith(
      expect.objectContaining({
        code: 'VMPULSE_E_CURSOR_EXPIRED',
        message: expect.stringContaining('1 to 3') as string,
      }),
      {},
    );
  });

  it('is told when the server is another one, which is then read from its beginning', async () => {
    const server = await connect();
    const told: unknown[] = [];
    const connection = server.advise({
      onGap: (gap) => void told.push(gap),
      onEvent: (event) => void told.push(`${event.source.slice(-1)}:${event.seq}`),
    });
    await connection.ready;
    await scripted.streaming();
    scripted.stopGuest();
    scripted.stopGuest();
    await eventually('two', () => told.length === 2);
    await scripted.stop();
    scripted.id = '5c0f7f0e-0000-4000-8000-000000000002';
    scripted.log = [];
    for (let i = 0; i < 3; i += 1) scripted.stopGuest();
    await scripted.listen();
    await eventually('the new log', () => told.length >= 6);
    scripted.stopGuest();
    await eventually('live', () => told.length >= 7);
    expect(told).toEqual([
      '1:1',
      '1:2',
      { reason: 'replaced', from: 3, to: null },
      '2:1',
      '2:2',
      '2:3',
      '2:4',
    ]);
  });

  it('is told when the log ends before the cursor: it was set back', async () => {
    const server = await connect();
    const told: unknown[] = [];
    await server.advise({
      onGap: (gap) => void told.push(gap),
      onEvent: (event) => void told.push(event.seq),
    }).ready;
    await scripted.streaming();
    for (let i = 0; i < 5; i += 1) scripted.stopGuest();
    await eventually('five', () => told.length === 5);
    await scripted.stop();
    scripted.log = scripted.log.slice(0, 2);
    await scripted.listen();
    await eventually('the gap and both', () => told.length === 8);
    expect(told.slice(5)).toEqual([{ reason: 'replaced', from: 6, to: null }, 1, 2]);
  });

  it('is told when a cursor is of another log', async () => {
    scripted.stopGuest();
    const server = await connect();
    const told: unknown[] = [];
    server.advise(
      { onGap: (gap) => void told.push(gap), onEvent: (event) => void told.push(event.seq) },
      { after: 99 },
    );
    await eventually('gap and event', () => told.length === 2);
    expect(told).toEqual([{ reason: 'replaced', from: 100, to: null }, 1]);
  });
});
