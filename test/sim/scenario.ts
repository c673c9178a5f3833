/** What a seed makes: how many guests of which kinds, how often what goes wrong, how long. */
import type { RecoveryPolicy } from '@vmpulse/wire';
import type { LoopPace } from './loop.ts';
import type { Random } from './random.ts';

/** What kind of guest it is. Durations are milliseconds. */
export interface GuestKind {
  readonly intervalMs: number;
  /** Ordinary lateness of a tick, 0 to this. */
  readonly jitterMs: number;
  /** How much slower its clock runs than the host's, as a share; negative: faster. */
  readonly drift: number;
  readonly bootMs: number;
  /** Has the guest agent. */
  readonly agent: boolean;
  /** Has the ticker. */
  readonly ticker: boolean;
  readonly spinningMs: number;
  readonly busyMs: number;
  readonly additionsStoppedMs: number;
  readonly bootWindowMaxMs: number;
  /** What is done about its stops; null: nothing is said of it. */
  readonly recovery: RecoveryPolicy | null;
}

/** One host and its bad days. Means are milliseconds between two of the kind; Infinity: none. */
export interface Scenario {
  readonly guests: readonly GuestKind[];
  readonly lengthMs: number;
  readonly pace: LoopPace;
  /** Between two faults of one guest. */
  readonly faultEveryMs: number;
  readonly stallEveryMs: number;
  readonly killEveryMs: number;
  readonly stopEveryMs: number;
  readonly wallStepEveryMs: number;
  readonly diskFullEveryMs: number;
  readonly sleepEveryMs: number;
  readonly massEveryMs: number;
  /** In how many of the moments in which recovery does something there is trouble. */
  readonly meddleShare: number;
  /** Faults that happen; null: all. */
  readonly kinds: readonly string[] | null;
}

/** A short hard time for few guests, to find out whether one thing is seen. */
export interface Trial {
  /** Faults of guests; null: all. */
  readonly kinds: readonly string[] | null;
  /** What happens to the service. */
  readonly service: readonly ('stall' | 'kill' | 'stop' | 'wall' | 'mass' | 'disk' | 'sleep')[];
  /** All guests are recovered, and in so many moments of that there is trouble. */
  readonly meddleShare?: number;
}

const trialGuests = 40;

/** The scenario of a trial. */
export function trialScenario(random: Random, { kinds, service, meddleShare }: Trial): Scenario {
  const every = (what: Trial['service'][number], meanMs: number): number =>
    service.includes(what) ? meanMs : Number.POSITIVE_INFINITY;
  return {
    guests: Array.from({ length: trialGuests }, () => makeGuest(random, meddleShare === undefined ? 0 : 1)),
    lengthMs: 240_000,
    pace: { lagMs: 1.2, lateShare: random.pick([0, 0.02]), lateMs: 40 },
    faultEveryMs: 12_000,
    stallEveryMs: every('stall', 10_000),
    killEveryMs: every('kill', 40_000),
    stopEveryMs: every('stop', 60_000),
    wallStepEveryMs: every('wall', 15_000),
    massEveryMs: every('mass', 30_000),
    diskFullEveryMs: every('disk', 40_000),
    sleepEveryMs: every('sleep', 30_000),
    meddleShare: meddleShare ?? 0,
    kinds,
  };
}

const sizes = [
  [2, 8],
  [2, 50],
  [4, 250],
  [4, 800],
] as const;

/** A scenario. */
export function makeScenario(random: Random): Scenario {
  const size = random.weighted(sizes);
  const count = Math.round(size * random.between(0.7, 1.3));
  // Small hosts live through more.
  const hectic = size <= 60 ? random.between(40_000, 300_000) : random.between(600_000, 4_000_000);
  const rare = (share: number, mean: number): number =>
    random.chance(share) ? random.between(0.5, 1.5) * mean : Number.POSITIVE_INFINITY;
  const recoveringShare = random.pick([0, 0.2, 1]);
  return {
    guests: Array.from({ length: count }, () => makeGuest(random, recoveringShare)),
    lengthMs: random.between(300_000, 900_000),
    pace: {
      lagMs: random.between(0.5, 2),
      lateShare: random.chance(0.5) ? 0 : random.between(0, 0.02),
      lateMs: random.between(5, 45),
    },
    faultEveryMs: hectic,
    stallEveryMs: rare(0.6, 60_000),
    killEveryMs: rare(0.4, 150_000),
    stopEveryMs: rare(0.2, 200_000),
    wallStepEveryMs: rare(0.5, 60_000),
    massEveryMs: rare(0.3, 200_000),
    diskFullEveryMs: rare(0.2, 150_000),
    sleepEveryMs: rare(0.2, 150_000),
    meddleShare: random.pick([0, 0.05, 0.2]),
    kinds: null,
  };
}

const intervals = [
  [30, 100],
  [20, 250],
  [10, 500],
  [30, 1_000],
  [5, 5_000],
  [3, 10_000],
  [1, 60_000],
] as const;

function makeGuest(random: Random, recoveringShare: number): GuestKind {
  const intervalMs = random.weighted(intervals);
  return {
    intervalMs,
    jitterMs: random.weighted([
      [6, 1],
      [3, 20],
      [1, 44],
    ]),
    drift: random.weighted([
      [2, 0],
      [2, random.between(-0.000_05, 0.000_05)],
      [1, random.between(-0.000_5, 0.000_5)],
    ]),
    bootMs: random.weighted([
      [3, 1_500],
      [2, 8_000],
      [1, 40_000],
    ]),
    agent: random.chance(0.3),
    ticker: true,
    spinningMs: random.pick([2_000, 5_000, 10_000]),
    busyMs: random.pick([6_000, 20_000, 60_000]),
    additionsStoppedMs: random.pick([3_000, 10_000]),
    bootWindowMaxMs: random.pick([60_000, 120_000]),
    recovery: random.chance(recoveringShare) ? makePolicy(random) : null,
  };
}

function makePolicy(random: Random): RecoveryPolicy {
  return {
    action: random.pick(['reset', 'reset', 'restart', 'staged', 'staged', 'notify', 'none']),
    dryRun: random.chance(0.15),
    attempts: random.whole(1, 4),
    windowMs: random.pick([60_000, 300_000, 3_600_000]),
    minRunningMs: random.pick([0, 5_000, 60_000]),
    backoffMs: random.pick([1_000, 5_000, 20_000]),
    settleMs: random.pick([null, 5_000, 20_000, 60_000]),
    nmi: random.chance(0.3),
    memoryDumpMiB: null,
  };
}
