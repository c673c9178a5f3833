/**
 * What it costs to watch a million guests, and how soon the stopped ones among them are found. It drives the monitor's
 * own registry, lane (loop, wheel, watermark) and visiting rule in real time; sockets and witnesses are not part of it.
 * Build first, then run by itself: `node bench/monitor.ts [guests] [seconds]`.
 */
import { SystemClock } from '../packages/server/dist/clock.js';
import { deadlineMs, nextLookMs, overdue } from '../packages/server/dist/monitor/deadline.js';
import { Lane } from '../packages/server/dist/monitor/lane.js';
import { Registry } from '../packages/server/dist/monitor/registry.js';

const guests = Number(process.argv[2] ?? 1_000_000);
const seconds = Number(process.argv[3] ?? 20);
const intervalMs = 6_000;
const rounds = 5;
const sliceMs = 10;
/** Ticks each guest has behind it when the measurement begins: its margin is that of a warm guest. */
const warmUpTicks = 25;
const stopped = 1_000;

/** Begins late enough for the guests to have a past. */
class BenchClock extends SystemClock {
  override monotonicMs(): number {
    return super.monotonicMs() + 1_000_000;
  }
}

const clock = new BenchClock();
const registry = new Registry(guests);
const silent = new Uint8Array(guests);
const overshootsMs: number[] = [];
let visits = 0;
let stalls = 0;

function deadlineOf(slot: number): number {
  return deadlineMs(registry.lastMs(slot), registry.intervalMs(slot), registry.marginMs(slot));
}

const lane = new Lane({
  clock,
  registry,
  visit: (slot, upToMs) => {
    visits += 1;
    const margin = registry.marginMs(slot);
    const againMs = nextLookMs(registry.lastMs(slot), registry.intervalMs(slot), margin, upToMs);
    if (againMs === overdue) overshootsMs.push(clock.monotonicMs() - deadlineOf(slot));
    return againMs;
  },
  stalled: (stall) => {
    stalls += 1;
    registry.forgiveAll(stall, () => undefined);
  },
  drained: () => undefined,
});

/** Guests in the order of their ticks, which has nothing to do with that of their slots, as in life. */
const order = new Int32Array(guests);
for (let index = 0; index < guests; index += 1) order[index] = index;
for (let index = guests - 1; index > 0; index -= 1) {
  const other = Math.floor(Math.random() * (index + 1));
  const swapped = order[index] as number;
  order[index] = order[other] as number;
  order[other] = swapped;
}

const ticksPerMs = guests / intervalMs;
/** Ticks generated, counted from the beginning of time. */
let done = Math.floor(clock.monotonicMs() * ticksPerMs);

/** Ticks as they come due, in slices; `tick` null measures the generator alone. Resolves with ticks and their cost. */
async function generate(
  tick: ((slot: number) => void) | null,
  lengthMs: number,
): Promise<{ ticks: number; ns: number }> {
  const startMs = clock.monotonicMs();
  let [ticks, ns] = [0, 0];
  for (let nowMs = startMs; nowMs - startMs < lengthMs; nowMs = clock.monotonicMs()) {
    const due = Math.floor(nowMs * ticksPerMs);
    const beganMs = performance.now();
    for (; done < due; done += 1) {
      const slot = order[done % guests] as number;
      if (silent[slot] === 1) continue;
      tick?.(slot);
      ticks += 1;
    }
    ns += (performance.now() - beganMs) * 1e6;
    await clock.sleep(sliceMs);
  }
  return { ticks, ns };
}

const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
};
const at = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
const median = (values: readonly number[]): number =>
  at(
    [...values].toSorted((a, b) => a - b),
    0.5,
  );
const say = (name: string, value: number, unit: string): void => {
  process.stdout.write(`${name.padEnd(52)} ${value.toFixed(2).padStart(12)} ${unit}\n`);
};

interface RoundResult {
  readonly share: number;
  readonly nsPerTick: number;
}

