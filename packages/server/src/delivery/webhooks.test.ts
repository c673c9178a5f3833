import { Webhook } from 'standardwebhooks';
import { afterEach, describe, expect, it } from 'vitest';
import { Endpoint, type Received, answering } from '../../../../test/support/endpoint.ts';
import { eventually } from '../../../../test/support/eventually.ts';
import { MemoryEventLog } from '../../../../test/support/memory-event-log.ts';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { type Clock, SystemClock } from '../clock.ts';
import { Webhooks } from './webhooks.ts';

const opened: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of opened.splice(0).toReversed()) await close();
});

async function endpointOf(...args: Parameters<typeof Endpoint.start>): Promise<Endpoint> {
  const endpoint = await Endpoint.start(...args);
  opened.push(() => endpoint.stop());
  return endpoint;
}

interface Bench {
  readonly log: MemoryEventLog;
  readonly webhooks: Webhooks;
}

async function bench(clock: Clock = new SystemClock(), log = new MemoryEventLog()): Promise<Bench> {
  const webhooks = await Webhooks.open({
    clock,
    log,
    store: log,
    version: '1.2.3',
    warn: () => undefined,
    random: () => 0,
  });
  webhooks.start();
  opened.push(() => webhooks.close());
  return { log, webhooks };
}

const happen = (log: MemoryEventLog, name = 'web-1'): Promise<unknown> =>
  log.append({ type: 'vmDeleted', timeMs: 0, vm: { id: `id-${name}`, name }, data: {} });
const types = async (log: MemoryEventLog): Promise<string[]> =>
  (await log.read({ after: 0, limit: 1_000 })).events.map(({ type }) => type.slice('io.vmpulse.'.length));
const verify = (secret: string, { body, headers }: Received): unknown =>
  new Webhook(secret).verify(body, headers as Record<string, string>);

/** Lets simulated time pass from attempt to attempt; while one is under way only real time does. */
async function pass(
  clock: SimulatedClock,
  { webhooks }: Bench,
  ms: number,
  isDone: () => boolean = () => false,
): Promise<void> {
  const endMs = clock.wallMs() + ms;
  while (!isDone()) {
    await new Promise((resolve) => {
      setTimeout(resolve, 4);
    });
    const times = webhooks.list().flatMap((one) => one.nextAttemptAt ?? []);
    const nextMs = Math.min(endMs, ...times.map((time) => Date.parse(time) + 1));
    if (nextMs - 1 <= clock.wallMs() && nextMs < endMs) {
      await clock.advanceAsync(1);
    } else {
      await clock.advanceAsync(nextMs - clock.wallMs());
      if (nextMs === endMs) break;
    }
  }
}

