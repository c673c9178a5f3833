/** What a fault's script works with. */
import type { Episode } from './episode.ts';
import type { SimGuest } from './guest.ts';
import type { Operator } from './operator.ts';
import type { Oracle } from './oracle.ts';
import type { Random } from './random.ts';
import type { RecoveryOracle } from './recovery-oracle.ts';
import type { FaultKind, Rule } from './rules.ts';
import { isLeft, leftToRecovery } from './under-recovery.ts';
import type { World } from './world.ts';

/** One guest's stage. */
export interface Stage {
  readonly world: World;
  readonly oracle: Oracle;
  readonly operator: Operator;
  readonly recoveries: RecoveryOracle;
  readonly guest: SimGuest;
  readonly random: Random;
}

/** Makes a fault happen, waits for what must be told, and brings the guest back. */
export type Script = (stage: Stage) => Promise<void>;

/** Waits until the guest ticks steadily. */
export async function steady({ world, guest }: Stage, ticks = 25): Promise<void> {
  // A slow ticker takes long to be known well; a few ticks must do.
  const wanted = Math.min(ticks, Math.max(2, Math.round(30_000 / guest.intervalMs)));
  for (let turn = 0; turn < 1_000 && (!guest.ticking || guest.steadyTicks < wanted); turn += 1) {
    await world.sleep(Math.max(100, guest.intervalMs / 2));
  }
}

/** The operator turns it off and starts it again. */
async function restart(stage: Stage): Promise<void> {
  const { operator, guest } = stage;
  await operator.bring(guest, 'turnOff', 'turnedOff');
  await operator.bring(guest, 'startup', 'running');
}

/** The operator resets it, or turns it off and starts it again. */
async function recover(stage: Stage): Promise<void> {
  const { operator, guest, random, oracle } = stage;
  if (random.chance(0.4) && guest.process?.end === null) {
    const reset = oracle.begin(guest, 'hostReset');
    const done = await operator.once(guest, 'reset');
    oracle.end(reset);
    if (done) return;
  }
  await restart(stage);
}

/** A fault that must be told, and is ended by the operator. */
export async function told(stage: Stage, kind: FaultKind, happen: () => void): Promise<void> {
  const { oracle, guest, world, random } = stage;
  const episode = oracle.begin(guest, kind);
  happen();
  await oracle.settled(episode);
  await comeBack(stage, episode, () => world.sleep(random.exponential(5_000)));
}

/** Whose stop was told is left to recovery, or brought back by the operator after a moment. */
export async function comeBack(
  stage: Stage,
  episode: Episode,
  moment: () => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  const { oracle } = stage;
  if (isLeft(stage)) {
    oracle.end(episode);
    await leftToRecovery(stage, () => recover(stage));
    return;
  }
  await moment();
  await recover(stage);
  oracle.end(episode);
}

/** A fault of which nothing is told, taken back after `lengthMs`. */
export async function passing(
  stage: Stage,
  kind: FaultKind,
  lengthMs: number,
  happen: () => void,
  takeBack: () => void,
  change: Partial<Rule> = {},
): Promise<void> {
  const { oracle, guest, world } = stage;
  const episode = oracle.begin(guest, kind, change);
  happen();
  await world.sleep(lengthMs);
  takeBack();
  await world.sleep(Math.max(1_000, 2 * guest.intervalMs));
  oracle.end(episode);
}
