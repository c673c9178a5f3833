/** A guest that stopped, left to recovery: what it does when it is reset, and what others do meanwhile. */
import type { SimGuest } from './guest.ts';
import { type Fate, type Lot, wake } from './lot.ts';
import type { Random } from './random.ts';
import { takesSteps } from './recovery-known.ts';
import type { Stage } from './stage.ts';

/** Is it left to recovery this time? */
export function isLeft({ guest, random }: Stage): boolean {
  return takesSteps(guest.kind.recovery) && random.chance(0.75);
}

function drawLot(random: Random): Lot {
  const fates = [
    [4, 'back'],
    [1, 'never'],
    [1, 'again'],
  ] as const;
  return {
    reset: random.weighted<Fate>(fates),
    start: random.weighted<Fate>(fates),
    nmi: random.pick(['nothing', 'panic', 'reset']),
  };
}

/** What someone does while it is recovered. */
async function meddle(stage: Stage): Promise<void> {
  const { guest, operator, random, world } = stage;
  const what = random.weighted([
    [8, 'nothing'],
    [3, 'wakes'],
    [2, 'hold'],
    [1, 'rearm'],
    [1, 'reset'],
    [1, 'turnOff'],
    [1, 'pause'],
    [1, 'remake'],
  ] as const);
  if (what === 'nothing') return;
  await world.sleep(random.chance(0.5) ? random.between(0, 400) : random.exponential(15_000));
  stage.oracle.trace?.(guest.name, `MEDDLES ${what}`);
  if (what === 'wakes') wake(guest);
  else if (what === 'rearm') await operator.rearm(guest);
  else if (what === 'hold') {
    if (!(await operator.hold(guest, random.between(5_000, 40_000)))) return;
    await world.sleep(random.between(100, 30_000));
    if (random.chance(0.5)) await operator.release(guest);
    await operator.unheld(guest);
  } else if (what === 'reset') await operator.once(guest, 'reset');
  else if (what === 'pause') {
    if (!(await operator.once(guest, 'pause'))) return;
    await world.sleep(random.between(100, 20_000));
    await operator.once(guest, 'resume');
  } else {
    if (!(await operator.once(guest, 'turnOff'))) return;
    if (what === 'remake') await operator.remake(guest);
    await world.sleep(random.between(100, 40_000));
    await operator.once(guest, 'startup');
  }
}

function isWell(guest: SimGuest): boolean {
  return guest.ticking && guest.runs && guest.steadyTicks >= 5;
}

/** Until it is well, was given up, or long enough went by. Whoever runs it has the last word. */
export async function leftToRecovery(stage: Stage, mend: () => Promise<void>): Promise<void> {
  const { world, guest, random, oracle, operator, recoveries } = stage;
  const episode = oracle.begin(guest, 'underRecovery');
  const lot = drawLot(random);
  guest.lot = lot;
  const endMs = world.nowMs + random.between(30_000, 240_000);
  const meddling = meddle(stage);
  let wellSinceMs: number | null = null;
  while (world.nowMs < endMs && !recoveries.isGivenUp(guest)) {
    if (isWell(guest)) wellSinceMs ??= world.nowMs;
    else wellSinceMs = null;
    if (lot.reset === 'back' && wellSinceMs !== null && world.nowMs > wellSinceMs + 5_000) break;
    await world.sleep(1_000);
  }
  await meddling;
  if (recoveries.isGivenUp(guest)) {
    await world.sleep(random.exponential(20_000));
    if (random.chance(0.5) && (await operator.rearm(guest))) await world.sleep(random.between(1_000, 60_000));
  }
  guest.lot = null;
  if (!isWell(guest)) await mend();
  oracle.end(episode);
}
