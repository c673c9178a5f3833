/** The service's own life: it stalls, is killed, is stopped and started again; somebody sets the clock. */
import { wake } from './lot.ts';
import type { Oracle } from './oracle.ts';
import type { Operator, Present } from './operator.ts';
import type { Random } from './random.ts';
import type { Scenario } from './scenario.ts';
import { type Host, Service } from './service.ts';
import type { SimGuest } from './guest.ts';
import type { Sinks } from './sinks.ts';
import { steady } from './stage.ts';
import { stops } from './stops.ts';

/** What it plays on. */
export interface ServiceStage {
  readonly host: Host;
  readonly present: Present;
  readonly sinks: Sinks;
  readonly operator: Operator;
  readonly oracle: Oracle;
  readonly scenario: Scenario;
  readonly random: Random;
  readonly endMs: number;
}

/** Plays until `endMs`. */
export async function serviceLife(stage: ServiceStage): Promise<void> {
  const { scenario } = stage;
  const moments: Promise<void>[] = [];
  trouble(stage, moments);
  await Promise.all([
    every(stage, scenario.stallEveryMs, stall),
    every(stage, scenario.killEveryMs, kill),
    every(stage, scenario.stopEveryMs, stop),
    every(stage, scenario.wallStepEveryMs, stepWall),
    every(stage, scenario.massEveryMs, mass),
    every(stage, scenario.diskFullEveryMs, fillDisk),
    every(stage, scenario.sleepEveryMs, suspendHost),
  ]);
  stage.host.recoveries.onMoment = () => undefined;
  await Promise.all(moments);
}

/** Where recovery does something, at that moment or right after it, there is trouble. */
function trouble(stage: ServiceStage, moments: Promise<void>[]): void {
  const { host, random, endMs, operator } = stage;
  const { world, recoveries } = host;
  const { meddleShare } = stage.scenario;
  if (meddleShare === 0) return;
  const happen = async (guest: SimGuest): Promise<void> => {
    await world.sleep(random.chance(0.7) ? random.between(0, 6) : random.between(0, 2_000));
    const what = random.weighted<() => Promise<unknown> | void>([
      [4, () => kill(stage)],
      [1, () => stop(stage)],
      [1, () => stall(stage)],
      [1, () => fillDisk(stage)],
      [1, () => stepWall(stage)],
      [2, () => wake(guest)],
      [2, () => operator.hold(guest, 10_000)],
      [1, () => operator.once(guest, 'reset')],
    ]);
    await what();
  };
  recoveries.onMoment = (guest) => {
    if (world.nowMs < endMs && random.chance(meddleShare)) moments.push(happen(guest));
  };
}

async function every(
  stage: ServiceStage,
  meanMs: number,
  happen: (stage: ServiceStage) => Promise<void> | void,
): Promise<void> {
  if (!Number.isFinite(meanMs)) return;
  const { host, random, endMs } = stage;
  for (;;) {
    await host.world.sleep(Math.min(random.exponential(meanMs), Math.max(1, endMs - host.world.nowMs)));
    if (host.world.nowMs >= endMs) return;
    await happen(stage);
  }
}

async function stall({ host, present, oracle, random }: ServiceStage): Promise<void> {
  const { service } = present;
  if (service === null || oracle.away > 0) return;
  const lengthMs = random.weighted([
    [3, random.between(20, 60)],
    [3, random.between(60, 250)],
    [3, random.between(250, 2_000)],
    [1, random.between(2_000, 30_000)],
  ]);
  const wholeHost = random.chance(0.4);
  note(oracle, wholeHost ? 'host stall' : 'service stall');
  oracle.trace?.('', `${wholeHost ? 'host' : 'service'} stalls for ${Math.round(lengthMs)} ms`);
  oracle.away += 1;
  service.loop.stall(lengthMs);
  if (wholeHost) for (const guest of host.guests) guest.stand(lengthMs, lengthMs > 250 ? 200 : 5);
  await host.world.sleep(lengthMs);
  host.recoveries.stalled(lengthMs);
  await host.world.sleep(1);
  oracle.away -= 1;
  oracle.back();
}

