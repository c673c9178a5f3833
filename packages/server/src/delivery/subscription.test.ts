import { type EventType, type SubscriptionRequest, eventTypeOf } from '@vmpulse/wire';
import { beforeEach, describe, expect, it } from 'vitest';
import { MemoryEventLog } from '../../../../test/support/memory-event-log.ts';
import { RecordedConsumer } from '../../../../test/support/recorded-consumer.ts';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { maxDeadLetters, maxInFlightEvents, maxStandbyConsumers, redeliveryMs } from '../limits.ts';
import { Subscriptions } from './subscriptions.ts';

let clock: SimulatedClock;
let log: MemoryEventLog;
let subscriptions: Subscriptions;
let warnings: string[];

async function begin(): Promise<void> {
  const warn = (message: string): void => void warnings.push(message);
  subscriptions = new Subscriptions({ clock, log, store: log, warn, random: () => 0 });
  await subscriptions.load();
}

beforeEach(async () => {
  clock = new SimulatedClock();
  log = new MemoryEventLog();
  warnings = [];
  await begin();
});

const web = { id: '11111111-1111-4111-8111-111111111111', name: 'web-1' };
const db = { id: '22222222-2222-4222-8222-222222222222', name: 'db-1' };

/** Time is passed in turns, so that what is read on the way is handled too. */
async function settle(ms = 0): Promise<void> {
  await clock.advanceAsync(ms);
  for (let turn = 0; turn < 5; turn += 1) await clock.settle();
}

async function tell(count = 1, vm = web): Promise<void> {
  for (let n = 0; n < count; n += 1) {
    void log.append({
      type: 'configurationChanged',
      vm,
      timeMs: clock.wallMs(),
      data: { key: 'notes', value: n, effective: 'now' },
    });
  }
  await settle();
}

/** Without a deadline of acknowledgement: here consumers take their time. */
async function make(request: SubscriptionRequest = {}, name = 'pager'): Promise<void> {
  await subscriptions.put(name, { ackTimeoutMs: null, ...request });
}

async function consume(name = 'pager'): Promise<RecordedConsumer & { leave: () => void }> {
  const consumer = new RecordedConsumer();
  const leave = subscriptions.find(name).connect(consumer);
  await settle();
  return Object.assign(consumer, { leave });
}

const ack = (consumer: RecordedConsumer, seq: number, name = 'pager'): Promise<void> =>
  subscriptions.find(name).acknowledge({ seq, lease: consumer.lease ?? '' });
const nack = (consumer: RecordedConsumer, seq: number, reason = 'no', name = 'pager'): void =>
  subscriptions.find(name).refuse({ seq, lease: consumer.lease ?? '', reason });

/** Refuses until the event was set aside. */
async function exhaust(consumer: RecordedConsumer, seq: number, attempts: number): Promise<void> {
  for (let n = 0; n < attempts; n += 1) {
    nack(consumer, seq, `failure ${n + 1}`);
    await settle(redeliveryMs.longest);
  }
}

async function told(type: EventType): Promise<unknown[]> {
  const after = log.state().oldestSeq - 1;
  return (await log.read({ after, limit: 1_000, types: [type] })).events.map(({ data }) => data);
}

