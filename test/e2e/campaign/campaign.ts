/** Many kinds of fault, many rounds of each, on real guests: plays them, some at a time, and cleans up after itself. */
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { releaseAll } from './cgroup.ts';
import { Goldens } from './golden.ts';
import { guestKinds } from './guest-kinds.ts';
import { hostKinds } from './host-kinds.ts';
import type { Result } from './judgement.ts';
import type { FaultKind } from './kind.ts';
import { endProcessesIn, Lane } from './lane.ts';
import { playRound } from './round.ts';
import { stopKinds } from './stop-kinds.ts';
import { Processors, quench } from './strain.ts';

/** Every kind of fault. */
export const allKinds: readonly FaultKind[] = [...stopKinds, ...guestKinds, ...hostKinds];

/** What to play. */
export interface CampaignOptions {
  readonly kinds: readonly FaultKind[];
  readonly rounds: number;
  /** Services side by side. */
  readonly parallel: number;
  /** After so long no round begins any more; those under way are played to their end. */
  readonly lastMs?: number;
  /** Aborted: no round begins any more, those under way are given up. */
  readonly signal?: AbortSignal;
  /** How the guests run: `kvm` or `tcg`. */
  readonly onAccelerator?: (accelerator: string) => void;
  /** Each result as it comes, with how long its round took. */
  readonly onResult?: (result: Result, tookMs: number) => void;
}

/** What it came to. */
export interface CampaignResult {
  readonly results: readonly Result[];
  readonly misnumbered: number;
}

interface Job {
  readonly kind: FaultKind;
  readonly round: number;
}

/** Plays a campaign in a temporary folder. Leaves no process and no file behind. */
export async function runCampaign(options: CampaignOptions): Promise<CampaignResult> {
  const folder = await mkdtemp(join(tmpdir(), 'vmp-'));
  const campaign = new Campaign(options, folder);
  try {
    await campaign.play();
    return { results: campaign.results, misnumbered: campaign.misnumbered };
  } finally {
    await campaign.close();
    await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

class Campaign {
  readonly results: Result[] = [];
  misnumbered = 0;
  readonly #options: CampaignOptions;
  readonly #folder: string;
  readonly #goldens: Goldens;
  readonly #processors = new Processors(cpus().length);
  readonly #jobs: Job[];
  readonly #lanes = new Set<Lane>();
  readonly #beganMs = performance.now();
  #opened = 0;

  constructor(options: CampaignOptions, folder: string) {
    this.#options = options;
    this.#folder = folder;
    this.#goldens = new Goldens(join(folder, 'golden'));
    // A round of every kind before the next of any: a run that is cut off has something of all.
    this.#jobs = Array.from({ length: options.rounds }, (_none, index) =>
      options.kinds.map((kind) => ({ kind, round: index + 1 })),
    ).flat();
  }

  /** Resolves when all is played, or the signal was aborted. */
  async play(): Promise<void> {
    const { signal, parallel } = this.#options;
    const lanes = Math.min(parallel, this.#jobs.length);
    const playing = Promise.all(Array.from({ length: lanes }, () => this.#lane()));
    const aborted = new Promise<void>((resolve) => {
      signal?.addEventListener('abort', () => resolve(), { once: true });
    });
    // What is under way when it is aborted fails when its service is ended; nobody waits for it.
    await Promise.race([playing, aborted]);
    playing.catch(() => undefined);
  }

  async close(): Promise<void> {
    quench();
    releaseAll();
    await Promise.all([...this.#lanes].map((lane) => this.#closeLane(lane)));
    // A service that was about to be opened when all was ended.
    endProcessesIn(this.#folder);
  }

  get #ended(): boolean {
    return this.#options.signal?.aborted ?? false;
  }

  #next(): Job | undefined {
    const isLate = performance.now() - this.#beganMs > (this.#options.lastMs ?? Infinity);
    return isLate || this.#ended ? undefined : this.#jobs.shift();
  }

  async #lane(): Promise<void> {
    let lane = await this.#openLane();
    for (let job = this.#next(); job !== undefined; job = this.#next()) {
      const sinceMs = performance.now();
      const result = await playRound(lane, job.kind, job.round, this.#processors);
      if (this.#ended) return;
      if (lane.accelerator !== null) this.#options.onAccelerator?.(lane.accelerator);
      this.results.push(result);
      this.#options.onResult?.(result, performance.now() - sinceMs);
      if (result.outcome !== 'notSetUp') continue;
      // Whatever was in the way may be still: the next round begins with a service of its own.
      await this.#closeLane(lane);
      lane = await this.#openLane();
    }
  }

  async #openLane(): Promise<Lane> {
    this.#opened += 1;
    const lane = await Lane.open(join(this.#folder, String(this.#opened)), this.#goldens);
    this.#lanes.add(lane);
    return lane;
  }

  async #closeLane(lane: Lane): Promise<void> {
    if (!this.#lanes.delete(lane)) return;
    this.misnumbered += lane.misnumbered;
    await lane.close();
  }
}
