/** A thread that runs the seeds it is given; `null` ends it. */
import { parentPort, workerData } from 'node:worker_threads';
import { hardTimes } from './hard-times.ts';
import { runSeed } from './run.ts';
import type { SeedReport } from './tally.ts';

const port = parentPort;
if (port === null) throw new Error('This module runs in a thread of its own.');

const { hard } = workerData as { readonly hard: boolean };

async function run(seed: number): Promise<SeedReport> {
  const before = process.threadCpuUsage();
  const { faults, ...result } = await runSeed(seed, hard ? { trial: hardTimes(seed) } : {});
  // Processor time, so that the rate is that of a core whoever else uses the machine.
  const { user, system } = process.threadCpuUsage(before);
  return { ...result, faults: [...faults], tookMs: (user + system) / 1_000 };
}

port.on('message', (seed: number | null) => {
  if (seed === null) {
    port.close();
    return;
  }
  void run(seed).then((report) => port.postMessage(report));
});
