import type { StoredDocument } from '../machine-record.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { SubscriptionsOnTrial } from '../../../../test/support/subscriptions-on-trial.ts';
import { maxInFlightEvents, redeliveryMs } from '../limits.ts';

let trial: SubscriptionsOnTrial;

beforeEach(() => {
  trial = new SubscriptionsOnTrial();
});

const wanted = { types: ['configurationChanged' as const] };

/** Writes begin to wait, as on a disk that is very slow; returns what lets them go on. */
function holdWrites(): () => void {
  const { log } = trial;
  const put = log.putDocuments.bind(log);
  let go = (): void => undefined;
  const held = new Promise<void>((resolve) => {
    go = resolve;
  });
  let before: Promise<void> = held;
  log.putDocuments = (documents: readonly StoredDocument[]) => {
    // In the order they came.
    before = before.then(() => put(documents));
    return before;
  };
  return go;
}

describe('a subscription that nobody takes from', () => {
  it('passes what it does not want, and keeps its place through retention', async () => {
    await trial.make(wanted);
    await trial.tell(500, false);
    expect(await trial.pager.info()).toMatchObject({ cursor: 500, lag: 0, oldestUnacknowledgedMs: null });
    trial.log.deleteThrough(500);
    await trial.tell();
    await trial.tell(3, false);
    // The first that is wanted is where it stands.
    await trial.settle(2_000);
    expect(await trial.pager.info()).toMatchObject({ cursor: 500, lag: 4, oldestUnacknowledgedMs: 2_000 });
    expect(trial.pager.count()).toMatchObject({ oldestMs: 2_000, inFlight: 0 });
    await trial.settle(10_000);
    await trial.restart();
    const consumer = await trial.consume();
    expect([consumer.losses, consumer.seqs]).toEqual([[], [501]]);
    expect(await trial.told('subscriptionLostPlace')).toEqual([]);
  });

  it('wants what its filter says now', async () => {
    await trial.make(wanted);
    await trial.tell();
    await trial.tell(1, false);
    await trial.make({ types: ['vmDeleted'] });
    expect(trial.pager.cursor).toBe(2);
    await trial.tell(1, false);
    await trial.make({ types: ['vmCreated'] });
    await trial.tell(1, false);
    expect(trial.pager.cursor).toBe(3);
    const consumer = await trial.consume();
    expect(consumer.seqs).toEqual([4]);
  });

  it('holds no timer and no listener of the log once it is deleted', async () => {
    await trial.make(wanted);
    const listeners = new Set<unknown>();
    const { log } = trial;
    const onCommit = log.onCommit.bind(log);
    log.onCommit = (listener) => {
      listeners.add(listener);
      const stop = onCommit(listener);
      return () => {
        listeners.delete(listener);
        stop();
      };
    };
    await trial.make({}, 'other');
    const consumer = await trial.consume('other');
    await trial.tell();
    consumer.leave();
    await trial.settle();
    await trial.subscriptions.delete('other');
    await trial.subscriptions.delete('pager');
    await trial.settle(10_000);
    expect([listeners.size, trial.clock.pendingTimers]).toEqual([0, 0]);
  });
});

describe('a subscriber that never acknowledges', () => {
  it('does not hold retention; it is told that it lost its place, and where it goes on', async () => {
    await trial.make({ ...wanted, ackTimeoutMs: 60_000 });
    const stuck = await trial.consume();
    const last = maxInFlightEvents + 400;
    await trial.tell(last);
    expect(stuck.seqs.length).toBe(maxInFlightEvents);
    trial.log.deleteThrough(450);
    await trial.settle(60_000);
    expect(stuck.ended).toMatch(/^event 1: no acknowledgement/u);
    const again = await trial.consume();
    expect(again.losses).toEqual([{ from: 1, to: 450 }]);
    expect(again.seqs).toEqual(Array.from({ length: last - 450 }, (_, n) => 451 + n));
    expect(await trial.told('subscriptionLostPlace')).toMatchObject([
      { subscription: 'pager', from: 1, to: 450 },
    ]);
    await trial.ack(again, last);
    await trial.settle(1_000);
    // What failed among them is forgotten with them.
    expect(trial.pager.document().value).toMatchObject({ failures: [] });
  });
});

describe('a replayed dead letter', () => {
  it('that was sent behind an event which is refused is sent again with it', async () => {
    await trial.make({ ...wanted, maxAttempts: 2 });
    const consumer = await trial.consume();
    await trial.tell();
    for (let n = 0; n < 2; n += 1) {
      trial.nack(consumer, 1);
      await trial.settle(redeliveryMs.first);
    }
    await trial.tell();
    // The consumer is busy with 3 when 1 is replayed: it throws away all that came after 3.
    await trial.pager.replay(1);
    expect(consumer.seqs.slice(-2)).toEqual([3, 1]);
    trial.nack(consumer, 3);
    await trial.settle(redeliveryMs.first);
    expect(consumer.seqs.slice(-2).toSorted((a, b) => a - b)).toEqual([1, 3]);
    await trial.ack(consumer, 1);
    await trial.ack(consumer, 3);
    expect(await trial.pager.info()).toMatchObject({ lag: 0, deadLetters: 0 });
  });
});

describe('the wall clock', () => {
  it('set back or ahead between attempts changes no pause', async () => {
    await trial.make(wanted);
    const consumer = await trial.consume();
    await trial.tell();
    for (const [failures, stepMs] of [-86_400_000, 86_400_000, -3_600_000].entries()) {
      trial.nack(consumer, 1);
      trial.clock.stepWall(stepMs);
      await trial.settle(redeliveryMs.first * 2 ** failures - 1);
      expect(consumer.seqs.length).toBe(failures + 1);
      await trial.settle(1);
      expect(consumer.seqs.length).toBe(failures + 2);
    }
    // The clock went back behind the event's own time.
    expect((await trial.pager.info()).oldestUnacknowledgedMs).toBe(0);
  });
});

