/** One run: a host full of guests made from a seed, faults for some minutes of simulated time, then peace. */
import { GuestWatch } from '../../packages/server/src/monitor/guest-watch.ts';
import { Witnesses } from '../../packages/server/src/monitor/witnesses.ts';
import { FakeHost } from '../../packages/server/src/hypervisor/fake.ts';
import { Disk } from './disk.ts';
import { SimGuest } from './guest.ts';
import { type Failure, Oracle } from './oracle.ts';
import { type RecoveryCounts, RecoveryOracle } from './recovery-oracle.ts';
import { Operator, type Present } from './operator.ts';
import { Random } from './random.ts';
import { live, startAll } from './life.ts';
import { makeScenario, type Scenario, type Trial, trialScenario } from './scenario.ts';
import { serviceLife } from './service-life.ts';
import { type Host, Service } from './service.ts';
import { Sinks } from './sinks.ts';
import { World, WorldClock } from './world.ts';

/** What came of one run. */
export interface RunResult {
  readonly seed: number;
  /** Looks of the monitor at a guest, and rounds of witnesses that it judged. */
  readonly checks: number;
  readonly visits: number;
  readonly rounds: number;
  readonly events: number;
  readonly recovery: RecoveryCounts;
  readonly simulatedMs: number;
  readonly faults: ReadonlyMap<string, number>;
  readonly failures: readonly Failure[];
}

/** How a run is made. */
export interface RunOptions {
  /** Gets the timeline of the guests it names (all: `undefined`). */
  readonly trace?: (atMs: number, guest: string, text: string) => void;
  /** Ends the run at the first failure. */
  readonly stopAtFailure?: boolean;
  /** A scenario of this kind instead of what the seed makes. */
  readonly trial?: Trial;
}

/** A check is one look of the monitor at one guest (a visit of the wheel), or one round of witnesses. */
const counted = { visits: 0, rounds: 0 };

// oxlint-disable-next-line typescript/unbound-method -- it is called with its own `this` below
const { visit } = GuestWatch.prototype;
GuestWatch.prototype.visit = function counting(upToMs: number): number {
  counted.visits += 1;
  return visit.call(this, upToMs);
};
// oxlint-disable-next-line typescript/unbound-method -- it is called with its own `this` below
const { ask } = Witnesses.prototype;
Witnesses.prototype.ask = async function counting(...question) {
  const round = await ask.apply(this, question);
  counted.rounds += 1;
  return round;
};

/** Runs one seed. */
export async function runSeed(seed: number, options: RunOptions = {}): Promise<RunResult> {
  const random = new Random(seed);
  const { trial } = options;
  const scenario = trial === undefined ? makeScenario(random) : trialScenario(random, trial);
  const world = new World(random.fork(), scenario.guests.length);
  const disk = new Disk(world);
  const before = { ...counted };
  try {
    const { oracle, faults, recovery } = await play(world, disk, scenario, random, options);
    const visits = counted.visits - before.visits;
    const rounds = counted.rounds - before.rounds;
    return {
      seed,
      checks: visits + rounds,
      visits,
      rounds,
      events: oracle.seen,
      recovery,
      simulatedMs: scenario.lengthMs,
      faults,
      failures: oracle.failures,
    };
  } finally {
    disk.remove();
  }
}

async function play(
  world: World,
  disk: Disk,
  scenario: Scenario,
  random: Random,
  options: RunOptions,
): Promise<{ oracle: Oracle; faults: Map<string, number>; recovery: RecoveryCounts }> {
  const oracle = new Oracle(world);
  oracle.loopLateMs = scenario.pace.lateShare === 0 ? 0 : scenario.pace.lateMs;
  oracle.committedSeq = () => disk.committedSeq;
  const guests = scenario.guests.map((kind, number) => new SimGuest(world, random.fork(), number, kind));
  for (const guest of guests) oracle.watch(guest);
  const recoveries = new RecoveryOracle(world, oracle, guests);
  disk.onEvent = (seq, type, vmId, data) => recoveries.written(seq, type, vmId, data);
  const { trace } = options;
  const beganMs = world.nowMs;
  if (trace !== undefined) {
    oracle.trace = (guest, text) => trace(world.nowMs - beganMs, guest, text);
    for (const guest of guests) guest.trace = (text) => trace(world.nowMs - beganMs, guest.name, text);
  }
  world.onTick = (number) => {
    const guest = guests[number] as SimGuest;
    guest.fire();
    if (guest.isTold && !guest.flooding) oracle.ticked(guest);
  };
  const host: Host = {
    world,
    disk,
    fakeHost: new FakeHost(new WorldClock(world)),
    guests,
    pace: scenario.pace,
    appended: (draft) => oracle.appended(draft),
    defect: (what) => oracle.fail('defect', undefined, what),
    recoveries,
    sleptMs: () => world.sleptMs,
  };
  const present: Present = { service: null };
  const sinks = new Sinks(world, oracle, random.fork());
  const operator = new Operator(world, present, oracle, recoveries);
  const endMs = world.nowMs + scenario.lengthMs;
  const faults = oracle.faults as Map<string, number>;
  let over = false;
  const all = async (): Promise<void> => {
    present.service = await Service.open(host);
    await present.service.start();
    sinks.connect(present.service);
    await startAll(operator, guests);
    const lives = guests.map((guest) =>
      live({ world, oracle, operator, recoveries, guest, random: guest.random }, scenario, endMs),
    );
    const service = serviceLife({
      host,
      present,
      sinks,
      operator,
      oracle,
      scenario,
      random: random.fork(),
      endMs,
    });
    await Promise.all([...lives, service]);
    // Peace: what is told now is told of guests that are well.
    await world.sleep(15_000);
    sinks.stay();
    await world.sleep(2_000);
    over = true;
  };
  const done = all().catch((error: unknown) => {
    oracle.fail('simulator', undefined, error instanceof Error ? (error.stack ?? '') : String(error));
    over = true;
  });
  const stop = (): boolean => over || (options.stopAtFailure === true && oracle.failures.length > 0);
  await world.run(endMs + 3_600_000, stop);
  if (over) {
    await done;
    sinks.check();
  } else if (options.stopAtFailure !== true || oracle.failures.length === 0) {
    oracle.fail('stuck', undefined, 'the run does not end');
  }
  present.service?.kill();
  return { oracle, faults, recovery: recoveries.counts };
}
