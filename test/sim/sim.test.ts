import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { mutations } from './mutations.ts';
import { checkMutation } from './mutants.ts';
import { type RunResult, runSeed } from './run.ts';

/** What the suite may take in all; long runs are `npm run sim`. */
const budgetMs = 75_000;
const fixedSeeds = [1, 2, 3, 5, 8, 13];

function told({ seed, failures }: RunResult): string[] {
  return failures.map(({ rule, guest, text }) => `seed ${seed}: ${rule} ${guest}: ${text}`);
}

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

test(`known seeds and new ones break no promise`, { timeout: 6 * budgetMs }, async () => {
  const began = performance.now();
  const from = Math.floor(Math.random() * 1e9);
  console.log(`new seeds from ${from} on; one line replays one: npm run sim -- --replay SEED`);
  let checks = 0;
  let runs = 0;
  const failures: string[] = [];
  const seeds = function* seeds(): Generator<number> {
    yield* fixedSeeds;
    for (let seed = from; performance.now() - began < budgetMs; seed += 1) yield seed;
  };
  for (const seed of seeds()) {
    const result = await runSeed(seed);
    checks += result.checks;
    runs += 1;
    failures.push(...told(result));
  }
  console.log(`${checks} checks in ${runs} runs`);
  expect(failures).toEqual([]);
});
