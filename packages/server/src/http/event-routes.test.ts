import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type HttpFixture,
  ask,
  draft,
  openRawStream,
  openStreamReader,
  startHttp,
} from '../../../../test/support/http-fixture.ts';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { maxStreams, streamHeartbeatMs } from '../limits.ts';

const web = { id: 'aaaaaaaa-0000-4000-8000-000000000001', name: 'web-1' };
const gone = { id: 'eeeeeeee-0000-4000-8000-000000000005', name: 'gone' };

describe('the event log over HTTP', () => {
  let http: HttpFixture;
  const clock = new SimulatedClock();
  const append = async (count: number, vm = web, size = 0): Promise<void> => {
    await Promise.all(Array.from({ length: count }, async () => http.log.append(draft(vm, size))));
  };
  const page = async (query = '', headers: Record<string, string> = {}) =>
    ask(http, 'GET', `/v1/events${query}`, { headers });
  const seqs = (answer: { json: Record<string, unknown> }): unknown[] =>
    (answer.json['events'] as { seq: number }[]).map(({ seq }) => seq);

  beforeEach(async () => {
    http = await startHttp({ clock });
  });

  afterEach(async () => {
    await http.server.close();
  });

  describe('as pages', () => {
    it('gives the events themselves, and where to go on', async () => {
      await append(3);
      const { events } = await http.log.read({ after: 0, limit: 10 });
      expect((await page()).json).toEqual({ events, next: 3 });
      expect((await page('?after=1&limit=1')).json).toEqual({ events: [events[1]], next: 2 });
      expect((await page('?after=3')).json).toEqual({ events: [], next: 3 });
    });

    it('has 100 events unless asked for more', async () => {
      await append(1_200);
      expect(seqs(await page()).length).toBe(100);
      expect(seqs(await page('?limit=1000')).length).toBe(1_000);
      expect((await page('?limit=1001')).status).toBe(400);
    });

    it('filters by machine: name in any case, UUID, and the UUID of one that is gone', async () => {
      await append(1, gone);
      await append(1);
      expect(seqs(await page('?vm=WEB-1'))).toEqual([2]);
      expect(seqs(await page(`?vm=${web.id.toUpperCase()}`))).toEqual([2]);
      expect(seqs(await page(`?vm=${gone.id.toUpperCase()}`))).toEqual([1]);
      expect(await page('?vm=gone')).toMatchObject({ status: 404, json: { code: 'VM_E_VM_UNKNOWN' } });
      expect((await page('?vm=..%2Fweb-1')).status).toBe(404);
    });

    it('filters by type', async () => {
      await append(1);
      await http.log.append({ type: 'vmDeleted', vm: gone, timeMs: 0, data: {} });
      expect(seqs(await page('?type=vmDeleted'))).toEqual([2]);
      expect(seqs(await page('?type=io.vmpulse.vmDeleted,configurationChanged'))).toEqual([1, 2]);
      const { status, json } = await page('?type=vmDelted');
      expect([status, json['field'], json['detail']]).toEqual([
        400,
        '/type',
        'There is no event type "vmDelted"; did you mean vmDeleted?',
      ]);
    });

    it('begins with the oldest event kept, and is 410 for a cursor before it', async () => {
      await append(5);
      http.log.deleteThrough(3);
      expect(seqs(await page())).toEqual([4, 5]);
      expect(await page('?after=1')).toMatchObject({
        status: 410,
        json: { code: 'VMPULSE_E_CURSOR_EXPIRED' },
      });
      expect((await page('?after=3')).status).toBe(200);
    });

    it.each(['-1', '1e99', '1x'])('is 400 for after=%s, as page and as stream', async (after) => {
      for (const accept of ['*/*', 'text/event-stream']) {
        const answer = await page(`?after=${after}`, { accept });
        expect(answer).toMatchObject({
          status: 400,
          json: { code: 'VMPULSE_E_REQUEST_INVALID', field: '/after' },
        });
      }
    });
  });

  describe('as streams', () => {
    it('say at once that they are open, and where', async () => {
      await append(7);
      const reader = await openStreamReader(http.port);
      expect([reader.status, reader.headers['content-type']]).toEqual([
        200,
        'text/event-stream; charset=utf-8',
      ]);
      expect(reader.headers['cache-control']).toBe('no-store');
      await reader.until(() => reader.blocks.length === 1);
      expect(reader.blocks).toEqual([{ '': 'vmpulse seq 7\ncursor 7', retry: '1000', id: '7' }]);
    });

    it('carry each event as id, event and data: exactly the CloudEvent', async () => {
      const reader = await openStreamReader(http.port);
      const data = { key: 'notes', value: 'a\nb\u2028\r\n\nid: 9', effective: 'now' } as const;
      const event = await http.log.append({ type: 'configurationChanged', vm: web, timeMs: 0, data });
      await reader.until(() => reader.blocks.length === 2);
      expect(reader.blocks[1]).toEqual({
        id: '1',
        event: 'configurationChanged',
        data: JSON.stringify(event),
      });
    });

    it('begin now without a cursor, after `after`, or after Last-Event-ID, which wins', async () => {
      await append(3);
      const now = await openStreamReader(http.port);
      const after = await openStreamReader(http.port, '/v1/events?after=1');
      const resumed = await openStreamReader(http.port, '/v1/events?after=0', { 'last-event-id': '2' });
      await append(1);
      await Promise.all(
        [now, after, resumed].map(async (reader) => reader.until(() => reader.events().at(-1)?.seq === 4)),
      );
      expect([now, after, resumed].map((reader) => reader.events().map(({ seq }) => seq))).toEqual([
        [4],
        [2, 3, 4],
        [3, 4],
      ]);
    });

    it('are filtered, backlog and news alike', async () => {
      await append(2, gone);
      await append(1);
      const reader = await openStreamReader(
        http.port,
        '/v1/events?after=0&vm=web-1&type=configurationChanged',
      );
      await append(1, gone);
      await append(1);
      await reader.until(() => reader.events().length === 2);
      expect(reader.events().map(({ seq }) => seq)).toEqual([3, 5]);
    });

    it('refuse a cursor that has expired, that is ahead of the log, or that is none', async () => {
      await append(5);
      http.log.deleteThrough(3);
      for (const [query, id, status] of [
        ['?after=1', '', 410],
        ['', '2', 410],
        ['', '77', 410],
        ['', 'x', 400],
      ] as const) {
        const answer = await page(query, { accept: 'text/event-stream', 'last-event-id': id });
        expect([answer.status, answer.headers['content-type']]).toEqual([
          status,
          expect.stringContaining('problem+json'),
        ]);
      }
      expect(await http.metrics.text()).toContain('vmpulse_streams_open 0');
    });

    it('give a heartbeat when idle, which moves the cursor past what a filter hides', async () => {
      await append(1);
      const reader = await openStreamReader(http.port, `/v1/events?after=0&vm=${gone.id}`);
      await reader.until(() => reader.blocks.length === 1);
      await append(4);
      await clock.advanceAsync(streamHeartbeatMs - 1);
      expect(reader.blocks.length).toBe(1);
      await clock.advanceAsync(1);
      await reader.until(() => reader.blocks.length === 2);
      expect(reader.blocks[1]).toEqual({ '': 'cursor 5', id: '5' });
      await append(1, gone);
      await reader.until(() => reader.events().length === 1);
      await clock.advanceAsync(streamHeartbeatMs - 1);
      expect(reader.blocks.length).toBe(3);
      await clock.advanceAsync(streamHeartbeatMs);
      await reader.until(() => reader.blocks.at(-1)?.[''] === 'cursor 6');
    });

    it('lose nothing when the reader goes and comes back', async () => {
      const seen: number[] = [];
      let cursor = '0';
      for (let round = 0; round < 5; round += 1) {
        const reader = await openStreamReader(http.port, '/v1/events?after=0', { 'last-event-id': cursor });
        await append(30);
        await reader.until(() => reader.events().length >= 20);
        reader.close();
        const taken = reader.events().slice(0, 20);
        seen.push(...taken.map(({ seq }) => seq));
        cursor = String(seen.at(-1));
      }
      expect(seen).toEqual(Array.from({ length: 100 }, (_, index) => index + 1));
    });

    it('are refused at the bound, and free their place when they end', async () => {
      const sockets = Array.from({ length: maxStreams }, () => openRawStream(http.port));
      const open = async (): Promise<string> =>
        /streams_open (\d+)/.exec(await http.metrics.text())?.[1] ?? '';
      while ((await open()) !== String(maxStreams)) await clock.settle();
      const refused = await page('', { accept: 'text/event-stream' });
      expect(refused).toMatchObject({ status: 503, json: { code: 'VMPULSE_E_TOO_MANY_STREAMS' } });
      expect(refused.headers['retry-after']).toBe('10');
      expect((await page()).status).toBe(200);
      sockets[0]?.destroy();
      while ((await open()) === String(maxStreams)) await clock.settle();
      const reader = await openStreamReader(http.port);
      expect(reader.status).toBe(200);
      for (const socket of sockets) socket.destroy();
    });

    it('end with the server, and say so', async () => {
      const reader = await openStreamReader(http.port);
      await http.server.close();
      await expect(reader.until(() => false)).rejects.toThrow('the server is stopping');
    });

    it('stop listening to the log when their reader goes', async () => {
      const reader = await openStreamReader(http.port);
      reader.close();
      while (!(await http.metrics.text()).includes('vmpulse_streams_open 0')) await clock.settle();
      const { reads } = http.log;
      await append(5);
      await clock.settle();
      expect(http.log.reads).toBe(reads);
      expect(clock.pendingTimers).toBe(0);
    });
  });
});
