import * as fc from 'fast-check';
import type { VmError } from '@vmpulse/wire';
import { expect, test } from 'vitest';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { encodeEvent } from './encoding.ts';
import type { WriteItem } from './protocol.ts';
import { ThreadGone } from './thread-client.ts';
import { type Pending, WriteQueue } from './write-queue.ts';

interface Outcome {
  seq?: number;
  error?: VmError;
}

/** A log that keeps reasons; each commit ends as its script says. */
function makeQueue(
  maxPending: number,
  next: () => 'written' | 'failed' | 'gone, written' | 'gone, not written' | 'hangs',
) {
  const clock = new SimulatedClock();
  const log: string[] = [];
  const batches: number[] = [];
  const attemptsAtMs: number[] = [];
  let afterSeq = 0;
  let release: () => void = () => undefined;
  const reasonOf = (item: WriteItem): string =>
    (JSON.parse(item.event?.data ?? '{}') as { reason: string }).reason;
  const commit = async (items: readonly WriteItem[], isUnknown: boolean): Promise<number> => {
    attemptsAtMs.push(clock.monotonicMs());
    const outcome = next();
    if (outcome === 'hangs') {
      await new Promise<void>((resolve) => {
        release = resolve;
      });
    }
    const isThere = isUnknown && log.length === afterSeq + items.length;
    if (outcome === 'failed') throw new Error('disk full');
    if (!isThere && outcome !== 'gone, not written') log.push(...items.map(reasonOf));
    if (outcome !== 'written' && outcome !== 'hangs') throw new ThreadGone('writer', undefined);
    batches.push(items.length);
    afterSeq = log.length;
    return log.length - items.length + 1;
  };
  const encode = (draft: Parameters<typeof encodeEvent>[0]): Pending => {
    return { item: encodeEvent(draft), bytes: 1, written: () => undefined, failed: () => undefined };
  };
  let commits = 0;
  const committed = (): void => void (commits += 1);
  const queue = new WriteQueue({ clock, commit, committed, encode, maxPending });
  const add = (reason: string, bytes = 100): Outcome => {
    const outcome: Outcome = {};
    const item = encodeEvent({ type: 'serviceStopped', timeMs: 0, data: { messageId: 2, reason } });
    queue.add({
      item,
      bytes,
      written: (seq) => (outcome.seq = seq),
      failed: (error) => (outcome.error = error),
    });
    return outcome;
  };
  return { clock, queue, add, log, batches, attemptsAtMs, release: () => release(), commits: () => commits };
}

test('what comes while a commit is under way goes out together in the next', async () => {
  const { clock, add, batches, release } = makeQueue(100, () => (batches.length === 0 ? 'hangs' : 'written'));
  add('a');
  await clock.settle();
  for (const reason of 'bcdef') add(reason);
  await clock.settle();
  expect(batches).toEqual([]);
  release();
  await clock.settle();
  await clock.settle();
  expect(batches).toEqual([1, 5]);
});

test('a failed write is tried again after 100 ms, then ever later, at most every 5 s', async () => {
  const { clock, queue, add, attemptsAtMs } = makeQueue(100, () => 'failed');
  add('a');
  await clock.advanceAsync(30_000);
  const pauses = attemptsAtMs.slice(1).map((at, index) => at - (attemptsAtMs[index] ?? 0));
  expect(pauses.slice(0, 9)).toEqual([100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]);
  expect(queue.error).toContain('disk full');
  expect(queue.pending).toBe(1);
});

test('a loss is told where it happened, also when something smaller still finds room', async () => {
  const script: 'failed'[] = ['failed'];
  const { clock, queue, add, log } = makeQueue(100, () => script.shift() ?? 'written');
  add('first');
  const dropped = add('too large', 200 * 1024 * 1024);
  add('second');
  expect(dropped.error?.code).toBe('VMPULSE_E_LOG_UNAVAILABLE');
  await clock.advanceAsync(1_000);
  expect(log).toEqual(['first', 'More events came than could be written.', 'second']);
  expect(queue.lost).toBe(1);
});

test('a disk that does not answer is told after 10 s, and forgotten when it does', async () => {
  const { clock, queue, add, release } = makeQueue(100, () => 'hangs');
  const outcome = add('a');
  await clock.advanceAsync(9_999);
  expect(queue.error).toBeNull();
  await clock.advanceAsync(1);
  expect(queue.error).toContain('10 s');
  release();
  await clock.settle();
  expect(queue.error).toBeNull();
  expect(outcome.seq).toBe(1);
});

test('close waits for what is pending until its deadline, then says that it was not recorded', async () => {
  const { clock, queue, add, attemptsAtMs } = makeQueue(100, () => 'failed');
  const outcome = add('a');
  await clock.advanceAsync(10);
  const before = attemptsAtMs.length;
  const closing = queue.close(2_000);
  await clock.settle();
  expect(attemptsAtMs.length).toBe(before + 1);
  expect(outcome.error).toBeUndefined();
  await clock.advanceAsync(2_000);
  await closing;
  expect(outcome.error?.code).toBe('VMPULSE_E_LOG_UNAVAILABLE');
  expect(add('b').error?.code).toBe('VMPULSE_E_LOG_UNAVAILABLE');
  await clock.advanceAsync(20_000);
  expect(clock.pendingTimers).toBe(0);
});

test('whatever fails, each accepted event is written once, in order, and every dropped one is told', async () => {
  const outcomes = fc.constantFrom('written', 'failed', 'gone, written', 'gone, not written');
  const step = fc.oneof(
    fc.record({ add: fc.integer({ min: 1, max: 8 }) }),
    fc.record({ passMs: fc.integer({ min: 0, max: 700 }) }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(outcomes, { maxLength: 30 }),
      fc.array(step, { maxLength: 40 }),
      async (script, steps) => {
        const { clock, queue, add, log } = makeQueue(12, () => script.shift() ?? 'written');
        const all: [string, Outcome][] = [];
        for (const action of steps) {
          if ('passMs' in action) await clock.advanceAsync(action.passMs);
          else
            for (let n = 0; n < action.add; n += 1)
              all.push([`event ${all.length}`, add(`event ${all.length}`)]);
          expect(queue.pending).toBeLessThanOrEqual(13);
        }
        await clock.advanceAsync(200_000);
        expect(queue.pending).toBe(0);
        const accepted = all.filter(([, { error }]) => error === undefined);
        for (const [reason, { seq }] of accepted) expect(log[(seq ?? 0) - 1]).toBe(reason);
        const events = log.filter((reason) => reason.startsWith('event '));
        expect(events).toEqual(accepted.map(([reason]) => reason));
        expect(queue.lost).toBe(all.length - accepted.length);
        expect(log.length > events.length).toBe(queue.lost > 0);
      },
    ),
    { numRuns: 150 },
  );
});