describe('a webhook', () => {
  it('is told events in order, as signed CloudEvents, over one connection', async () => {
    const { log, webhooks } = await bench();
    const endpoint = await endpointOf();
    await happen(log, 'before');
    const { secret, cursor } = await webhooks.create({ name: 'pager', url: endpoint.url });
    expect(cursor).toBe(1);
    for (let count = 0; count < 200; count += 1) void happen(log);
    await eventually('200 deliveries', () => endpoint.received.length === 200);
    expect(endpoint.seqs).toEqual(Array.from({ length: 200 }, (_, index) => index + 2));
    const [first] = endpoint.received as [Received];
    expect(first.headers['content-type']).toBe('application/cloudevents+json');
    expect(first.headers['webhook-id']).toBe(`${log.serverId}-2`);
    expect(verify(secret, first)).toEqual((await log.read({ after: 1, limit: 1 })).events[0]);
    expect(() => verify(secret, { ...first, body: `${first.body} ` })).toThrow();
    expect(endpoint.connections).toBe(1);
    await eventually('the cursor', () => webhooks.get('PAGER').lag === 0);
    expect(webhooks.get('pager')).toMatchObject({
      circuit: 'closed',
      lastAttempt: { status: 204, error: null },
    });
    expect(JSON.stringify([webhooks.list(), webhooks.get('pager')])).not.toContain('whsec_');
  });

  it('signs with the old secret too, until its time', async () => {
    const clock = new SimulatedClock({ wallMs: Date.now() });
    const { log, webhooks } = await bench(clock);
    const endpoint = await endpointOf();
    const old = await webhooks.create({ name: 'pager', url: endpoint.url });
    const fresh = await webhooks.rotate('pager', { keepOldSeconds: 60 });
    expect(fresh.secret).not.toBe(old.secret);
    expect(Date.parse(fresh.oldSecretUntil ?? '')).toBe(Math.trunc(clock.wallMs()) + 60_000);
    await happen(log);
    await eventually('a delivery', () => endpoint.received.length === 1);
    for (const { secret } of [old, fresh]) verify(secret, endpoint.received[0] as Received);
    await clock.advanceAsync(61_000);
    await happen(log);
    await eventually('another delivery', () => endpoint.received.length === 2);
    verify(fresh.secret, endpoint.received[1] as Received);
    expect(() => verify(old.secret, endpoint.received[1] as Received)).toThrow();
    expect(webhooks.get('pager').oldSecretUntil).toBeNull();
    await eventually('the end', () => webhooks.get('pager').lag === 0);
  });

  it('is told only what its filter lets through, and its cursor goes past the rest', async () => {
    const { log, webhooks } = await bench();
    const endpoint = await endpointOf();
    await webhooks.create({ name: 'pager', url: endpoint.url, machines: ['WEB-2'] });
    for (const name of ['web-1', 'web-2', 'web-3', 'web-2', 'web-1']) await happen(log, name);
    await eventually('two deliveries', () => endpoint.received.length === 2);
    expect(endpoint.seqs).toEqual([2, 4]);
    await eventually('the cursor', () => webhooks.get('pager').cursor === 5);
    await webhooks.change('pager', { machines: null, types: ['vmCreated'] });
    await happen(log, 'web-2');
    await eventually('the cursor', () => webhooks.get('pager').cursor === 6);
    expect(endpoint.received.length).toBe(2);
    expect(webhooks.get('pager').filter).toEqual({ types: ['vmCreated'] });
  });
});

