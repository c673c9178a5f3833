import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BriskClock } from '../../../../test/support/brisk-clock.ts';
import {
  type Answer,
  type HttpFixture,
  type StreamReader,
  ask,
  askRaw,
  draft,
  openStreamReader,
  startHttp,
  testToken,
} from '../../../../test/support/http-fixture.ts';

let http: HttpFixture;
const readers: StreamReader[] = [];

beforeEach(async () => {
  http = await startHttp();
});

afterEach(async () => {
  for (const reader of readers.splice(0)) reader.close();
  await http.server.close();
});

const path = '/v1/subscriptions/pager';
const vm = { id: '11111111-1111-4111-8111-111111111111', name: 'web-1' };
const put = (body: unknown, at = path): Promise<Answer> => ask(http, 'PUT', at, { body });
const post = (what: string, body?: unknown): Promise<Answer> =>
  ask(http, 'POST', `${path}/${what}`, body === undefined ? {} : { body });
const get = (what = ''): Promise<Answer> => ask(http, 'GET', `${path}${what}`);

async function take(): Promise<StreamReader> {
  const reader = await openStreamReader(http.port, `${path}/events`);
  readers.push(reader);
  return reader;
}

/** The data of the first message of this name. */
async function message(reader: StreamReader, name: string): Promise<Record<string, unknown>> {
  const find = (): string | undefined => reader.blocks.find((block) => block['event'] === name)?.['data'];
  await reader.until(() => find() !== undefined);
  return JSON.parse(find() ?? '{}') as Record<string, unknown>;
}

const ids = (reader: StreamReader): number[] =>
  reader.blocks.flatMap(({ id }) => (id === undefined ? [] : [Number(id)]));

async function tell(count: number): Promise<void> {
  for (let n = 0; n < count; n += 1) await http.log.append(draft(vm));
}

