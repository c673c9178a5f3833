import { afterEach, expect, it } from 'vitest';
import { Endpoint } from '../../../../test/support/endpoint.ts';
import { MemoryEventLog } from '../../../../test/support/memory-event-log.ts';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { maxWebhookRetries } from '../limits.ts';
import type { ResolveAll } from './webhook-address.ts';
import { Webhooks } from './webhooks.ts';

const opened: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of opened.splice(0).toReversed()) await close();
});

const real = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });

async function pass(clock: SimulatedClock, ms: number, stepMs: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += stepMs) {
    await clock.advanceAsync(stepMs);
    await real(2);
  }
}

it('names that are looked up in vain for long do not hold up a webhook whose name is known well', async () => {
  const log = new MemoryEventLog();
  const clock = new SimulatedClock();
  const endpoint = await Endpoint.start((_received, response) => {
    // Each event needs a connection, and so a lookup, of its own.
    response.writeHead(204, { connection: 'close' }).end();
  });
  opened.push(() => endpoint.stop());
  const resolve: ResolveAll = (host, _family, done) => {
    if (host === 'good.test') done(null, [{ address: '127.0.0.1', family: 4 }]);
    // A zone whose servers do not answer: 2 servers, 2 attempts, 5 s each.
    else clock.setTimer(() => done(Object.assign(new Error('again'), { code: 'EAI_AGAIN' }), []), 20_000);
  };
  const ports = { clock, log, store: log, version: '1', warn: () => undefined, resolve };
  const webhooks = await Webhooks.open(ports);
  webhooks.start();
  await webhooks.create({ name: 'pager', url: `http://good.test:${endpoint.port}/` });
  for (let n = 0; n < 8; n += 1) await webhooks.create({ name: `dead-${n}`, url: `http://dead-${n}.test/` });
  const happen = (): Promise<unknown> =>
    log.append({ type: 'vmDeleted', timeMs: 0, vm: { id: 'id', name: 'web-1' }, data: {} });
  await happen();
  // Each of them was looked up once.
  await pass(clock, 100_000, 1_000);
  const before = endpoint.received.length;
  await happen();
  const beganMs = clock.monotonicMs();
  while (endpoint.received.length === before && clock.monotonicMs() - beganMs < 600_000)
    await pass(clock, 500, 500);
  const { lastAttempt, failuresInARow } = webhooks.get('pager');
  expect({
    before,
    seconds: (clock.monotonicMs() - beganMs) / 1_000,
    error: failuresInARow === 0 ? null : lastAttempt?.error,
  }).toEqual({ before: 1, seconds: 0.5, error: null });
});

it('an event that its endpoint refuses gives way as soon as there is room among the retries', async () => {
  const log = new MemoryEventLog();
  const clock = new SimulatedClock();
  const refused = new Set<number>();
  const endpoint = await Endpoint.start(({ seq }, response) => {
    response.writeHead(refused.has(seq ?? 0) ? 422 : 204).end();
  });
  opened.push(() => endpoint.stop());
  const ports = { clock, log, store: log, version: '1', warn: () => undefined, random: () => 0 };
  const first = await Webhooks.open(ports);
  await first.create({ name: 'pager', url: endpoint.url });
  const vm = { id: 'id', name: 'web-1' };
  const happen = (): Promise<{ seq: number }> => log.append({ type: 'vmDeleted', timeMs: 0, vm, data: {} });
  for (let n = 0; n < maxWebhookRetries; n += 1) await happen();
  // The list of retries is full of events that were refused: they are tried in 20 hours, the first in 6 min.
  const [webhook] = await log.loadDocuments('webhook');
  const id = webhook?.key ?? '';
  const { events } = await log.read({ after: 0, limit: 1_000 });
  const wallMs = clock.wallMs();
  await log.putDocuments([
    { kind: 'webhookCursor', key: id, value: { cursor: maxWebhookRetries, head: null } },
    ...events.map((event) => ({
      kind: 'webhookRetry',
      key: `${id}/${event.seq}`,
      value: {
        event,
        failed: 8,
        sinceMs: wallMs,
        nextMs: wallMs + (event.seq === 1 ? 360_000 : 72_000_000),
        error: 'answered 422',
      },
    })),
  ]);
  const webhooks = await Webhooks.open(ports);
  webhooks.start();
  refused.add((await happen()).seq);
  const good = (await happen()).seq;
  await pass(clock, 400_000, 1_000);
  // Three attempts took 5 min, at 6 min there was room: the next event is due now.
  expect(webhooks.get('pager').retrying).toBeLessThan(maxWebhookRetries + 1);
  expect(endpoint.seqs).toContain(1);
  expect(endpoint.seqs).toContain(good);
});