describe('a durable subscription', () => {
  it('begins with what is told from now on, or with the seq that is asked for', async () => {
    await tell(3);
    await make();
    await make({ from: 2 }, 'all');
    const [pager, all] = [await consume(), await consume('all')];
    await tell();
    expect([pager.seqs, all.seqs]).toEqual([[4], [2, 3, 4]]);
    await expect(make({ from: 6 }, 'late')).rejects.toMatchObject({ field: '/from' });
  });

  it('moves its cursor by acknowledgement only, and gives what is not acknowledged to the next consumer', async () => {
    await make();
    const first = await consume();
    await tell(4);
    await ack(first, 2);
    expect(await subscriptions.find('pager').info()).toMatchObject({
      state: 'served',
      cursor: 2,
      lag: 2,
      inFlight: 2,
    });
    const second = await consume();
    expect([second.lease, second.seqs]).toEqual([null, []]);
    expect(await subscriptions.find('pager').info()).toMatchObject({ standby: 1 });
    first.leave();
    await settle();
    expect([second.cursor, second.seqs]).toEqual([2, [3, 4]]);
    await expect(ack(first, 3)).rejects.toMatchObject({ code: 'VMPULSE_E_NOT_SERVED' });
    await ack(second, 4);
    expect(subscriptions.find('pager')).toMatchObject({ cursor: 4, lag: 0 });
  });

  it('outlives the service; what was acknowledged at its very end may come again', async () => {
    await make({ types: ['configurationChanged'], maxAttempts: 3 });
    const first = await consume();
    await tell(6);
    nack(first, 3);
    await ack(first, 2);
    await settle(150);
    // As if killed: what is not written yet is forgotten.
    await settle(redeliveryMs.first);
    await ack(first, 5);
    await begin();
    expect(await subscriptions.find('pager').info()).toMatchObject({ cursor: 2, maxAttempts: 3 });
    const second = await consume();
    expect(second.seqs).toEqual([]);
    await settle(redeliveryMs.first);
    expect([second.seqs, second.attempts]).toEqual([
      [3, 4, 5, 6],
      [2, 1, 1, 1],
    ]);
    await ack(second, 6);
    await subscriptions.close();
    expect(second.ended).toBe('the server is stopping');
    await begin();
    expect(subscriptions.find('pager').cursor).toBe(6);
  });

  it('writes cursors together, at most once in 100 ms', async () => {
    await make();
    await make({}, 'other');
    const consumers = [await consume(), await consume('other')] as const;
    await settle(10_000);
    const written: string[][] = [];
    const put = log.putDocuments.bind(log);
    log.putDocuments = (documents) => {
      written.push(documents.map(({ key }) => key));
      return put(documents);
    };
    await tell(50);
    for (let seq = 1; seq <= 50; seq += 1) {
      await ack(consumers[0], seq);
      await ack(consumers[1], seq, 'other');
      await settle(5);
    }
    await settle(1_000);
    expect(written.length).toBeLessThanOrEqual(4);
    expect(written.every((keys) => keys.join() === 'pager,other')).toBe(true);
  });

  it('takes only the events of its filter, and passes over the others', async () => {
    await make({ machines: ['WEB-1'] }, 'by-name');
    await make({ machines: [db.id], types: ['heartbeatStopped'], verdicts: ['hung'] }, 'by-id');
    const [byName, byId] = [await consume('by-name'), await consume('by-id')];
    await tell(1, web);
    await tell(1, db);
    const evidence = {} as never;
    for (const verdict of ['exited', 'hung'] as const) {
      const data = { verdict, cause: 'silence' as const, evidence };
      void log.append({ type: 'heartbeatStopped', vm: db, timeMs: 0, data });
    }
    void log.append({ type: 'serviceStopped', timeMs: 0, data: { messageId: 2, reason: '' } });
    await settle();
    expect([byName.seqs, byId.seqs]).toEqual([[1], [4]]);
    await ack(byId, 4, 'by-id');
    expect(subscriptions.find('by-id').lag).toBe(0);
  });

  it('has only so many events in flight, and sends on as they are acknowledged', async () => {
    await make();
    const consumer = await consume();
    await tell(maxInFlightEvents + 50);
    expect(consumer.seqs.length).toBe(maxInFlightEvents);
    await ack(consumer, 30);
    await settle();
    expect(consumer.seqs.length).toBe(maxInFlightEvents + 30);
    expect(consumer.seqs).toEqual(consumer.seqs.toSorted((a, b) => a - b));
  });

  it('refuses what it has not sent, and takes a repeated acknowledgement', async () => {
    await make();
    const consumer = await consume();
    await tell(3);
    await expect(ack(consumer, 4)).rejects.toMatchObject({ code: 'VMPULSE_E_NOT_SERVED', status: 409 });
    await ack(consumer, 2);
    await ack(consumer, 2);
    nack(consumer, 3);
    // Refused, and so not there until it is sent again.
    await expect(ack(consumer, 3)).rejects.toMatchObject({ code: 'VMPULSE_E_NOT_SERVED' });
    expect(() => nack(consumer, 3)).toThrow(/not in flight/);
    expect(subscriptions.find('pager').cursor).toBe(2);
  });

  it('lets only so many consumers wait', async () => {
    await make();
    for (let n = 0; n <= maxStandbyConsumers; n += 1) await consume();
    await expect(consume()).rejects.toMatchObject({ code: 'VMPULSE_E_TOO_MANY_STREAMS' });
  });
});

