/** Adds up what many runs came to, and says it. */
import type { RunResult } from './run.ts';

/** What a thread tells of one seed. */
export interface SeedReport extends Omit<RunResult, 'faults'> {
  readonly faults: readonly (readonly [kind: string, count: number])[];
  readonly tookMs: number;
}

/** Failures of one seed that are printed; its replay shows all. */
const shownFailures = 3;

const count = new Intl.NumberFormat('en-US');

/** All runs so far. */
export class Tally {
  checks = 0;
  failures = 0;
  private readonly jobs: number;
  private readonly hard: boolean;
  private readonly faults = new Map<string, number>();
  private readonly sinceMs = performance.now();
  private readonly failed: number[] = [];
  private visits = 0;
  private rounds = 0;
  private events = 0;
  private runs = 0;
  private busyMs = 0;
  private simulatedMs = 0;

  constructor(jobs: number, hard: boolean) {
    this.jobs = jobs;
    this.hard = hard;
  }

  /** Adds one; answers lines to print. */
  add(report: SeedReport): string[] {
    const { seed, failures } = report;
    this.checks += report.checks;
    this.visits += report.visits;
    this.rounds += report.rounds;
    this.events += report.events;
    this.runs += 1;
    this.busyMs += report.tookMs;
    this.simulatedMs += report.simulatedMs;
    for (const [kind, times] of report.faults) this.faults.set(kind, (this.faults.get(kind) ?? 0) + times);
    if (failures.length === 0) return [];
    this.failures += failures.length;
    this.failed.push(seed);
    const shown = failures
      .slice(0, shownFailures)
      .map(({ rule, guest, text }) => `  ${rule} ${guest}: ${text}`);
    return [
      `FAILED seed ${seed} (${failures.length}): npm run sim -- --replay ${seed}${this.hard ? ' --hard' : ''}`,
      ...shown,
    ];
  }

  /** One line on the way. */
  progress(): string {
    const { failures, runs } = this;
    return `${count.format(this.checks)} checks, ${runs} runs, ${this.rate()}, ${failures} failures`;
  }

  /** Faults by kind. */
  table(): string {
    const rows = [...this.faults].toSorted(([a], [b]) => (a < b ? -1 : 1));
    return rows.map(([kind, times]) => `${count.format(times).padStart(12)}  ${kind}`).join('\n');
  }

  /** The last line. */
  summary(firstSeed: number): string {
    const faults = [...this.faults.values()].reduce((sum, times) => sum + times, 0);
    const seeds = `seeds ${firstSeed} to ${firstSeed + this.runs - 1}`;
    const looks = `${count.format(this.visits)} looks, ${count.format(this.rounds)} rounds of witnesses`;
    const minutes = ((performance.now() - this.sinceMs) / 60_000).toFixed(1);
    const hours = (this.simulatedMs / 3_600_000).toFixed(1);
    return (
      `${count.format(this.checks)} checks (${looks}), ${count.format(faults)} faults of ${this.faults.size} kinds, ` +
      `${count.format(this.events)} events, ${this.runs} runs (${seeds}; ${hours} h simulated) in ${minutes} min, ` +
      `${this.rate()}, ${this.failures} failures in ${this.failed.length} seeds`
    );
  }

  private rate(): string {
    const perCore = this.busyMs === 0 ? 0 : this.checks / (this.busyMs / 1_000);
    return `${count.format(Math.round(perCore))} checks/s a core (${this.jobs} jobs)`;
  }
}
