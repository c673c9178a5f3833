/** What must not fool the monitor: what the machine's owner, its operator or its host does that looks like a stop. */
import { allowances, type Rule } from './rules.ts';
import { passing, type Script, type Stage, steady } from './stage.ts';

/** Brings it to run again, whatever it is in. */
async function runAgain({ operator, guest, world }: Stage): Promise<void> {
  for (let turn = 0; turn < 400; turn += 1) {
    const state = await operator.state(guest);
    if (state === 'running' && guest.process?.end === null && guest.process.runState === 'running') return;
    if (state === 'turnedOff' || state === 'saved') await operator.once(guest, 'startup');
    else if (state === 'paused') await operator.once(guest, 'resume');
    await world.sleep(250);
  }
}

/** The script, then the guest runs and ticks again; what it is called covers all of it. */
async function covered(
  stage: Stage,
  kind: Parameters<Stage['oracle']['begin']>[1],
  happen: () => Promise<unknown>,
  change: Partial<Rule> = {},
): Promise<void> {
  const { oracle, guest } = stage;
  const episode = oracle.begin(guest, kind, change);
  await happen();
  await runAgain(stage);
  await steady(stage, 3);
  oracle.end(episode);
}

function runStateOf({ runState }: NonNullable<Stage['guest']['process']>): string {
  return runState;
}

/** QEMU holds the guest and lets it go again, by whoever's doing. */
async function heldByQemu(
  { guest, world }: Stage,
  state: 'paused' | 'saving',
  lengthMs: number,
): Promise<void> {
  const { process } = guest;
  if (process === null || process.runState !== 'running') return;
  process.setRunState(state);
  process.emit({ kind: 'stopped' });
  await world.sleep(lengthMs);
  if (process.end !== null || runStateOf(process) !== state) return;
  process.setRunState('running');
  process.emit({ kind: 'resumed' });
}

/** The scripts of operators and owners, by kind. */
export const troubles = {
  pause: (stage) =>
    covered(stage, 'pause', async () => {
      const { operator, guest, world, random } = stage;
      if (await operator.bring(guest, 'pause', 'paused')) await world.sleep(random.between(10, 60_000));
    }),
  save: (stage) =>
    covered(stage, 'save', async () => {
      const { operator, guest, world, random } = stage;
      guest.noteSaved();
      await operator.once(guest, 'save');
      if ((await operator.state(guest)) !== 'saved') guest.restored = false;
      await world.sleep(random.exponential(5_000));
    }),
  migration: (stage) =>
    covered(stage, 'migration', () => heldByQemu(stage, 'saving', stage.random.between(50, 20_000))),
  snapshotPause: (stage) =>
    covered(stage, 'snapshotPause', () => heldByQemu(stage, 'paused', stage.random.between(5, 4_000))),
  hostReset: (stage) => covered(stage, 'hostReset', () => stage.operator.once(stage.guest, 'reset')),
  reboot: (stage) =>
    covered(stage, 'reboot', async () => {
      const { guest, world, random } = stage;
      const saidBye = random.chance(0.7);
      if (saidBye) guest.say((listener) => listener.onBye('reboot'));
      // Who says nothing is reset before anyone misses its tick.
      const silentMs = Math.max(1, guest.nextDueMs - world.nowMs);
      guest.stopTicker();
      guest.agentUp = false;
      if (random.chance(0.7)) guest.process?.setPort('heartbeat', false);
      await world.sleep(random.between(1, saidBye ? 3_000 : Math.min(3_000, silentMs)));
      guest.process?.guestReset();
      await steady(stage, 2);
    }),
  rebootLoop: (stage) =>
    covered(stage, 'rebootLoop', async () => {
      const { guest, world, random } = stage;
      for (let left = random.whole(3, 40); left > 0; left -= 1) {
        guest.process?.guestReset();
        await world.sleep(random.between(300, 5_000));
      }
      await steady(stage, 2);
    }),
  longBoot: (stage) =>
    covered(stage, 'longBoot', async () => {
      const { guest, random } = stage;
      guest.process?.guestReset();
      guest.boot(random.between(5_000, 57_000));
      guest.process?.setLoad({ run: random.pick([0, 0.5, 1]), runDelay: 0 });
      await steady(stage, 2);
    }),
  shutdown: (stage) =>
    covered(stage, 'shutdown', async () => {
      const { operator, guest, world, random } = stage;
      if (guest.agentUp && random.chance(0.5)) await operator.once(guest, 'shutdown');
      else guest.shutDown();
      for (let turn = 0; turn < 100 && guest.process?.end === null; turn += 1) await world.sleep(200);
    }),
  hibernate: (stage) =>
    covered(stage, 'hibernate', async () => {
      const { guest, world } = stage;
      guest.process?.hibernate();
      for (let turn = 0; turn < 100 && guest.process?.end === null; turn += 1) await world.sleep(200);
    }),
  turnOff: (stage) =>
    covered(stage, 'turnOff', () => stage.operator.bring(stage.guest, 'turnOff', 'turnedOff')),
  migrateAway: (stage) => {
    const { guest, world, random } = stage;
    // Nobody was there when it ended: then it was found dead, and who found it cannot know better.
    const change: Partial<Rule> = { stop: 'may', verdicts: ['exited'], causes: ['foundDead'] };
    return covered(
      stage,
      'migrateAway',
      async () => {
        const { process } = guest;
        process?.migrateAway();
        await world.sleep(random.between(1, 5_000));
        if (process?.runState === 'paused') process.exit(0);
      },
      change,
    );
  },
  ioErrorPause: (stage) =>
    covered(stage, 'ioErrorPause', async () => {
      const { guest, world, random } = stage;
      guest.process?.failDisk('disk0', 'stop');
      await world.sleep(random.between(10, 20_000));
    }),
  guestSleep: (stage) =>
    covered(stage, 'guestSleep', async () => {
      const { guest, world, random } = stage;
      const { process } = guest;
      process?.suspend();
      await world.sleep(random.between(10, 60_000));
      if (process?.end === null && process.runState === 'suspended') process.wake();
    }),
  slotReuse: (stage) =>
    covered(stage, 'slotReuse', async () => {
      const { operator, guest } = stage;
      await operator.bring(guest, 'turnOff', 'turnedOff');
      await operator.remake(guest);
    }),
  intervalChanged: (stage) => {
    const { guest, random, oracle } = stage;
    if (oracle.down && allowances.helloUnheard) return Promise.resolve();
    return passing(
      stage,
      'intervalChanged',
      2_000,
      () => {
        guest.stopTicker();
        guest.intervalMs = random.pick([100, 250, 1_000, 3_000]);
        guest.startTicker();
      },
      () => undefined,
    );
  },
  hold: async (stage) => {
    const { operator, guest, world, random, oracle } = stage;
    const episode = oracle.begin(guest, 'hold');
    const seconds = random.between(30, 60);
    if (!(await operator.hold(guest, seconds * 1_000))) {
      oracle.end(episode);
      return;
    }
    const endMs = world.nowMs + random.between(1_000, seconds * 1_000 - 10_000);
    // A hold that ends while no service runs ends by the wall clock, whoever set it.
    const endWallMs = world.wallMs() + seconds * 1_000;
    guest.halt('late');
    while (world.nowMs < endMs && world.wallMs() < endWallMs) await world.sleep(100);
    guest.unhalt('late');
    if (random.chance(0.5)) await operator.release(guest);
    await operator.unheld(guest);
    await steady(stage, 3);
    oracle.end(episode);
  },
} as const satisfies Record<string, Script>;
