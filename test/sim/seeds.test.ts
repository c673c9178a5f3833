import { expect, test } from 'vitest';
import { failuresOf } from './failures.ts';
import { runSeed } from './run.ts';

/** One half of the seeds that sim.test.ts says the meaning of: two workers share them. */
test.each([1, 2, 3, 5, 6, 7])('seed %i breaks no promise', async (seed) => {
  expect(failuresOf(await runSeed(seed))).toEqual([]);
});
