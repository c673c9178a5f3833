import { beforeEach, describe, expect, it } from 'vitest';
import { SubscriptionsOnTrial } from '../../../../test/support/subscriptions-on-trial.ts';
import { redeliveryMs } from '../limits.ts';

let trial: SubscriptionsOnTrial;

beforeEach(() => {
  trial = new SubscriptionsOnTrial();
});

const wanted = { types: ['configurationChanged' as const] };

describe('a consumer that hangs while its connection lives', () => {
  it('loses its place after the deadline; the event counts as not taken, and whoever waits takes over', async () => {
    await trial.make({ ...wanted, ackTimeoutMs: 30_000 });
    const hung = await trial.consume();
    const next = await trial.consume();
    await trial.tell(3);
    await trial.ack(hung, 1);
    await trial.settle(29_999);
    expect([hung.ended, next.lease]).toEqual([null, null]);
    await trial.settle(1);
    expect(hung.ended).toBe('event 2: no acknowledgement within 30 s');
    expect([next.cursor, next.seqs]).toEqual([1, []]);
    await trial.settle(redeliveryMs.first);
    expect([next.seqs, next.attempts]).toEqual([
      [2, 3],
      [2, 1],
    ]);
    await expect(trial.ack(hung, 3)).rejects.toMatchObject({ code: 'VMPULSE_E_NOT_SERVED' });
    await trial.ack(next, 3);
    expect(await trial.pager.info()).toMatchObject({ cursor: 3, lag: 0, standby: 0, redeliveries: 1 });
  });

  it('is not cut off while it answers, however slowly it works through what it was sent', async () => {
    await trial.make({ ...wanted, ackTimeoutMs: 1_000 });
    const slow = await trial.consume();
    await trial.tell(20);
    for (let seq = 1; seq <= 19; seq += 1) {
      await trial.settle(900);
      if (seq === 7) trial.nack(slow, seq);
      else await trial.ack(slow, seq);
      if (seq === 7) await trial.settle(redeliveryMs.first);
      if (seq === 7) await trial.ack(slow, seq);
    }
    await trial.ack(slow, 20);
    // With nothing in flight nothing is due.
    await trial.settle(60_000);
    expect([slow.ended, trial.pager.cursor]).toEqual([null, 20]);
    expect(trial.warnings).toEqual([]);
  });

  it('does so for as often as an event may be tried; then it is a dead letter, and the rest goes on', async () => {
    await trial.make({ ...wanted, ackTimeoutMs: 1_000, maxAttempts: 2 });
    await trial.tell(2);
    const first = await trial.consume();
    await trial.settle(1_000);
    const second = await trial.consume();
    await trial.settle(redeliveryMs.first);
    expect([first.seqs, second.seqs]).toEqual([
      [1, 2],
      [1, 2],
    ]);
    await trial.settle(999);
    expect(trial.pager.deadLetters.size).toBe(0);
    await trial.settle(1);
    expect([first.ended, second.ended]).not.toContain(null);
    expect(trial.pager.deadLetters.list()).toMatchObject([
      { seq: 1, attempts: 2, reason: 'no acknowledgement within 1 s' },
    ]);
    const third = await trial.consume();
    expect(third.seqs).toEqual([2]);
    await trial.ack(third, 2);
    expect(trial.pager.cursor).toBe(3);
  });

  it('at the last attempt: the one that waited is not told what is being set aside', async () => {
    await trial.make({ ...wanted, ackTimeoutMs: 1_000, maxAttempts: 1 });
    const hung = await trial.consume();
    const next = await trial.consume();
    await trial.tell(2);
    // A slow disk: the next one reads the event before it is a dead letter.
    const append = trial.log.append.bind(trial.log);
    trial.log.append = async (draft, effect) => {
      await trial.clock.sleep(redeliveryMs.first / 10);
      return append(draft, effect);
    };
    await trial.settle(1_000);
    expect([hung.ended === null, next.lease === null]).toEqual([false, false]);
    await trial.settle(redeliveryMs.first);
    expect([next.seqs, trial.pager.deadLetters.size]).toEqual([[2], 1]);
  });

  it('keeps its place where the subscription has no deadline', async () => {
    await trial.make({ ...wanted, ackTimeoutMs: null });
    const consumer = await trial.consume();
    await trial.tell();
    await trial.settle(10 * 3_600_000);
    await trial.ack(consumer, 1);
    expect([consumer.ended, trial.pager.cursor]).toEqual([null, 1]);
  });

  it('is not taken for hung when it was the service that stood still', async () => {
    await trial.make({ ...wanted, ackTimeoutMs: 30_000 });
    const consumer = await trial.consume();
    await trial.tell();
    trial.clock.stall(120_000);
    await trial.settle();
    expect(consumer.ended).toBe(null);
    await trial.ack(consumer, 1);
    expect(trial.pager.cursor).toBe(1);
  });

  it('also when it holds up a replayed dead letter, which then waits for the next one', async () => {
    await trial.make({ ...wanted, ackTimeoutMs: 1_000, maxAttempts: 1 });
    const first = await trial.consume();
    await trial.tell();
    trial.nack(first, 1);
    await trial.settle();
    await trial.pager.replay(1);
    await trial.settle(1_000);
    expect(first.ended).toMatch(/^event 1: no acknowledgement/u);
    expect(trial.pager.deadLetters.list()).toMatchObject([{ seq: 1, replaying: false }]);
    const next = await trial.consume();
    await trial.settle(redeliveryMs.longest);
    expect(next.seqs).toEqual([]);
  });
});
