import { expect, test } from 'vitest';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { Checkpointer } from './checkpointer.ts';
import type { WalState } from './protocol.ts';

function make(passive: () => WalState) {
  const clock = new SimulatedClock();
  const calls: string[] = [];
  const checkpointer = new Checkpointer({
    clock,
    passive: () => {
      calls.push('passive');
      return Promise.resolve().then(passive);
    },
    restart: () => {
      calls.push('restart');
      return Promise.resolve({ frames: 0, checkpointed: 0 });
    },
  });
  return { clock, calls, checkpointer };
}

test('a short log is copied only when nothing has come for a second', async () => {
  const { clock, calls, checkpointer } = make(() => ({ frames: 10, checkpointed: 10 }));
  checkpointer.note({ frames: 5, checkpointed: 0 });
  checkpointer.note({ frames: 10, checkpointed: 0 });
  await clock.advanceAsync(999);
  expect(calls).toEqual([]);
  await clock.advanceAsync(1);
  expect(calls).toEqual(['passive']);
  checkpointer.note({ frames: 10, checkpointed: 10 });
  await clock.advanceAsync(5_000);
  expect(calls).toEqual(['passive']);
  expect(clock.pendingTimers).toBe(0);
});

test('a long log is copied at once; a very long one is begun anew when little is left to copy', async () => {
  const rests = [900, 150];
  const { clock, calls, checkpointer } = make(() => ({
    frames: 5_000,
    checkpointed: 5_000 - (rests.shift() ?? 0),
  }));
  checkpointer.note({ frames: 4_500, checkpointed: 3_000 });
  await clock.settle();
  expect(calls).toEqual(['passive', 'passive', 'restart']);
});

test('under a load that copying cannot keep up with the log is begun anew all the same', async () => {
  const { clock, calls, checkpointer } = make(() => ({ frames: 9_000, checkpointed: 0 }));
  checkpointer.note({ frames: 9_000, checkpointed: 0 });
  await clock.settle();
  expect(calls).toEqual(['passive', 'passive', 'passive', 'passive', 'restart']);
});

test('copying that fails is tried again after a while, not at every commit', async () => {
  const { clock, calls, checkpointer } = make(() => {
    throw new Error('disk full');
  });
  for (let commit = 0; commit < 100; commit += 1) {
    checkpointer.note({ frames: 2_000 + commit, checkpointed: 0 });
    await clock.advanceAsync(1);
  }
  expect(calls.length).toBeLessThanOrEqual(2);
  await clock.advanceAsync(3_000);
  expect(calls.length).toBeGreaterThan(1);
  expect(calls.length).toBeLessThan(7);
  await checkpointer.close();
  expect(clock.pendingTimers).toBe(0);
});