describe('subscriptions over HTTP', () => {
  it('are made, changed, shown, listed and deleted', async () => {
    await tell(2);
    const made = await put({ types: ['io.vmpulse.heartbeatStopped'], machines: ['web-1'], maxAttempts: 3 });
    expect(made.status).toBe(200);
    expect(made.json).toEqual({
      name: 'pager',
      types: ['heartbeatStopped'],
      machines: ['web-1'],
      verdicts: null,
      maxAttempts: 3,
      ackTimeoutMs: 60_000,
      state: 'waiting',
      standby: 0,
      cursor: 2,
      lag: 0,
      inFlight: 0,
      redeliveries: 0,
      deadLetters: 0,
      oldestUnacknowledgedMs: null,
      createdAt: made.json['createdAt'],
    });
    const changed = await put({ from: 1, ackTimeoutMs: null });
    await tell(1);
    expect(changed.json).toMatchObject({ types: null, cursor: 2, maxAttempts: 10, ackTimeoutMs: null });
    const { json } = await get();
    expect(json).toMatchObject({ name: 'pager', lag: 1 });
    expect(json['oldestUnacknowledgedMs']).toBeGreaterThan(0);
    expect((await ask(http, 'GET', '/v1/subscriptions')).json).toMatchObject({
      subscriptions: [{ name: 'pager' }],
    });
    expect((await ask(http, 'DELETE', path)).status).toBe(204);
    for (const [method, at] of [
      ['GET', path],
      ['DELETE', path],
      ['GET', `${path}/events`],
      ['GET', `${path}/dead-letters`],
    ] as const) {
      expect((await ask(http, method, at)).json).toMatchObject({ code: 'VMPULSE_E_NOT_FOUND', status: 404 });
    }
  });

  it.each([
    [{ type: ['heartbeatStopped'] }, '/type'],
    [{ types: ['heartbeatstopped'] }, '/types'],
    [{ types: [] }, '/types'],
    [{ types: 'heartbeatStopped' }, '/types'],
    [{ machines: [''] }, '/machines'],
    [{ machines: [1] }, '/machines'],
    [{ verdicts: ['dead'] }, '/verdicts'],
    [{ maxAttempts: 0 }, '/maxAttempts'],
    [{ maxAttempts: 1_001 }, '/maxAttempts'],
    [{ ackTimeoutMs: 999 }, '/ackTimeoutMs'],
    [{ ackTimeoutMs: 3_600_001 }, '/ackTimeoutMs'],
    [{ ackTimeoutMs: 0 }, '/ackTimeoutMs'],
    [{ from: 'then' }, '/from'],
    [{ from: -1 }, '/from'],
    [{ from: 99 }, '/from'],
  ])('refuse %j', async (body, field) => {
    expect((await put(body)).json).toMatchObject({ code: 'VMPULSE_E_REQUEST_INVALID', status: 400, field });
    expect((await get()).status).toBe(404);
  });

  it.each(['Pager', '-x', 'a%2Fb', `a${'b'.repeat(64)}`, '%20'])('refuse the name %s', async (name) => {
    expect((await put({}, `/v1/subscriptions/${name}`)).json).toMatchObject({ status: 400, field: '/name' });
  });

  it('serve one consumer under its lease; another waits, and takes over', async () => {
    await put({});
    const first = await take();
    const { lease, cursor } = await message(first, 'lease');
    expect(cursor).toBe(0);
    await tell(3);
    await first.until(() => ids(first).length === 3);
    const second = await take();
    expect((await post('ack', { seq: 2, lease })).status).toBe(204);
    expect((await post('ack', { seq: 3, lease: 'another' })).json).toMatchObject({
      status: 409,
      code: 'VMPULSE_E_NOT_SERVED',
    });
    expect(second.blocks.some(({ event }) => event === 'lease')).toBe(false);
    first.close();
    expect((await message(second, 'lease'))['cursor']).toBe(2);
    await second.until(() => ids(second).length === 1);
    expect(ids(second)).toEqual([3]);
    expect(second.events().at(-1)).toMatchObject({ seq: 3 });
  });

  it('cut off a consumer that reads on and answers nothing, and serve the one that waits', async () => {
    await http.server.close();
    http = await startHttp({ clock: new BriskClock(5).hurry() });
    await put({ ackTimeoutMs: 1_000 });
    const hung = await take();
    await message(hung, 'lease');
    const next = await take();
    await tell(1);
    await message(next, 'lease');
    expect(hung.blocks.at(-1)).toEqual({ '': 'event 1: no acknowledgement within 1 s' });
    await next.until(() => ids(next).length === 1);
    expect(next.blocks.some((block) => block[''] === 'attempt 2')).toBe(true);
    await hung.until(() => hung.ended).catch(() => undefined);
    expect((await get()).json).toMatchObject({ state: 'served', standby: 0 });
  });

  it('set aside what is never taken, and replay and drop it', async () => {
    await put({ maxAttempts: 1, types: ['configurationChanged'] });
    const reader = await take();
    const { lease } = await message(reader, 'lease');
    await tell(2);
    await reader.until(() => ids(reader).length === 2);
    expect((await post('nack', { seq: 1, lease, reason: 'no\u001b[2J one there' })).status).toBe(204);
    expect(await message(reader, 'rewind')).toEqual({ seq: 1 });
    await reader.until(() => ids(reader).length === 3);
    expect(ids(reader)).toEqual([1, 2, 2]);
    const letters = await get('/dead-letters');
    expect(letters.json).toMatchObject({
      deadLetters: [{ seq: 1, attempts: 1, reason: 'no [2J one there', event: { seq: 1 }, replaying: false }],
    });
    expect((await post('dead-letters/1/replay')).status).toBe(204);
    await reader.until(() => ids(reader).length === 4);
    expect((await post('ack', { seq: 1, lease })).status).toBe(204);
    expect((await get('/dead-letters')).json).toEqual({ deadLetters: [] });
    expect((await get()).json).toMatchObject({ cursor: 1, inFlight: 1 });
    await post('nack', { seq: 2, lease });
    await reader.until(() => reader.blocks.filter(({ event }) => event === 'rewind').length === 2);
    expect((await ask(http, 'DELETE', `${path}/dead-letters/2`)).status).toBe(204);
    for (const refused of [
      await ask(http, 'DELETE', `${path}/dead-letters/2`),
      await post('dead-letters/2/replay'),
    ]) {
      expect(refused.json).toMatchObject({ status: 404, code: 'VMPULSE_E_NOT_FOUND' });
    }
    expect((await ask(http, 'DELETE', `${path}/dead-letters/x`)).json).toMatchObject({ field: '/seq' });
  });

  it.each([
    ['ack', {}, '/seq'],
    ['ack', { seq: 0, lease: 'x' }, '/seq'],
    ['ack', { seq: 1 }, '/lease'],
    ['ack', { seq: 1, lease: 'x', reason: 'y' }, '/reason'],
    ['nack', { seq: 1, lease: 'x', reason: 5 }, '/reason'],
  ])('refuse %s with %j', async (what, body, field) => {
    await put({});
    expect((await post(what, body)).json).toMatchObject({ status: 400, field });
  });

  it('are told in metrics as long as they are there', async () => {
    await put({});
    await tell(4);
    const metrics = await http.metrics.text();
    expect(metrics).toContain('vmpulse_subscription_lag{subscription="pager"} 4');
    expect(metrics).toContain('vmpulse_subscription_dead_letters{subscription="pager"} 0');
    expect(
      Number(/_oldest_unacknowledged_seconds\{subscription="pager"\} (\S+)/u.exec(metrics)?.[1]),
    ).toBeGreaterThan(0);
    const reader = await take();
    const { lease } = await message(reader, 'lease');
    await reader.until(() => ids(reader).length === 4);
    await post('ack', { seq: 2, lease });
    await post('nack', { seq: 4, lease });
    await reader.until(() => ids(reader).length === 5);
    const later = await http.metrics.text();
    expect(later).toContain('vmpulse_subscription_in_flight{subscription="pager"} 2');
    expect(later).toContain('vmpulse_subscription_redeliveries{subscription="pager"} 1');
    expect(later).toContain('vmpulse_subscription_lag{subscription="pager"} 2');
    await ask(http, 'DELETE', path);
    expect(await http.metrics.text()).not.toContain('subscription="pager"');
  });

  it('end their streams when they are deleted and when the server stops', async () => {
    await put({});
    const reader = await take();
    await message(reader, 'lease');
    await ask(http, 'DELETE', path);
    await reader.until(() => reader.blocks.some((block) => block[''] === 'the subscription was deleted'));
    await put({});
    const other = await take();
    await message(other, 'lease');
    await http.server.close();
    await other.until(() => other.blocks.at(-1)?.[''] === 'the server is stopping');
  });

  it('give a question for the head of a stream no stream', async () => {
    await put({});
    const head = await askRaw(
      http.port,
      `HEAD ${path}/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${testToken}\r\n\r\n`,
    );
    expect(head).toMatch(/^HTTP\/1.1 200/u);
    expect((await get()).json).toMatchObject({ state: 'waiting' });
  });
});