describe('an event that was not taken', () => {
  it('is delivered again after a pause that doubles, in order, with all that was sent after it', async () => {
    await make();
    const consumer = await consume();
    await tell(3);
    nack(consumer, 2);
    expect(consumer.rewinds).toEqual([2]);
    await settle(redeliveryMs.first - 1);
    expect(consumer.seqs).toEqual([1, 2, 3]);
    await settle(1);
    expect(consumer.seqs).toEqual([1, 2, 3, 2, 3]);
    nack(consumer, 2);
    await tell();
    await settle(2 * redeliveryMs.first - 1);
    expect(consumer.seqs.length).toBe(5);
    await settle(1);
    expect([consumer.seqs.slice(5), consumer.attempts.slice(5)]).toEqual([
      [2, 3, 4],
      [3, 1, 1],
    ]);
    await ack(consumer, 4);
    expect(subscriptions.find('pager').lag).toBe(0);
  });

  it('is set aside after the last attempt, with an event that tells of it, and the rest goes on', async () => {
    await make({ maxAttempts: 3, types: ['configurationChanged'] });
    const consumer = await consume();
    await tell(2);
    await exhaust(consumer, 1, 3);
    expect(consumer.seqs).toEqual([1, 2, 1, 2, 1, 2, 2]);
    expect(await told('deliverySetAside')).toEqual([
      {
        messageId: 110,
        subscription: 'pager',
        setAsideSeq: 1,
        setAsideType: 'configurationChanged',
        attempts: 3,
        reason: 'failure 3',
      },
    ]);
    expect(subscriptions.find('pager').cursor).toBe(1);
    await ack(consumer, 2);
    await settle(10_000);
    await begin();
    const { deadLetters } = subscriptions.find('pager');
    expect(deadLetters.list()).toMatchObject([
      { seq: 1, attempts: 3, reason: 'failure 3', event: { seq: 1 } },
    ]);
  });

  it('holds the cursor until it is set aside durably, and is not sent after a later one', async () => {
    await make({ maxAttempts: 1, types: ['configurationChanged'] });
    const consumer = await consume();
    await tell(2);
    const append = log.append.bind(log);
    log.append = () => Promise.reject(new Error('full'));
    nack(consumer, 1);
    await ack(consumer, 2);
    await settle(10_000);
    expect([subscriptions.find('pager').cursor, consumer.seqs]).toEqual([0, [1, 2, 2]]);
    log.append = append;
    await settle(2_000);
    expect([subscriptions.find('pager').cursor, consumer.seqs]).toEqual([3, [1, 2, 2]]);
    expect(subscriptions.find('pager').deadLetters.size).toBe(1);
  });

  it('that tells of a set-aside is set aside without another: the broken feed each other nothing', async () => {
    await make({ maxAttempts: 1 });
    await make({ maxAttempts: 1 }, 'other');
    const pair = [await consume(), await consume('other')] as const;
    await tell();
    for (let round = 0; round < 20; round += 1) {
      for (const [index, name] of ['pager', 'other'].entries()) {
        const consumer = pair[index as 0 | 1];
        for (const seq of new Set(consumer.seqs)) {
          if (subscriptions.find(name).cursor < seq) nack(consumer, seq, 'broken', name);
        }
        await settle(redeliveryMs.longest);
      }
    }
    expect((await told('deliverySetAside')).length).toBe(2);
    expect(subscriptions.find('pager').deadLetters.size).toBe(3);
  });

  it('takes the place of the oldest dead letter at the bound, which is told', async () => {
    await make({ maxAttempts: 1, types: ['configurationChanged'] });
    const consumer = await consume();
    for (let n = 0; n <= maxDeadLetters; n += 1) {
      await tell();
      nack(consumer, consumer.seqs.at(-1) ?? 0);
      await settle();
    }
    const { deadLetters } = subscriptions.find('pager');
    expect([deadLetters.size, deadLetters.has(1)]).toEqual([maxDeadLetters, false]);
    expect((await told('deliverySetAside')).at(-1)).toMatchObject({ droppedSeq: 1 });
  });
});

