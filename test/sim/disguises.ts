/** What must not fool the monitor: a guest that is late, loaded or kept from running, and additions that end. */
import { takesSteps } from './recovery-known.ts';
import type { FaultKind, Rule } from './rules.ts';
import { passing, type Script, type Stage, steady } from './stage.ts';

/** Not seen for longer than this must be told; what lasts less than half of it may go by. */
const seenToBeUnseenMs = 20_000;

function unseen(lengthMs: number, guest: Stage['guest']): Partial<Rule> {
  if (lengthMs < seenToBeUnseenMs + 2 * guest.intervalMs) return {};
  return { visibility: 'must', from: 'fault', boundMs: () => seenToBeUnseenMs + 2 * guest.intervalMs };
}

/** The host, or QEMU, keeps it from running or from being seen for a time. */
function kept(
  stage: Stage,
  kind: FaultKind,
  begin: (process: NonNullable<Stage['guest']['process']>) => void,
  end: (process: NonNullable<Stage['guest']['process']>) => void,
): Promise<void> {
  const { guest, random } = stage;
  const { process } = guest;
  if (process === null) return Promise.resolve();
  const lengthMs = random.weighted([
    [2, random.between(100, 3_000)],
    [2, random.between(3_000, 12_000)],
    [1, random.between(12_000, 90_000)],
  ]);
  return passing(
    stage,
    kind,
    lengthMs,
    () => {
      guest.halt('late');
      begin(process);
    },
    () => {
      end(process);
      guest.idle();
      guest.unhalt('late');
    },
    unseen(lengthMs, guest),
  );
}

/** QEMU itself stands for a time, in this state of its process. */
function hung(stage: Stage, kind: FaultKind, processState: string): Promise<void> {
  return kept(
    stage,
    kind,
    (process) => process.hang({ processState }),
    (process) => process.unhang(),
  );
}

/** It is late by so much, once, idle all the time. */
async function late(stage: Stage, kind: FaultKind, byMs: number): Promise<void> {
  const { oracle, guest, world } = stage;
  const episode = oracle.begin(guest, kind);
  const dueMs = (guest.lastSentMs ?? 0) + guest.intervalMs;
  guest.delayTick(dueMs + byMs - guest.nextDueMs);
  await world.sleep(2 * guest.intervalMs + 1_000);
  oracle.end(episode);
}

/** It is too loaded to tick, and ticks again before its patience is over. */
function loaded(stage: Stage, kind: FaultKind, patienceMs: number, begin: () => void): Promise<void> {
  const { guest, random } = stage;
  const lengthMs = random.between(0, patienceMs - 300) - guest.intervalMs;
  if (lengthMs <= 0) return Promise.resolve();
  return passing(
    stage,
    kind,
    lengthMs,
    () => {
      guest.halt('late');
      begin();
    },
    () => {
      guest.idle();
      guest.unhalt('late');
    },
  );
}

/** The ticker ends, and the rest of the guest goes on. */
async function tickerEnds(stage: Stage, kind: FaultKind, end: () => void): Promise<void> {
  const { oracle, guest, world, random } = stage;
  // Whoever was not there when the port was closed cannot know, where no agent says so.
  const causes = ['silence', 'bootWindowEnded'];
  const unknowing: Partial<Rule> = { stop: 'may', verdicts: ['hung'], causes, additions: 'may' };
  const episode = oracle.begin(guest, kind, oracle.down ? unknowing : {});
  end();
  await oracle.settled(episode);
  await world.sleep(random.exponential(8_000));
  guest.startTicker();
  await steady(stage, 3);
  oracle.end(episode);
}

