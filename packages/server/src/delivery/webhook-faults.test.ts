import { afterEach, describe, expect, it } from 'vitest';
import { Endpoint, answering } from '../../../../test/support/endpoint.ts';
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

async function webhooksOf(log: MemoryEventLog, clock: Clock = new SystemClock()): Promise<Webhooks> {
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
  return webhooks;
}

const happen = (log: MemoryEventLog): Promise<unknown> =>
  log.append({ type: 'vmDeleted', timeMs: 0, vm: { id: 'id', name: 'web-1' }, data: {} });
const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn += 1) await Promise.resolve();
};

/** Lets simulated time pass to the next attempt; while one is under way only real time does. */
async function toNextAttempt(clock: SimulatedClock, webhooks: Webhooks): Promise<void> {
  await new Promise((resolve) => {
    setTimeout(resolve, 4);
  });
  const { nextAttemptAt } = webhooks.get('pager');
  await clock.advanceAsync(Math.max(1, Date.parse(nextAttemptAt ?? '1970') - clock.wallMs()));
}

describe('a webhook', () => {
  it.each(Array.from({ length: 24 }, (_, index) => index))(
    'that is deleted as an event comes is gone (%i turns after it)',
    async (count) => {
      const log = new MemoryEventLog();
      const webhooks = await webhooksOf(log);
      const endpoint = await endpointOf();
      await webhooks.create({ name: 'pager', url: endpoint.url });
      void happen(log);
      await turns(count);
      const deleted = webhooks.delete('pager').then(() => 'deleted');
      const late = new SystemClock().sleep(120_000).then(() => 'stuck');
      expect(await Promise.race([deleted, late])).toBe('deleted');
    },
  );

  it('that is changed during an attempt tells the event where it is now, and counts no cut-off one', async () => {
    const log = new MemoryEventLog();
    const webhooks = await webhooksOf(log);
    const [stuck, works] = [await endpointOf(() => undefined), await endpointOf()];
    await webhooks.create({ name: 'pager', url: stuck.url });
    await happen(log);
    await eventually('an attempt', () => stuck.received.length === 1);
    await webhooks.change('pager', { url: works.url });
    await eventually('the delivery', () => webhooks.get('pager').lag === 0);
    expect([works.seqs, webhooks.get('pager').failuresInARow]).toEqual([[1], 0]);
    expect(webhooks.counts()).toMatchObject([{ attempts: { accepted: 1, refused: 0, unanswered: 0 } }]);
    await eventually('the end of the attempt', () => stuck.open === 0);
  });

  it('whose URL changes keeps no connection to where it was', async () => {
    const log = new MemoryEventLog();
    const webhooks = await webhooksOf(log);
    const [before, after] = [await endpointOf(), await endpointOf()];
    await webhooks.create({ name: 'pager', url: before.url });
    await happen(log);
    await eventually('a delivery', () => webhooks.get('pager').lag === 0);
    await webhooks.change('pager', { url: after.url });
    await eventually('the end of the connection', () => before.open === 0);
    await happen(log);
    await eventually('a delivery', () => after.received.length === 1);
  });
});

describe('a full disk', () => {
  it('holds up no delivery and not the end of the service; the next start tells it again', async () => {
    const log = new MemoryEventLog();
    const webhooks = await webhooksOf(log);
    const endpoint = await endpointOf((_received, response) => {
      log.failWrites('the disk is full');
      response.writeHead(200).end();
    });
    await webhooks.create({ name: 'pager', url: endpoint.url });
    await Promise.all([happen(log), happen(log), happen(log)]);
    await eventually('all deliveries', () => endpoint.received.length === 3);
    const late = new SystemClock().sleep(120_000).then(() => 'stuck');
    expect(await Promise.race([webhooks.close().then(() => 'closed'), late])).toBe('closed');
    expect((await log.loadDocuments('webhookCursor')).map(({ value }) => value)).toMatchObject([
      { cursor: 0 },
    ]);
    log.mendWrites();
  });
});

describe('the wall clock', () => {
  it.each([-365 * 86_400_000, 365 * 86_400_000])(
    'stepped by %i ms between two retries hurries and holds up none',
    async (stepMs) => {
      const clock = new SimulatedClock();
      const log = new MemoryEventLog();
      const webhooks = await webhooksOf(log, clock);
      const endpoint = await endpointOf(answering(500));
      await webhooks.create({ name: 'pager', url: endpoint.url });
      await happen(log);
      await eventually('the first attempt', () => webhooks.get('pager').failuresInARow === 1);
      await clock.advanceAsync(2_000);
      clock.stepWall(stepMs);
      await clock.advanceAsync(2_900);
      expect(endpoint.received.length).toBe(1);
      await clock.advanceAsync(200);
      await eventually('the second attempt', () => webhooks.get('pager').failuresInARow === 2);
    },
  );
});

describe('the pause that an endpoint asked for', () => {
  it.each([
    [0, 1_800_000],
    [-365 * 86_400_000, 3_600_000],
  ])('outlives a restart, also where the wall clock was set by %i ms meanwhile', async (stepMs, pauseMs) => {
    const clock = new SimulatedClock();
    const log = new MemoryEventLog();
    const first = await webhooksOf(log, clock);
    const endpoint = await endpointOf(answering(503, { 'retry-after': '1800' }));
    await first.create({ name: 'pager', url: endpoint.url });
    await happen(log);
    await eventually('an attempt', () => first.get('pager').failuresInARow === 1);
    await first.close();
    clock.stepWall(stepMs);
    const again = await webhooksOf(log, clock);
    await eventually('its next attempt', () => again.get('pager').nextAttemptAt !== null);
    expect(Date.parse(again.get('pager').nextAttemptAt ?? '') - clock.wallMs()).toBe(pauseMs);
    expect(again.get('pager').circuit).toBe('closed');
    await clock.advanceAsync(pauseMs - 1_000);
    expect(endpoint.received.length).toBe(1);
    endpoint.script = answering(204, {}, '');
    await clock.advanceAsync(1_000);
    await eventually('the delivery', () => again.get('pager').lag === 0);
  });
});

describe('an open circuit', () => {
  it('outlives a restart: no start hammers an endpoint that was given up for now', async () => {
    const clock = new SimulatedClock();
    const log = new MemoryEventLog();
    const first = await webhooksOf(log, clock);
    const endpoint = await endpointOf(answering(500));
    await first.create({ name: 'pager', url: endpoint.url });
    for (let count = 0; count < 9; count += 1) await happen(log);
    while (first.get('pager').failuresInARow < 6) await toNextAttempt(clock, first);
    const { nextAttemptAt } = first.get('pager');
    await first.close();
    for (let start = 0; start < 3; start += 1) {
      const again = await webhooksOf(log, clock);
      expect(again.get('pager')).toMatchObject({ circuit: 'open', failuresInARow: 6 });
      await eventually('the same pause', () => again.get('pager').nextAttemptAt === nextAttemptAt);
      await again.close();
    }
    expect(endpoint.received.length).toBe(6);
    const last = await webhooksOf(log, clock);
    endpoint.script = answering(200);
    while (last.get('pager').lag > 0) await toNextAttempt(clock, last);
    await last.close();
    expect((await webhooksOf(log, clock)).get('pager')).toMatchObject({
      circuit: 'closed',
      failuresInARow: 0,
    });
  });
});
