import { beforeEach, expect, it } from 'vitest';
import { SubscriptionsOnTrial } from '../../../../test/support/subscriptions-on-trial.ts';

let trial: SubscriptionsOnTrial;

beforeEach(() => {
  trial = new SubscriptionsOnTrial();
});

it('one whose deletion was refused for a slow disk is after a restart what it was before: whole, or gone', async () => {
  await trial.make({ maxAttempts: 1 });
  const consumer = await trial.consume();
  await trial.tell(1);
  trial.nack(consumer, 1);
  await trial.settle();
  expect(trial.pager.deadLetters.size).toBe(1);
  trial.log.failWrites('the disk is full');
  const refused = trial.subscriptions.delete('pager').catch((error: { code: string }) => error.code);
  await trial.settle(10_000);
  expect(await refused).toBe('VMPULSE_E_LOG_UNAVAILABLE');
  trial.log.mendWrites();
  await trial.settle(10_000);
  const all = async (): Promise<unknown[]> =>
    (await trial.subscriptions.list()).map(({ name, deadLetters }) => [name, deadLetters]);
  const before = await all();
  await trial.restart();
  expect(await all()).toEqual(before);
});

it('one that was refused for a slow disk is not there after a restart', async () => {
  trial.log.failWrites('the disk is full');
  const refused = trial.subscriptions.put('pager', {}).catch((error: { code: string }) => error.code);
  await trial.settle(10_000);
  expect(await refused).toBe('VMPULSE_E_LOG_UNAVAILABLE');
  trial.log.mendWrites();
  await trial.settle(10_000);
  const now = (await trial.subscriptions.list()).map(({ name }) => name);
  await trial.restart();
  expect((await trial.subscriptions.list()).map(({ name }) => name)).toEqual(now);
});

it('what failed and is not wanted any more is not stored for ever', async () => {
  await trial.make({ maxAttempts: 20 });
  for (let round = 0; round < 20; round += 1) {
    const consumer = await trial.consume();
    await trial.tell(1);
    const { lastSeq } = trial.log.state();
    trial.nack(consumer, lastSeq);
    consumer.leave();
    // Narrower, and as it was.
    await trial.make({ maxAttempts: 20, types: ['vmDeleted'] });
    await trial.settle(1_000);
    await trial.make({ maxAttempts: 20 });
  }
  await trial.settle(10_000);
  const [stored] = await trial.log.loadDocuments('subscription');
  expect(stored?.value).toMatchObject({ failures: [] });
});

it.each(['asked twice (its answer was lost)', 'dropped by its operator meanwhile'])(
  'the acknowledgement of a replayed dead letter, %s, takes nothing else',
  async (how) => {
    await trial.make({ maxAttempts: 1 });
    const consumer = await trial.consume();
    await trial.tell(3);
    // It takes several at once; the third fails first, and is replayed while the others are still worked on.
    trial.nack(consumer, 3);
    await trial.settle();
    await trial.pager.replay(3);
    await trial.settle();
    expect(consumer.seqs).toContain(3);
    if (how.startsWith('asked')) await trial.ack(consumer, 3);
    else await trial.pager.drop(3);
    expect((await trial.pager.info()).cursor).toBe(0);
    await trial.ack(consumer, 3).catch(() => undefined);
    await trial.settle(1_000);
    await trial.restart();
    const next = await trial.consume();
    expect(next.seqs.filter((seq) => seq <= 2)).toEqual([1, 2]);
  },
);
