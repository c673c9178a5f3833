/**
 * How long a service takes to be ready: `node bench/service-start.ts [machines] [rounds]`. Build first.
 * Wall time from the start of its process to the first 200 of /readyz, and what the service says of itself (from the
 * composition root on, without Node's start and the loading of modules).
 */
import { RealService } from '../test/support/real-service.ts';

const machines = Number(process.argv[2] ?? 1_000);
const rounds = Number(process.argv[3] ?? 5);

function median(values: readonly number[]): string {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[Math.floor(sorted.length / 2)] ?? Number.NaN).toFixed(0);
}

const service = await RealService.start();
try {
  for (let made = 0; made < machines; made += 50) {
    const names = Array.from(
      { length: Math.min(50, machines - made) },
      (_none, index) => `known-${made + index}`,
    );
    await Promise.all(names.map((name) => service.server.createVirtualMachine({ name })));
  }
  const [wall, own]: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round += 1) {
    await service.end(round % 2 === 0 ? 'SIGTERM' : 'SIGKILL');
    service.output = '';
    const beganMs = performance.now();
    await service.run();
    wall.push(performance.now() - beganMs);
    const said = /"startedInMs":(\d+)/u.exec(service.output)?.[1];
    if (said !== undefined) own.push(Number(said));
  }
  console.log(`${machines} machines known, ${rounds} starts, medians: process to ready ${median(wall)} ms, `);
  console.log(`of which the service itself ${median(own)} ms (all: ${own.join(', ')})`);
} finally {
  await service.dispose();
}
process.exit(0);