describe('an endpoint that fails', () => {
  it('is tried by the schedule of the specification, and then the event is a dead letter', async () => {
    const clock = new SimulatedClock();
    const made = await bench(clock);
    const { log, webhooks } = made;
    const beganMs = clock.monotonicMs();
    const atMs: number[] = [];
    const endpoint = await endpointOf((_received, response) => {
      atMs.push(clock.monotonicMs() - beganMs);
      response.writeHead(500).end();
    });
    await webhooks.create({ name: 'pager', url: endpoint.url });
    await happen(log);
    await pass(clock, made, 80 * 3_600_000, () => webhooks.get('pager').deadLetters === 1);
    const hours = [0, 0, 0, 0.5, 2.5, 7.5, 17.5, 31.5, 51.5, 75.5].map((hour) => hour * 3_600_000);
    // Each attempt begins within the steps that time passes in here.
    const dueMs = hours.map((ms, index) => ms + (index >= 2 ? 305_000 : index * 5_000));
    expect(atMs.map((ms) => Math.round(ms / 1_000))).toEqual(dueMs.map((ms) => ms / 1_000));
    expect(webhooks.deadLetters('pager')).toMatchObject([{ seq: 1, attempts: 10, error: 'answered 500' }]);
    await clock.settle();
    expect(await types(log)).toEqual(['vmDeleted', 'webhookDeadLetter']);
    endpoint.script = answering(200);
    expect(await webhooks.replay('pager')).toBe(1);
    await pass(clock, made, 600_000, () => webhooks.get('pager').retrying === 0);
    expect(endpoint.seqs.at(-1)).toBe(1);
    expect(webhooks.get('pager')).toMatchObject({ deadLetters: 0, retrying: 0 });
  });

  it('holds the line for three attempts; what comes back after an hour of 500 gets everything', async () => {
    const clock = new SimulatedClock();
    const made = await bench(clock);
    const { log, webhooks } = made;
    const endpoint = await endpointOf(answering(500));
    await webhooks.create({ name: 'pager', url: endpoint.url });
    for (let count = 0; count < 20; count += 1) await happen(log);
    await pass(clock, made, 3_600_000);
    const { circuit, retrying, deadLetters, cursor } = webhooks.get('pager');
    expect([circuit, deadLetters]).toEqual(['open', 0]);
    expect(retrying).toBe(cursor);
    expect(retrying).toBeGreaterThan(2);
    // Without the circuit's pauses each of them would have been tried every time it was due.
    expect(endpoint.received.length).toBeLessThan(30);
    const [first, second, third] = endpoint.seqs;
    expect([first, second, third, endpoint.seqs[3]]).toEqual([1, 1, 1, 2]);
    endpoint.script = answering(200);
    endpoint.received.length = 0;
    await pass(clock, made, 700_000);
    expect(endpoint.seqs.toSorted((a, b) => (a ?? 0) - (b ?? 0))).toEqual(
      Array.from({ length: 20 }, (_, index) => index + 1),
    );
    expect(webhooks.get('pager')).toMatchObject({ circuit: 'closed', lag: 0, retrying: 0 });
  });

  it('lets the rest go on when it refuses one event only', async () => {
    const clock = new SimulatedClock();
    const made = await bench(clock);
    const { log, webhooks } = made;
    const endpoint = await endpointOf(({ seq }, response) => {
      response.writeHead(seq === 2 ? 422 : 200).end();
    });
    await webhooks.create({ name: 'pager', url: endpoint.url });
    for (let count = 0; count < 5; count += 1) await happen(log);
    await pass(clock, made, 400_000);
    expect(endpoint.seqs).toEqual([1, 2, 2, 2, 3, 4, 5]);
    expect(webhooks.get('pager')).toMatchObject({ retrying: 1, lag: 0, circuit: 'closed' });
  });

  it('is left alone as long as it asks, within bounds', async () => {
    const clock = new SimulatedClock();
    const made = await bench(clock);
    const { log, webhooks } = made;
    const endpoint = await endpointOf(answering(429, { 'retry-after': '120' }));
    await webhooks.create({ name: 'pager', url: endpoint.url });
    await happen(log);
    await pass(clock, made, 119_000);
    expect(endpoint.received.length).toBe(1);
    endpoint.script = answering(503, { 'retry-after': '999999' });
    await pass(clock, made, 2_000);
    expect(endpoint.received.length).toBe(2);
    endpoint.script = answering(204, {}, '');
    await pass(clock, made, 3_590_000);
    expect(endpoint.received.length).toBe(2);
    await pass(clock, made, 20_000);
    expect(endpoint.received.length).toBe(3);
    expect(webhooks.get('pager').lag).toBe(0);
  });

  it('with 410 disables its webhook, is told nothing more, and goes on where it stopped when enabled', async () => {
    const { log, webhooks } = await bench();
    const endpoint = await endpointOf(answering(410));
    await webhooks.create({ name: 'pager', url: endpoint.url });
    await happen(log);
    await eventually('its event', () => log.state().lastSeq === 2);
    expect(await types(log)).toEqual(['vmDeleted', 'webhookDisabled']);
    expect(webhooks.get('pager')).toMatchObject({ enabled: false, disabledReason: 'gone', cursor: 0 });
    await happen(log);
    endpoint.script = answering(200);
    await webhooks.change('pager', { enabled: true });
    await eventually('the rest', () => webhooks.get('pager').cursor === 3);
    expect(endpoint.seqs).toEqual([1, 1, 3]);
  });

  it('does not feed itself, nor others without end, with events about its failure', async () => {
    const clock = new SimulatedClock();
    const made = await bench(clock);
    const { log, webhooks } = made;
    const endpoint = await endpointOf(answering(500));
    for (const name of ['a', 'b']) await webhooks.create({ name, url: endpoint.url });
    await happen(log);
    await pass(clock, made, 200 * 3_600_000);
    expect(await types(log)).toEqual(['vmDeleted', 'webhookDeadLetter', 'webhookDeadLetter']);
    expect(webhooks.list().map(({ deadLetters, retrying }) => [deadLetters, retrying])).toEqual([
      [2, 0],
      [2, 0],
    ]);
  });
});

