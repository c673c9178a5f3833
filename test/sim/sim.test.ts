import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { mutations } from './mutations.ts';
import { checkMutation } from './mutants.ts';
import { runSeed, whatFailed } from './run.ts';

/** The same for every run, so that a change is what makes it fail; new ones are played by `npm run sim`. */
const seeds = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

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

test.each(seeds)('seed %i breaks no promise', { timeout: 120_000 }, async (seed) => {
  expect(whatFailed(await runSeed(seed))).toEqual([]);
});
