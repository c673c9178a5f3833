/**
 * Delivery under kill -9: `npm run build`, then `node bench/kill-rounds.ts [ROUNDS] [SEED]` (1,000). A process of its
 * own has the real store, a durable subscription and a webhook on it, and appends while both are taken; it is killed
 * at a random moment, one time in ten while it still starts, and started again on the same directory. Here is kept
 * what was said to be durable and what each consumer was given before it acknowledged. At the end: what was lost, what
 * was given out of order, and how much twice.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { SystemClock } from '../packages/server/dist/clock.js';
import { Subscriptions } from '../packages/server/dist/delivery/subscriptions.js';
import { Webhooks } from '../packages/server/dist/delivery/webhooks.js';
import { SqliteStore } from '../packages/server/dist/store/sqlite-store.js';
import { Endpoint } from '../test/support/endpoint.ts';
import { stoppedDraft } from '../test/support/machines.ts';
import { quantile, say, sayWhere } from './figures.ts';

const here = fileURLToPath(import.meta.url);

/** A pipe takes a line whole or not at all, and not at all while its reader is behind. */
function tell(line: string): void {
  for (;;) {
    try {
      writeSync(1, `${line}\n`);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
  }
}

/** The process that is killed. With `appends` false it only delivers what is left, and ends in order. */
async function deliver(directory: string, url: string, appends: boolean): Promise<void> {
  const clock = new SystemClock();
  const store = await SqliteStore.open(directory, { clock });
  const warn = (message: string, error: unknown): void => console.error(message, error);
  const subscriptions = new Subscriptions({ clock, log: store, store, warn });
  await subscriptions.load();
  const webhooks = await Webhooks.open({ clock, log: store, store, version: '1', warn });
  webhooks.start();
  if (subscriptions.counts().length === 0) await subscriptions.put('pager', { from: 1 });
  if (webhooks.list().length === 0) await webhooks.create({ name: 'pager', url });
  const pager = subscriptions.find('pager');
  let lease = '';
  pager.connect({
    served: (served) => {
      lease = served.lease;
    },
    deliver: ({ seq }) => {
      tell(`taken ${seq}`);
      // As over a network: what was taken is acknowledged later.
      setTimeout(
        () => void pager.acknowledge({ seq, lease }).catch((error) => warn('not acknowledged', error)),
        1,
      );
    },
    rewind: () => undefined,
    lostPlace: () => undefined,
    end: () => undefined,
  });
  tell('open 0');
  if (appends) {
    for (let n = 0; ; n += 1) {
      const { seq } = await store.append(stoppedDraft(n % 1_000, Date.now()));
      tell(`durable ${seq}`);
      await delay(1);
    }
  }
  while (pager.lag > 0 || webhooks.get('pager').lag > 0) await delay(5);
  tell(`durable ${store.state().lastSeq}`);
  await webhooks.close();
  await subscriptions.close();
  await store.close();
  process.exit(0);
}

/** Of one consumer, over all rounds. */
class Taken {
  all = 0;
  disordered = 0;
  /** Highest ever taken: all up to it were, if nothing was lost. */
  #highest = 0;
  readonly #seen = new Set<number>();

  /** What one life of the process gave, in the order it came. */
  round(seqs: readonly number[]): void {
    let before = 0;
    for (const seq of seqs) {
      // It rises in each life, and what is new follows what was new before without a gap.
      if (seq <= before || seq > this.#highest + 1) this.disordered += 1;
      before = seq;
      this.#highest = Math.max(this.#highest, seq);
      this.#seen.add(seq);
      this.all += 1;
    }
  }

  report(name: string, lastSeq: number): void {
    let lost = 0;
    for (let seq = 1; seq <= lastSeq; seq += 1) if (!this.#seen.has(seq)) lost += 1;
    say(`${name}: lost`, String(lost));
    say(`${name}: out of order`, String(this.disordered));
    say(`${name}: delivered in all`, String(this.all));
    const twice = this.all - this.#seen.size;
    say(`${name}: of which again`, `${twice} (${((100 * twice) / this.all).toFixed(2)} %)`);
  }
}

/** mulberry32: the same moments for the same seed, as far as the machine lets them be. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = Math.trunc(state + 0x6d2b79f5);
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

class Lives {
  readonly subscription = new Taken();
  readonly webhook = new Taken();
  durable = 0;
  /** How long the last start took until it delivered, ms. */
  startMs = 200;
  readonly #directory: string;
  readonly #endpoint: Endpoint;

  constructor(directory: string, endpoint: Endpoint) {
    this.#directory = directory;
    this.#endpoint = endpoint;
  }

  /** One life: killed `killAfterMs` after its start or, where that is null, ended by itself. */
  async live(moment: { readonly of: 'start' | 'open'; readonly afterMs: number } | null): Promise<void> {
    const mode = moment === null ? 'drain' : 'append';
    const beganMs = performance.now();
    const child = spawn(process.execPath, [here, mode, this.#directory, this.#endpoint.url], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(child, 'close');
    let text = '';
    const opened = new Promise<void>((resolve) => {
      child.stdout.on('data', (chunk: Buffer) => {
        text += chunk.toString();
        if (text.startsWith('open')) resolve();
      });
    });
    if (moment?.of === 'open') {
      await Promise.race([opened, ended]);
      this.startMs = performance.now() - beganMs;
    }
    if (moment !== null) await this.#kill(child, moment.afterMs);
    await ended;
    if (moment === null && child.exitCode !== 0)
      throw new Error(`the last life ended with ${child.exitCode}`);
    if (moment?.of === 'open' && child.signalCode !== 'SIGKILL')
      throw new Error('it ended before it was killed');
    // What was cut off in its middle was not told.
    const whole = text.slice(0, text.lastIndexOf('\n') + 1);
    this.subscription.round([...whole.matchAll(/^taken (\d+)$/gmu)].map(([, seq]) => Number(seq)));
    for (const [, seq] of whole.matchAll(/^durable (\d+)$/gmu))
      this.durable = Math.max(this.durable, Number(seq));
    this.webhook.round(this.#endpoint.received.splice(0).map(({ seq }) => seq ?? 0));
  }

  async #kill(child: ChildProcess, afterMs: number): Promise<void> {
    await delay(afterMs);
    child.kill('SIGKILL');
    await once(child, 'exit');
    // What the endpoint was sent before is read before it is counted.
    await delay(5);
  }
}

async function run(rounds: number, seed: number): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'vmpulse-kill-'));
  const endpoint = await Endpoint.start();
  const random = randomOf(seed);
  const lives = new Lives(directory, endpoint);
  const tookMs: number[] = [];
  sayWhere();
  try {
    for (let round = 0; round < rounds; round += 1) {
      const beganMs = performance.now();
      const early = random() < 0.1 && round > 0;
      const afterMs = random() * (early ? lives.startMs : 200);
      await lives.live({ of: early ? 'start' : 'open', afterMs });
      tookMs.push(performance.now() - beganMs);
    }
    await lives.live(null);
  } finally {
    await endpoint.stop();
    rmSync(directory, { recursive: true, force: true });
  }
  say('rounds', String(rounds));
  say('a round, median', quantile(tookMs, 0.5), 'ms');
  say('events said to be durable', lives.durable);
  lives.subscription.report('subscription', lives.durable);
  lives.webhook.report('webhook', lives.durable);
  sayWhere();
}

const [, , mode = '', directory = '', url = ''] = process.argv;
if (mode === 'append' || mode === 'drain') await deliver(directory, url, mode === 'append');
else await run(Number(mode || 1_000), Number(directory || 1));
