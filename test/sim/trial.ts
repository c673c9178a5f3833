/** Runs one trial in the sources it lies in, until a seed fails; prints what came of it as JSON. */
import { runSeed } from './run.ts';
import type { Trial } from './scenario.ts';

const { trial, maxSeeds } = JSON.parse(process.argv[2] ?? '{}') as { trial: Trial; maxSeeds: number };
let checks = 0;
let how = '';
let seeds = 0;
for (let seed = 1; seed <= maxSeeds && how === ''; seed += 1) {
  const result = await runSeed(seed, { trial, stopAtFailure: true });
  checks += result.checks;
  seeds = seed;
  const [first] = result.failures;
  if (first !== undefined) how = `${first.rule}: ${first.text.split('\n')[0] ?? ''}`.slice(0, 130);
}
console.log(JSON.stringify({ caught: how !== '', how, checks, seeds }));
