// In a file of its own, so that two workers share the simulation.
import { expect, test } from 'vitest';
import { runSeed, whatFailed } from './run.ts';
import type { Trial } from './scenario.ts';

/** Short hard times in which all guests are recovered, and much goes wrong just then. */
const hardTimes: readonly { readonly service: Trial['service'] }[] = [
  { service: ['kill', 'mass'] },
  { service: ['stop', 'disk'] },
  { service: ['stall', 'kill'] },
  { service: ['kill', 'wall', 'sleep'] },
];

test.each(hardTimes)(
  'recovery breaks no promise under $service',
  { timeout: 120_000 },
  async ({ service }) => {
    const trial = { kinds: null, service, meddleShare: 0.1 };
    const results = [await runSeed(1, { trial }), await runSeed(2, { trial })];
    expect(results.flatMap(whatFailed)).toEqual([]);
    const successes = results.reduce((sum, { recovery }) => sum + recovery.successes, 0);
    expect(successes).toBeGreaterThan(10);
  },
);

/** See sim.test.ts. */
const seeds = [11, 12, 13, 14, 15, 16];

test.each(seeds)('seed %i breaks no promise', { timeout: 120_000 }, async (seed) => {
  expect(whatFailed(await runSeed(seed))).toEqual([]);
});