/** The scripts, by kind. */
export const disguises = {
  spinBack: (stage) =>
    loaded(stage, 'spinBack', stage.guest.kind.spinningMs, () =>
      stage.guest.process?.setLoad({ run: 1, runDelay: 0 }),
    ),
  busyBack: (stage) =>
    loaded(stage, 'busyBack', stage.guest.kind.busyMs, () => {
      stage.guest.process?.setLoad({ run: 0.4, runDelay: 0 });
      if (stage.random.chance(0.5)) stage.guest.process?.setIoRate({ diskOperations: 500 });
    }),
  lateInMargin: (stage) => late(stage, 'lateInMargin', stage.random.between(40, 49)),
  tickAtDeadline: (stage) => late(stage, 'tickAtDeadline', 50 + stage.random.pick([-0.001, 0, 0.001])),
  latePastMargin: (stage) =>
    late(stage, 'latePastMargin', 50 + stage.random.share() * Math.min(0.1 * stage.guest.intervalMs, 200)),
  starved: (stage) =>
    kept(
      stage,
      'starved',
      (process) => process.setLoad({ run: 0.02, runDelay: stage.random.between(0.6, 0.95) }),
      () => undefined,
    ),
  blocked: (stage) =>
    kept(
      stage,
      'blocked',
      (process) => {
        const sample = process.sample();
        process.setSample({ ...sample, vcpus: sample.vcpus.map((vcpu) => ({ ...vcpu, state: 'D' })) });
      },
      (process) => process.setSample(null),
    ),
  frozen: (stage) =>
    kept(
      stage,
      'frozen',
      (process) => process.setFrozen(true),
      (process) => process.setFrozen(false),
    ),
  qemuStopped: (stage) => hung(stage, 'qemuStopped', 'T'),
  qemuBlocked: (stage) => hung(stage, 'qemuBlocked', 'D'),
  /** Its main loop is stuck, and with it whatever its ports carry. */
  qmpStuck: (stage) => hung(stage, 'qmpStuck', 'S'),
  qmpSilent: (stage) => {
    const { guest, random } = stage;
    return passing(
      stage,
      'qmpSilent',
      random.between(500, 40_000),
      () => guest.process?.hang({ processState: 'S' }),
      () => guest.process?.unhang(),
    );
  },
  tickerKilled: (stage) =>
    tickerEnds(stage, 'tickerKilled', () => {
      stage.guest.stopTicker();
      stage.guest.process?.setPort('heartbeat', false);
    }),
  tickerSaidBye: (stage) =>
    tickerEnds(stage, 'tickerSaidBye', () => {
      stage.guest.say((listener) => listener.onBye('stop'));
      stage.guest.stopTicker();
      stage.guest.process?.setPort('heartbeat', false);
    }),
  tickerStopped: async (stage) => {
    const { oracle, guest, world, random } = stage;
    const withAgent = guest.agentUp;
    // To recovery it is a guest that hangs, as to every other witness.
    if (!withAgent && takesSteps(guest.kind.recovery)) return;
    const episode = oracle.begin(guest, withAgent ? 'tickerStoppedAgent' : 'tickerStopped');
    guest.holdTicker();
    if (withAgent) await oracle.settled(episode);
    await world.sleep(random.exponential(8_000));
    guest.releaseTicker();
    await steady(stage, 3);
    oracle.end(episode);
  },
  agentDied: (stage) => {
    const { guest, random } = stage;
    if (!guest.agentUp) return Promise.resolve();
    return passing(
      stage,
      'agentDied',
      random.between(1_000, 30_000),
      () => {
        guest.agentUp = false;
        if (random.chance(0.5)) guest.process?.setPort('agent', false);
      },
      () => guest.startAgent(),
    );
  },
  fileSystemFreeze: (stage) => {
    const { guest, random } = stage;
    if (!guest.agentUp) return Promise.resolve();
    return passing(
      stage,
      'fileSystemFreeze',
      random.between(500, 40_000),
      () => {
        guest.fileSystemsFrozen = true;
        guest.holdTicker();
      },
      () => {
        guest.fileSystemsFrozen = false;
        guest.releaseTicker();
      },
    );
  },
  guestClockJumps: (stage) =>
    passing(
      stage,
      'guestClockJumps',
      2_000,
      () => stage.guest.jumpClock(stage.random.between(-4_000_000, 4_000_000)),
      () => undefined,
    ),
  flood: (stage) => {
    const { guest, random } = stage;
    return passing(
      stage,
      'flood',
      random.between(500, 30_000),
      () => {
        guest.flooding = true;
      },
      () => guest.endFlood(),
    );
  },
} as const satisfies Record<string, Script>;