describe('a dead letter', () => {
  it('is replayed beside the others, acknowledged by itself, and then gone', async () => {
    await make({ maxAttempts: 2, types: ['configurationChanged'] });
    const consumer = await consume();
    await tell(3);
    await exhaust(consumer, 1, 2);
    await ack(consumer, 2);
    consumer.events.length = 0;
    await subscriptions.find('pager').replay(1);
    expect(consumer.seqs).toEqual([1]);
    nack(consumer, 1);
    await tell();
    // Its pause holds up nobody.
    expect(consumer.seqs).toEqual([1, 5]);
    consumer.leave();
    const next = await consume();
    await settle(redeliveryMs.first);
    expect(next.seqs.toSorted((a, b) => a - b)).toEqual([1, 3, 5]);
    await ack(next, 1);
    expect(subscriptions.find('pager')).toMatchObject({ cursor: 2, deadLetters: { size: 0 } });
    await ack(next, 5);
    await expect(subscriptions.find('pager').replay(1)).rejects.toMatchObject({
      code: 'VMPULSE_E_NOT_FOUND',
    });
  });

  it('is dropped, also while it is replayed', async () => {
    await make({ maxAttempts: 1, types: ['configurationChanged'] });
    const consumer = await consume();
    await tell();
    await exhaust(consumer, 1, 1);
    await subscriptions.find('pager').replay(1);
    await subscriptions.find('pager').drop(1);
    await expect(subscriptions.find('pager').drop(1)).rejects.toMatchObject({ code: 'VMPULSE_E_NOT_FOUND' });
    await begin();
    expect(subscriptions.find('pager').deadLetters.size).toBe(0);
  });

  it('goes with its subscription', async () => {
    await make({ maxAttempts: 1, types: ['configurationChanged'] });
    const consumer = await consume();
    await tell();
    await exhaust(consumer, 1, 1);
    await subscriptions.delete('pager');
    expect(consumer.ended).toBe('the subscription was deleted');
    expect(() => subscriptions.find('pager')).toThrow(/There is no subscription/);
    await begin();
    await make({ from: 1 });
    expect(subscriptions.find('pager').deadLetters.size).toBe(0);
  });
});

describe('a cursor that retention overtook', () => {
  it('goes on with the oldest event kept, and both consumer and log are told', async () => {
    await make({ types: ['configurationChanged'] });
    await tell(10);
    log.deleteThrough(6);
    const consumer = await consume();
    expect([consumer.losses, consumer.seqs]).toEqual([[{ from: 1, to: 6 }], [7, 8, 9, 10]]);
    await settle();
    expect(await told('subscriptionLostPlace')).toEqual([
      { messageId: 111, subscription: 'pager', from: 1, to: 6 },
    ]);
    await begin();
    expect(subscriptions.find('pager').cursor).toBe(6);
    expect(warnings).toEqual([]);
  });
});

describe('a hundred subscriptions, one of them stuck', () => {
  it('delay none of the others', async () => {
    const names = Array.from({ length: 100 }, (_, n) => `s${n}`);
    for (const name of names) await make({}, name);
    const stuck = await consume('s0');
    const others = new Map<string, RecordedConsumer>();
    for (const name of names.slice(1)) others.set(name, await consume(name));
    const beganMs = clock.monotonicMs();
    for (let round = 0; round < 5; round += 1) {
      await tell(maxInFlightEvents);
      for (const [name, consumer] of others) await ack(consumer, log.state().lastSeq, name);
    }
    // No time had to pass.
    expect(clock.monotonicMs()).toBe(beganMs);
    expect(stuck.seqs.length).toBe(maxInFlightEvents);
    expect(subscriptions.find('s0').lag).toBe(5 * maxInFlightEvents);
    for (const [name, consumer] of others) {
      expect(consumer.seqs.length).toBe(5 * maxInFlightEvents);
      expect(subscriptions.find(name).lag).toBe(0);
    }
    expect(new Set(stuck.events.map(eventTypeOf))).toEqual(new Set(['configurationChanged']));
  });
});