async function kill(stage: ServiceStage): Promise<void> {
  const { present, oracle } = stage;
  const { service } = stage.present;
  if (service === null || oracle.away > 0) return;
  note(oracle, 'service kill -9');
  oracle.trace?.('', 'service is killed');
  oracle.away += 1;
  present.service = null;
  service.kill();
  await startAgain(stage);
}

async function stop(stage: ServiceStage): Promise<void> {
  const { present, oracle } = stage;
  const { service } = stage.present;
  if (service === null || oracle.away > 0) return;
  note(oracle, 'service restart');
  oracle.trace?.('', 'service stops');
  oracle.away += 1;
  present.service = null;
  await service.stop();
  await startAgain(stage);
}

async function startAgain({ host, present, sinks, oracle, random }: ServiceStage): Promise<void> {
  sinks.disconnect();
  oracle.died();
  await host.world.sleep(
    random.weighted([
      [2, random.between(50, 2_000)],
      [1, random.between(2_000, 40_000)],
    ]),
  );
  const service = await Service.open(host);
  await service.start();
  oracle.down = false;
  present.service = service;
  sinks.connect(service);
  oracle.trace?.('', 'service is there again');
  await host.world.sleep(5);
  oracle.away -= 1;
  oracle.back();
}

/** Many guests stop at the same moment: a storage that is gone, a switch, a kernel that all of them run. */
async function mass({ host, oracle, operator, random }: ServiceStage): Promise<void> {
  const share = random.between(0.1, 0.9);
  const free = host.guests.filter(({ engaged, steadyTicks }) => !engaged && steadyTicks >= 25);
  const struck = free.filter(() => random.chance(share));
  const script = random.pick([stops.hang, stops.kill, stops.spin]);
  note(oracle, 'mass stop');
  oracle.trace?.('', `${struck.length} guests are struck at once`);
  for (const guest of struck) guest.engaged = true;
  oracle.striking = true;
  const over = struck.map(async (guest) => {
    const { world, recoveries } = host;
    const stage = { world, oracle, operator, recoveries, guest, random: guest.random };
    await script(stage);
    await steady(stage);
    guest.engaged = false;
  });
  oracle.striking = false;
  oracle.struck();
  await Promise.all(over);
}

/** Nothing can be written for a time: detection goes on, and is told when there is room again. */
async function fillDisk({ host, present, oracle, random }: ServiceStage): Promise<void> {
  if (present.service === null || oracle.away > 0) return;
  note(oracle, 'disk full');
  oracle.trace?.('', 'disk is full');
  oracle.away += 1;
  host.disk.full = true;
  await host.world.sleep(random.between(100, 30_000));
  host.disk.full = false;
  oracle.trace?.('', 'disk has room again');
  // What waited for it is tried again each few seconds.
  await host.world.sleep(10_000);
  oracle.away -= 1;
  oracle.back();
}

/** The host sleeps, and its guests with it: only the wall clock and the clock since boot go on. */
function suspendHost({ host, oracle, random }: ServiceStage): void {
  note(oracle, 'host suspend');
  const ms = random.between(500, 8 * 3_600_000);
  oracle.trace?.('', `host sleeps for ${Math.round(ms)} ms`);
  host.world.stepWall(ms);
  host.world.sleptMs += ms;
  host.recoveries.steppedWall();
  // The service gives every guest a moment to get going, as after a stall of its own.
  if (oracle.away === 0) oracle.back();
}

function stepWall({ host, oracle, random }: ServiceStage): void {
  note(oracle, 'wall clock step');
  const ms = random.weighted([
    [2, random.between(-5_000, 5_000)],
    [1, random.between(-7_200_000, 7_200_000)],
    [1, random.between(-86_400_000 * 300, 86_400_000 * 300)],
  ]);
  oracle.trace?.('', `wall clock steps by ${Math.round(ms)} ms`);
  host.recoveries.steppedWall();
  host.world.stepWall(ms);
}

function note(oracle: Oracle, what: string): void {
  const faults = oracle.faults as Map<string, number>;
  faults.set(what, (faults.get(what) ?? 0) + 1);
}
