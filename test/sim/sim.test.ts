import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { failuresOf } from './failures.ts';
import { mutations } from './mutations.ts';
import { checkMutation } from './mutants.ts';
import { runSeed } from './run.ts';
import type { Trial } from './scenario.ts';

/**
 * The same for every run, so that a change is what makes it fail (1 to 7: seeds.test.ts). Other ones, and those of
 * the largest hosts (4, 12, 13), which take long: `npm run sim`.
 */
const seeds = [8, 9, 10, 11, 14, 15, 16];

test('the same seed is the same run, to the event', async () => {
  const timeline = async (): Promise<string[]> => {
    const lines: string[] = [];
    await runSeed(8, { trace: (atMs, guest, text) => lines.push(`${atMs} ${guest} ${text}`) });
    return lines;
  };
  const first = await timeline();
  expect(first.length).toBeGreaterThan(100);
  expect(await timeline()).toEqual(first);
});

test('every planted bug still finds its place in the sources', () => {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  expect(mutations.flatMap((mutation) => checkMutation(root, mutation))).toEqual([]);
});

/** Short hard times in which all guests are recovered, and much goes wrong just then. */
const hardTimes: readonly { readonly service: Trial['service'] }[] = [
  { service: ['kill', 'mass'] },
  { service: ['stop', 'disk'] },
  { service: ['stall', 'kill'] },
  { service: ['kill', 'wall', 'sleep'] },
];

test.each(hardTimes)('recovery breaks no promise under $service', async ({ service }) => {
  const trial = { kinds: null, service, meddleShare: 0.1 };
  const results = [await runSeed(1, { trial }), await runSeed(2, { trial })];
  expect(results.flatMap(failuresOf)).toEqual([]);
  const successes = results.reduce((sum, { recovery }) => sum + recovery.successes, 0);
  expect(successes).toBeGreaterThan(10);
});

test.each(seeds)('seed %i breaks no promise', async (seed) => {
  expect(failuresOf(await runSeed(seed))).toEqual([]);
});
