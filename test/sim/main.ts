/**
 * `npm run sim -- [--checks 1e9] [--seed N] [--jobs 2]`   runs seeds from N on until so many checks were made
 * `npm run sim -- --hard [...]`                           the same in hard times, where every guest is recovered
 * `npm run sim -- --replay SEED [--guest NAME] [--hard]`  one seed again, with the timeline of who failed
 * `npm run sim -- --mutants`                              plants each known bug in a copy, and shows that it is seen
 *
 * A check is one look of the monitor at one guest (a visit of its wheel) or one round of witnesses that it judged.
 * Ticks are not counted. The same seed is the same run, to the event.
 */
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { runMutants } from './mutants.ts';
import { replay } from './replay.ts';
import { type SeedReport, Tally } from './tally.ts';

const progressMs = 10_000;

interface Options {
  readonly checks: number;
  readonly seed: number;
  readonly jobs: number;
  /** In hard times. */
  readonly hard: boolean;
}

/** Runs seeds, one after the other in each worker, until enough checks were made. True when nothing failed. */
async function runLong({ checks, seed, jobs, hard }: Options): Promise<boolean> {
  const tally = new Tally(jobs, hard);
  let next = seed;
  console.log(`seeds from ${seed} on, ${checks.toExponential()} checks, ${jobs} jobs`);
  const progress = setInterval(() => console.log(tally.progress()), progressMs);
  const work = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const worker = new Worker(new URL('./worker.ts', import.meta.url), { workerData: { hard } });
      const give = (): void => {
        // oxlint-disable-next-line unicorn/require-post-message-target-origin -- threads have no origin
        worker.postMessage(tally.checks < checks ? next : null);
        next += 1;
      };
      worker.on('message', (report: SeedReport) => {
        for (const line of tally.add(report)) console.log(line);
        give();
      });
      worker.on('error', reject);
      worker.on('exit', () => resolve());
      give();
    });
  try {
    await Promise.all(Array.from({ length: jobs }, work));
  } finally {
    clearInterval(progress);
  }
  console.log(tally.table());
  console.log(tally.summary(seed));
  return tally.failures === 0;
}

const { values } = parseArgs({
  options: {
    checks: { type: 'string', default: '1e8' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
    jobs: { type: 'string', default: String(Math.min(2, availableParallelism())) },
    replay: { type: 'string' },
    guest: { type: 'string' },
    hard: { type: 'boolean', default: false },
    mutants: { type: 'boolean', default: false },
    only: { type: 'string' },
  },
});
const root = fileURLToPath(new URL('../..', import.meta.url));
let passed: boolean;
if (values.replay !== undefined) passed = await replay(Number(values.replay), values.guest, values.hard);
else if (values.mutants) passed = await runMutants(root, Number(values.jobs), values.only);
else {
  passed = await runLong({
    checks: Number(values.checks),
    seed: Number(values.seed),
    jobs: Number(values.jobs),
    hard: values.hard,
  });
}
process.exitCode = passed ? 0 : 1;
