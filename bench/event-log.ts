/**
 * How fast the event log is: `npm run build`, then `node bench/event-log.ts [--json] [--rounds N] [directory]`.
 * Events are those of a mass stop (evidence of the usual length, 1,000 machines). Each figure is the median of its
 * rounds; p99 and max are medians of each round's. Besides: what fsync alone costs on this disk, and
 * how long the longest append took while the write-ahead log was being copied into the database.
 */
import { closeSync, fsyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '../packages/server/dist/clock.js';
import { openStream } from '../packages/server/dist/event/outbox.js';
import { SqliteStore } from '../packages/server/dist/store/sqlite-store.js';
import { stoppedDraft } from '../test/support/machines.ts';

interface Figures {
  perSecond: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
}

const args = process.argv.slice(2);
const asJson = args.includes('--json');
const roundsAt = args.indexOf('--rounds');
const rounds = roundsAt === -1 ? 5 : Number(args[roundsAt + 1]);
const place = args.find((arg, index) => !arg.startsWith('--') && index !== roundsAt + 1) ?? tmpdir();

const sorted = (values: readonly number[]): number[] => values.toSorted((a, b) => a - b);
const median = (values: readonly number[]): number => sorted(values)[Math.floor(values.length / 2)] ?? 0;
const quantile = (values: readonly number[], q: number): number =>
  sorted(values)[Math.min(values.length - 1, Math.floor(values.length * q))] ?? 0;

function summarize(latencies: readonly number[], tookMs: number): Figures {
  return {
    perSecond: (latencies.length / tookMs) * 1_000,
    p50Ms: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
    maxMs: quantile(latencies, 1),
  };
}

function medians(all: readonly Figures[]): Figures {
  const of = (key: keyof Figures): number => median(all.map((figures) => figures[key]));
  return { perSecond: of('perSecond'), p50Ms: of('p50Ms'), p99Ms: of('p99Ms'), maxMs: of('maxMs') };
}

/** Each of `lanes` appends one event after the other until `total` are written. */
async function append(store: SqliteStore, lanes: number, total: number): Promise<Figures> {
  const latencies: number[] = [];
  let sent = 0;
  const lane = async (): Promise<void> => {
    while (sent < total) {
      sent += 1;
      const draft = stoppedDraft((sent * 7) % 1_000, Date.now());
      const startMs = performance.now();
      await store.append(draft);
      latencies.push(performance.now() - startMs);
    }
  };
  const startMs = performance.now();
  await Promise.all(Array.from({ length: lanes }, lane));
  return summarize(latencies, performance.now() - startMs);
}

/** 20 KB written and synced, as a commit of one event does. */
function fsyncAlone(directory: string, times: number): Figures {
  const file = openSync(join(directory, 'fsync'), 'w');
  const block = Buffer.alloc(5 * 4_096, 1);
  const latencies: number[] = [];
  const startMs = performance.now();
  for (let n = 0; n < times; n += 1) {
    const beganMs = performance.now();
    writeSync(file, block, 0, block.length, n * block.length);
    fsyncSync(file);
    latencies.push(performance.now() - beganMs);
  }
  closeSync(file);
  return summarize(latencies, performance.now() - startMs);
}

/** The longest time the main thread was kept from running while `work` ran. */
async function longestStallMs(work: () => Promise<void>): Promise<number> {
  let longest = 0;
  let lastMs = performance.now();
  const timer = setInterval(() => {
    longest = Math.max(longest, performance.now() - lastMs - 1);
    lastMs = performance.now();
  }, 1);
  await work();
  clearInterval(timer);
  return longest;
}

/** One event at 100 live streams. */
async function fanOut(store: SqliteStore): Promise<number> {
  const streams = Array.from({ length: 100 }, () => openStream(store, { after: store.state().lastSeq }));
  const waiting = streams.map((stream) => stream.next());
  const startMs = performance.now();
  await store.append(stoppedDraft(1, Date.now()));
  await Promise.all(waiting);
  for (const stream of streams) stream.close();
  return performance.now() - startMs;
}

async function measure(): Promise<Record<string, Figures>> {
  const results: Record<string, Figures[]> = {};
  const note = (name: string, figures: Figures): void => void (results[name] ??= []).push(figures);
  for (let round = 0; round < rounds; round += 1) {
    const directory = mkdtempSync(join(place, 'vmpulse-bench-'));
    const store = await SqliteStore.open(directory, { clock: new SystemClock() });
    note('fsync of 20 KB alone', fsyncAlone(directory, 300));
    await append(store, 10, 200);
    for (const lanes of [1, 10, 100, 1_000]) {
      note(`append, ${lanes} at once`, await append(store, lanes, Math.min(lanes * 300, 30_000)));
    }
    const fans: number[] = [];
    for (let n = 0; n < 100; n += 1) fans.push(await fanOut(store));
    note(
      'append to the last of 100 streams',
      summarize(
        fans,
        fans.reduce((sum, ms) => sum + ms, 0),
      ),
    );
    // Enough for several copies of the write-ahead log: its stalls show in p99 and max.
    let steady: Figures | undefined;
    const stallMs = await longestStallMs(async () => {
      steady = await append(store, 20, 15_000);
    });
    if (steady !== undefined) note('append, 20 at once, over checkpoints', steady);
    note('main thread stalled meanwhile', { perSecond: 0, p50Ms: 0, p99Ms: 0, maxMs: stallMs });
    const reading: number[] = [];
    const startMs = performance.now();
    for (let after = 0; after < 20_000; after += 1_000) {
      const beganMs = performance.now();
      await store.read({ after, limit: 1_000 });
      reading.push(performance.now() - beganMs);
    }
    note('backfill, page of 1,000', summarize(reading, (performance.now() - startMs) / 1_000));
    await store.close();
    rmSync(directory, { recursive: true });
  }
  return Object.fromEntries(Object.entries(results).map(([name, all]) => [name, medians(all)]));
}

const results = await measure();
if (asJson) {
  console.log(JSON.stringify({ node: process.version, rounds, directory: place, results }, null, 2));
} else {
  const cell = (value: number, digits: number): string =>
    (value === 0 ? '-' : value.toFixed(digits)).padStart(10);
  console.log(
    `median of ${rounds} rounds`.padEnd(40),
    ['1/s', 'p50 ms', 'p99 ms', 'max ms'].map((title) => title.padStart(10)).join(''),
  );
  for (const [name, { perSecond, p50Ms, p99Ms, maxMs }] of Object.entries(results)) {
    console.log(name.padEnd(40), cell(perSecond, 0) + cell(p50Ms, 3) + cell(p99Ms, 3) + cell(maxMs, 3));
  }
}
