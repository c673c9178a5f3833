import { describe, expect, it } from 'vitest';
import { eventually } from '../../../test/support/eventually.ts';
import { reconnectingClients } from '../../../test/support/reconnecting-clients.ts';
import type { ScriptedServer } from '../../../test/support/scripted-server.ts';
import { maxQueuedEvents } from './limits.ts';

let scripted: ScriptedServer;
const connect = reconnectingClients((server) => {
  scripted = server;
});

describe('a slow sink', () => {
  it('loses nothing beyond its queue and delays no other sink', async () => {
    const server = await connect();
    const fast: number[] = [];
    const slow: number[] = [];
    let release = (): void => undefined;
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    await server.advise({
      async onEvent(event) {
        await gate;
        slow.push(event.seq);
      },
    }).ready;
    await server.advise({ onEvent: (event) => void fast.push(event.seq) }).ready;
    await scripted.streaming();
    const total = maxQueuedEvents * 4;
    for (let i = 0; i < total; i += 1) {
      scripted.stopGuest();
      // The fast one keeps up with its queue; a flood in one turn would send it to its pages too.
      if (i % 100 === 0) await eventually('the fast sink', () => fast.length === i + 1);
    }
    await eventually('the fast sink', () => fast.length === total);
    expect(slow).toEqual([]);
    const pages = (): number => scripted.requests.filter((line) => line.includes('limit=')).length;
    const before = pages();
    release();
    await eventually('the slow sink', () => slow.length === total);
    expect(slow).toEqual(fast);
    expect(pages()).toBeGreaterThan(before);
    scripted.stopGuest();
    await eventually('both live again', () => slow.length === total + 1 && fast.length === total + 1);
  });
});

describe('a hostile server', () => {
  it('cannot make a sink believe garbage, and the sink goes on when it stops', async () => {
    const rubbish = [
      'data: {"seq":"1"}\n\n',
      'data: no json\n\n',
      'data: {"seq":1,"type":"io.vmpulse.vmDeleted","source":"/v1/server/other","time":"","data":{}}\n\n',
      `data: {"seq":-5,"type":"io.vmpulse.vmDeleted","source":"x","time":"","data":{}}\n\n`,
      `data: ${'x'.repeat(3_000_000)}`,
      'y'.repeat(3_000_000),
      '\u0000\u0001\u0002\n\n\n',
    ];
    for (const text of rubbish) {
      scripted.answerNext(/after=\d+$/u, (_request, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.end(text);
      });
    }
    scripted.answerNext(/after=\d+$/u, (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<p>');
    });
    const server = await connect();
    const told: string[] = [];
    const codes: (string | undefined)[] = [];
    await server.advise(
      { onEvent: (event) => void told.push(`${event.seq} ${event.type}`) },
      { onConnectionChange: (error) => void codes.push(error?.code) },
    ).ready;
    await scripted.streaming();
    scripted.stopGuest();
    await eventually('the event', () => told.length === 1);
    expect(told).toEqual(['1 io.vmpulse.heartbeatStopped']);
    expect(codes.filter((code) => code === 'E_UNEXPECTED').length).toBeGreaterThanOrEqual(5);
  });

  it('cannot make it ask in a tight loop', async () => {
    scripted.answerNext(
      /limit=/u,
      (_request, response) => {
        response.writeHead(200, { 'content-type': 'application/json' }).end('{"events":[],"next":0}');
      },
      10_000,
    );
    scripted.stopGuest();
    const server = await connect({ reconnect: { minDelayMs: 50, maxDelayMs: 100 } });
    server.advise({}, { after: 0 });
    await new Promise((resolve) => {
      setTimeout(resolve, 300);
    });
    expect(scripted.requests.length).toBeLessThan(20);
  });
});