describe('a kill between an attempt and its answer', () => {
  it('has the event delivered again, and its failures are not forgotten', async () => {
    await trial.make({ ...wanted, maxAttempts: 3 });
    const first = await trial.consume();
    await trial.tell(3);
    await trial.ack(first, 1);
    trial.nack(first, 2);
    await trial.settle(redeliveryMs.first);
    expect(first.seqs).toEqual([1, 2, 3, 2, 3]);
    await trial.restart();
    const next = await trial.consume();
    await trial.settle(redeliveryMs.first);
    expect([next.seqs, next.attempts]).toEqual([
      [2, 3],
      [2, 1],
    ]);
  });
});

describe('a disk that is full', () => {
  it('delays no delivery of what is there; cursors and dead letters are written when it has room', async () => {
    await trial.make({ ...wanted, maxAttempts: 1 });
    const consumer = await trial.consume();
    await trial.tell(10);
    await trial.settle(1_000);
    trial.log.failWrites('full');
    trial.nack(consumer, 3);
    await trial.settle(10_000);
    expect(consumer.seqs).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 4, 5, 6, 7, 8, 9, 10]);
    await trial.ack(consumer, 10);
    // 3 is neither taken nor set aside yet.
    expect(trial.pager.cursor).toBe(2);
    await trial.settle(60_000);
    trial.log.mendWrites();
    await trial.settle(1_000);
    await trial.restart();
    expect(await trial.pager.info()).toMatchObject({ cursor: 11, lag: 0, deadLetters: 1 });
  });

  it('with a kill before it has room: what was not written is delivered again, nothing is passed over', async () => {
    await trial.make({ ...wanted, maxAttempts: 1 });
    const consumer = await trial.consume();
    await trial.tell(4);
    await trial.ack(consumer, 1);
    await trial.settle(1_000);
    trial.log.putDocuments = () => Promise.reject(new Error('full'));
    trial.log.append = () => Promise.reject(new Error('full'));
    trial.nack(consumer, 2);
    await trial.ack(consumer, 4);
    await trial.settle(5_000);
    await trial.restart();
    const next = await trial.consume();
    expect([next.cursor, next.seqs]).toEqual([1, [2, 3, 4]]);
  });

  it('does not hold up the end of the service', async () => {
    await trial.make(wanted);
    const consumer = await trial.consume();
    await trial.tell(2);
    await trial.settle(1_000);
    trial.log.failWrites('full');
    await trial.ack(consumer, 2);
    const closed = trial.subscriptions.close();
    await trial.settle(6_000);
    // It has ended, or this test does not.
    await closed;
    expect(trial.log.state().writable).toBe(false);
  });
});

describe('a slow disk', () => {
  it('does not bring back a subscription that was deleted, nor its dead letters', async () => {
    await trial.make({ ...wanted, maxAttempts: 1 });
    const consumer = await trial.consume();
    await trial.tell(3);
    await trial.settle(10_000);
    const go = holdWrites();
    const deleted = trial.subscriptions.delete('pager');
    await trial.ack(consumer, 1);
    trial.nack(consumer, 2);
    await trial.settle(1_000);
    go();
    await trial.settle();
    await deleted;
    await trial.settle(10_000);
    await trial.restart();
    expect(trial.subscriptions.counts()).toEqual([]);
    await trial.make({ from: 1 });
    expect(trial.pager.deadLetters.size).toBe(0);
    expect((await trial.consume()).seqs).toEqual([1, 2, 3]);
  });

  it('does not bring back a filter that was replaced', async () => {
    await trial.make(wanted);
    const consumer = await trial.consume();
    await trial.tell(3);
    await trial.settle(10_000);
    const go = holdWrites();
    const made = trial.make({ types: ['vmDeleted'], maxAttempts: 7 });
    await trial.ack(consumer, 1);
    // The cursor is written behind it, with what the subscription still was.
    await trial.settle(200);
    go();
    await made;
    await trial.settle(1_000);
    await trial.restart();
    expect(await trial.pager.info()).toMatchObject({ types: ['vmDeleted'], maxAttempts: 7 });
  });
});

describe('a long log', () => {
  it('is passed over by a narrow filter without being read event by event', async () => {
    await trial.tell(30_000, false);
    await trial.tell();
    const before = trial.log.reads;
    await trial.make({ ...wanted, from: 1 });
    expect(await trial.pager.info()).toMatchObject({ cursor: 30_000, lag: 1 });
    expect((await trial.consume()).seqs).toEqual([30_001]);
    expect(trial.log.reads - before).toBeLessThan(10);
  });

  it('is taken in parts: never more in hand than may be in flight', async () => {
    const count = 20_000;
    await trial.tell(count);
    await trial.make({ from: 1 });
    const consumer = await trial.consume();
    const limits = new Set<number>();
    const read = trial.log.read.bind(trial.log);
    trial.log.read = (query) => {
      limits.add(query.limit);
      return read(query);
    };
    let seq = 0;
    while (seq < count) {
      const { inFlight } = trial.pager.count();
      if (inFlight > maxInFlightEvents) throw new Error(`${inFlight} in flight`);
      seq += 50;
      await trial.ack(consumer, seq);
      while (consumer.seqs.length < Math.min(count, seq + 50)) await trial.clock.settle();
    }
    expect(consumer.seqs).toEqual(Array.from({ length: count }, (_, n) => n + 1));
    expect(Math.max(...limits)).toBe(maxInFlightEvents);
    expect(trial.pager.lag).toBe(0);
  });
});
