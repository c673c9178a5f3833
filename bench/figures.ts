/** What benchmarks have in common: quantiles, and figures in lines that can be read and copied. */
import { readFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';

/** Nearest-rank quantile; NaN of nothing. */
export function quantile(values: readonly number[] | Float64Array, share: number): number {
  const sorted = Float64Array.from(values).toSorted();
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

/** p50, p99 and max of a distribution, in one line. */
export function distribution(values: readonly number[] | Float64Array, digits = 1): string {
  const [p50, p99, max] = [0.5, 0.99, 1].map((share) => quantile(values, share).toFixed(digits));
  return `p50 ${p50}, p99 ${p99}, max ${max}`;
}

/** One figure on one line. */
export function say(name: string, value: number | string, unit = ''): void {
  const shown = typeof value === 'number' ? value.toFixed(Math.abs(value) < 10 ? 2 : 0) : value;
  process.stdout.write(`${name.padEnd(62)} ${shown.padStart(14)} ${unit}\n`);
}

/** Processor time of the whole machine, and of that what its hypervisor gave to others, in ticks. */
function stolenTicks(): { all: number; stolen: number } {
  const [first] = readFileSync('/proc/stat', 'ascii').split('\n');
  const ticks = (first ?? '').split(/\s+/u).slice(1, 9).map(Number);
  return { all: ticks.reduce((sum, each) => sum + each, 0), stolen: ticks[7] ?? 0 };
}

let before = stolenTicks();

/**
 * Where and when this was measured, the load, and what part of the processors was stolen since the last call: figures
 * of a run in which much was stolen say little.
 */
export function sayWhere(): void {
  const load = loadavg().map((average) => average.toFixed(2));
  const now = stolenTicks();
  const share = ((100 * (now.stolen - before.stolen)) / Math.max(1, now.all - before.all)).toFixed(0);
  before = now;
  const processor = `${cpus().length} x ${cpus()[0]?.model.trim() ?? 'unknown'}`;
  process.stdout.write(
    `${new Date().toISOString()}, Node ${process.version}, ${processor}, load ${load.join(' ')}, stolen ${share} %\n`,
  );
}

/** Processor time of this process so far, user and system, microseconds. */
export function ownCpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}