describe('many webhooks', () => {
  it('of which 99 are stuck do not delay the one that works', async () => {
    // No time passes: nothing that is told waits for an attempt of the others to be given up.
    const { log, webhooks } = await bench(new SimulatedClock());
    const stuck = await endpointOf(() => undefined);
    const works = await endpointOf();
    for (let count = 0; count < 99; count += 1) {
      await webhooks.create({ name: `stuck-${count}`, url: stuck.url, timeoutMs: 30_000 });
    }
    await webhooks.create({ name: 'works', url: works.url });
    await happen(log);
    await eventually('all to be stuck', () => stuck.received.length === 99);
    for (let count = 0; count < 50; count += 1) await happen(log);
    await eventually('51 deliveries', () => works.received.length === 51);
    await expect(webhooks.create({ name: 'more', url: works.url })).rejects.toMatchObject({
      code: 'VM_E_OUT_OF_RESOURCE',
    });
    await Promise.all(Array.from({ length: 99 }, (_, index) => webhooks.delete(`stuck-${index}`)));
  });
});

describe('a service that ends', () => {
  it('tells again what it was about to be told, and knows cursor, retries, dead letters and secrets', async () => {
    const clock = new SimulatedClock();
    const log = new MemoryEventLog();
    const first = await bench(clock, log);
    const endpoint = await endpointOf(({ seq }, response) => {
      if (seq !== 3) response.writeHead(seq === 1 ? 500 : 200).end();
    });
    const { secret } = await first.webhooks.create({ name: 'pager', url: endpoint.url });
    for (let count = 0; count < 3; count += 1) await happen(log);
    await pass(clock, first, 310_000, () => endpoint.seqs.includes(3));
    // The attempt at the third is under way: as with kill -9, nothing of it is known.
    const second = await bench(clock, log);
    expect(second.webhooks.get('pager')).toMatchObject({ cursor: 2, retrying: 1 });
    await eventually('the third again', () => endpoint.seqs.filter((seq) => seq === 3).length === 2);
    verify(secret, { ...(endpoint.received.at(-1) as Received), headers: retimed(endpoint, secret) });
    await second.webhooks.delete('pager');
    expect(await log.loadDocuments('webhookRetry')).toEqual([]);
    expect(await log.loadDocuments('webhookCursor')).toEqual([]);
    await first.webhooks.delete('pager');
    expect((await bench(clock, log)).webhooks.list()).toEqual([]);
  });

  it('and finds its cursor no longer kept says what was missed, and goes on', async () => {
    const { log, webhooks } = await bench();
    const endpoint = await endpointOf();
    await webhooks.create({ name: 'pager', url: endpoint.url });
    await webhooks.change('pager', { enabled: false });
    for (let count = 0; count < 4; count += 1) await happen(log);
    log.deleteThrough(3);
    await webhooks.change('pager', { enabled: true });
    await eventually('the rest', () => endpoint.received.length === 2);
    expect(endpoint.seqs).toEqual([4, 5]);
    await eventually('the event', () => log.state().lastSeq === 6);
    expect((await log.read({ after: 5, limit: 1 })).events[0]?.data).toMatchObject({
      webhook: 'pager',
      from: 1,
      to: 3,
    });
    expect(endpoint.seqs).toEqual([4, 5]);
  });
});

/** The reference library knows the real time only; the simulated one is years away. */
function retimed(endpoint: Endpoint, secret: string): Received['headers'] {
  const { body, headers } = endpoint.received.at(-1) as Received;
  const at = new Date(Number(headers['webhook-timestamp']) * 1_000);
  const id = String(headers['webhook-id']);
  expect(headers['webhook-signature']).toBe(new Webhook(secret).sign(id, at, body));
  const now = new Date();
  return {
    ...headers,
    'webhook-timestamp': String(Math.floor(now.getTime() / 1_000)),
    'webhook-signature': new Webhook(secret).sign(id, now, body),
  };
}