async function measure(
  tick: ((slot: number) => void) | null,
): Promise<{ cpuShare: number; nsPerTick: number }> {
  const results: RoundResult[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const [cpuBefore, wallBefore] = [cpuMs(), clock.monotonicMs()];
    const { ticks, ns } = await generate(tick, (seconds * 1_000) / rounds);
    const share = (cpuMs() - cpuBefore) / (clock.monotonicMs() - wallBefore);
    results.push({ share, nsPerTick: ns / ticks });
  }
  return {
    cpuShare: median(results.map(({ share }) => share)),
    nsPerTick: median(results.map(({ nsPerTick }) => nsPerTick)),
  };
}

const idleRss = process.memoryUsage.rss();
const generator = await measure(null);

// Every guest's past, and its place in the wheel. What comes due meanwhile is made up for.
const beganMs = clock.monotonicMs();
done = Math.floor(beganMs * ticksPerMs);
for (let place = 0; place < guests; place += 1) {
  const slot = order[place] as number;
  registry.allocate();
  // Its next tick is due when the generator comes to its place.
  const sinceMs = (beganMs - (place * intervalMs) / guests) % intervalMs;
  registry.expectLoop(Number.POSITIVE_INFINITY);
  registry.begin(slot, intervalMs, beganMs - sinceMs - warmUpTicks * intervalMs);
  for (let tick = warmUpTicks - 1; tick >= 0; tick -= 1)
    registry.tick(slot, beganMs - sinceMs - tick * intervalMs);
}
for (let slot = 0; slot < guests; slot += 1)
  lane.schedule(slot, deadlineOf(slot) - registry.marginMs(slot) / 2);
const tick = (slot: number): void => {
  registry.tick(slot, clock.monotonicMs());
};
await generate(tick, 2 * intervalMs);
const [falseAlarms, stallsBefore] = [overshootsMs.length, stalls];
visits = 0;
const watched = await measure(tick);
const visitsPerSecond = visits / seconds;
const rss = process.memoryUsage.rss();

// A thousand of them stop, anywhere; the last of them is suspicious an interval and a margin later.
const chosen = new Set<number>();
while (chosen.size < Math.min(stopped, guests)) chosen.add(Math.floor(Math.random() * guests));
overshootsMs.length = 0;
for (const slot of chosen) silent[slot] = 1;
await generate(tick, intervalMs + 2_000);
lane.close();
const overshoots = overshootsMs.toSorted((a, b) => a - b);

process.stdout.write(
  `${guests} guests at ${intervalMs} ms, ${rounds} rounds of ${seconds / rounds} s, medians\n`,
);
say('processor, all of it', watched.cpuShare * 100, '% of a core');
say('  of which the generator of ticks alone', generator.cpuShare * 100, '% of a core');
say('  so that watching costs', (watched.cpuShare - generator.cpuShare) * 100, '% of a core');
say('a tick, generator and clock reading included', watched.nsPerTick, 'ns');
say('  of which the generator', generator.nsPerTick, 'ns');
say('visits', visitsPerSecond, '/s');
say('resident set', rss / 2 ** 20, 'MiB');
const memory = process.memoryUsage();
say('  of which typed arrays', memory.arrayBuffers / 2 ** 20, 'MiB');
say('  of which heap, garbage included', memory.heapTotal / 2 ** 20, 'MiB');
say('  of which before any guest (with the generator)', idleRss / 2 ** 20, 'MiB');
say(`found of ${chosen.size} that stopped`, overshoots.length, 'guests');
say('overshoot past the deadline, p50', at(overshoots, 0.5), 'ms');
say('overshoot past the deadline, p99', at(overshoots, 0.99), 'ms');
say('overshoot past the deadline, max', overshoots.at(-1) ?? Number.NaN, 'ms');
say('guests suspected that ticked', falseAlarms + Math.max(0, overshoots.length - chosen.size), 'guests');
say('stalls of this process noticed while measuring', stalls - stallsBefore, '');
