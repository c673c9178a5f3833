/**
 * What the design promises, as the oracle holds the server to it: one table, written from the design and not from the
 * code of the monitor. A fault's rule says what must be told of it, what may, and by when; what it does not name must
 * not be told. Where the design leaves freedom, the row says so.
 */
import type { SimGuest } from './guest.ts';

/** Must it be told, may it, or must it not? */
export type Duty = 'must' | 'may' | 'never';

/** What is promised of one fault. */
export interface Rule {
  readonly stop: Duty;
  readonly verdicts?: readonly string[];
  readonly causes?: readonly string[];
  /** By when, counted from the guest's last tick (`silence`), or from the fault (`fault`). */
  readonly from?: 'silence' | 'fault';
  readonly boundMs?: (guest: SimGuest, marginMs: number) => number;
  /** Silence before which it must not be told. */
  readonly patienceMs?: (guest: SimGuest) => number;
  readonly additions?: Duty;
  readonly visibility?: Duty;
  /** It may be told as stopped again and again. */
  readonly again?: true;
  /** That the guest goes on (a tick, a boot) ends it: a stop told after that is a false one. */
}

/** Bounds of the margin for lateness (α): [50 ms, η], 0.5 s while cold. */
export const leastMarginMs = 50;
export const coldMarginMs = 500;
/** A witness round: 50 ms together. */
const roundMs = 50;
/** Timers, buckets and disks: what the design's 1.6 s at η = 1 s leaves over η + α + sampling + a round. */
const slackMs = 60;

/** Two samples of processor time are so far apart at least: 0.3 η, 40 to 300 ms (ADR of the design's "hung"). */
export function sampleGapMs(guest: SimGuest): number {
  return Math.min(Math.max(0.3 * guest.intervalMs, 40), 300);
}

/** η + α + sampling + a round. */
function hung(guest: SimGuest, marginMs: number): number {
  return guest.intervalMs + marginMs + sampleGapMs(guest) + roundMs + slackMs;
}

const patient =
  (patience: (guest: SimGuest) => number) =>
  (guest: SimGuest, marginMs: number): number =>
    Math.max(patience(guest), guest.intervalMs + marginMs) + 600;

const spinning = (guest: SimGuest): number => guest.kind.spinningMs;
const busy = (guest: SimGuest): number => guest.kind.busyMs;
const additions = (guest: SimGuest): number => guest.kind.additionsStoppedMs;
const atOnce = (): number => 60;
const never: Rule = { stop: 'never' };

const exited: Rule = {
  stop: 'must',
  verdicts: ['exited'],
  causes: ['processExit', 'foundDead'],
  from: 'fault',
  boundMs: atOnce,
};
const panicked: Rule = {
  stop: 'must',
  verdicts: ['panicked'],
  causes: ['guestPanicked'],
  from: 'fault',
  boundMs: atOnce,
};
const silentTicker: Rule = {
  stop: 'never',
  additions: 'must',
  from: 'silence',
  boundMs: patient(additions),
  patienceMs: additions,
};

/** The table. */
export const rules = {
  exit: exited,
  kill: exited,
  killWhilePaused: exited,
  panic: panicked,
  panicSilent: {
    stop: 'must',
    // A service that came after it does not have its text, and sees a livelock.
    verdicts: ['panicked', 'spinning'],
    causes: ['guestPanicked', 'silence'],
    from: 'silence',
    boundMs: patient(spinning),
  },
  crashDumping: never,
  crashDump: { ...panicked, boundMs: atOnce },
  watchdogPause: { ...panicked, verdicts: ['watchdog'], causes: ['watchdog'] },
  watchdogReset: { ...panicked, verdicts: ['watchdog'], causes: ['watchdog'] },
  tripleFault: { ...panicked, verdicts: ['tripleFault'], causes: ['tripleFault'] },
  internalError: {
    ...panicked,
    verdicts: ['internalError'],
    causes: ['internalError'],
    // QEMU tells STOP only; its run state is asked for.
    boundMs: (guest, marginMs) => hung(guest, marginMs) + 1_000,
  },
  hang: { stop: 'must', verdicts: ['hung'], causes: ['silence'], from: 'silence', boundMs: hung },
  spin: {
    stop: 'must',
    verdicts: ['spinning'],
    causes: ['silence'],
    from: 'silence',
    boundMs: patient(spinning),
    patienceMs: spinning,
  },
  busy: {
    stop: 'must',
    verdicts: ['busy'],
    causes: ['silence'],
    from: 'silence',
    boundMs: patient(busy),
    patienceMs: busy,
  },
  spinBack: never,
  busyBack: never,
  lateInMargin: never,
  latePastMargin: never,
  tickAtDeadline: never,
  pause: never,
  save: never,
  migration: never,
  snapshotPause: never,
  hostReset: never,
  reboot: never,
  rebootLoop: { stop: 'may', verdicts: ['hung', 'spinning', 'busy'], causes: ['bootWindowEnded'] },
  bootHangs: {
    stop: 'must',
    verdicts: ['hung', 'spinning', 'busy'],
    causes: ['bootWindowEnded'],
    from: 'fault',
    boundMs: (guest) => guest.kind.bootWindowMaxMs + 2_500,
  },
  longBoot: never,
  shutdown: never,
  turnOff: never,
  tickerKilled: silentTicker,
  tickerSaidBye: silentTicker,
  /** A stopped ticker in an idle guest without an agent is a hang to every witness there is. */
  tickerStopped: { stop: 'may', verdicts: ['hung'], causes: ['silence'] },
  tickerStoppedAgent: silentTicker,
  agentDied: never,
  starved: { stop: 'never', visibility: 'may' },
  blocked: { stop: 'never', visibility: 'may' },
  frozen: { stop: 'never', visibility: 'may' },
  qemuStopped: { stop: 'never', visibility: 'may' },
  qemuBlocked: { stop: 'never', visibility: 'may' },
  qmpSilent: { stop: 'never', visibility: 'may' },
  qmpStuck: { stop: 'never', visibility: 'may' },
  guestSleep: never,
  hibernate: never,
  migrateAway: never,
  ioErrorPause: never,
  guestClockJumps: never,
  intervalChanged: never,
  flood: never,
  slotReuse: never,
  fileSystemFreeze: never,
  hold: never,
  /** Left to recovery: it comes back, dies again, is reset and turned off; judged by the oracle of recovery. */
  underRecovery: { stop: 'may', additions: 'may', visibility: 'may', again: true },
} as const satisfies Record<string, Rule>;

/**
 * What nobody can know who was not there: the guest was reset, or its ticker began anew at another pace, while no
 * service was connected. Each is a freedom that the design does not name; false takes it away.
 */
export const allowances = {
  /** A guest that was reset meanwhile and boots is judged as if it had not been. */
  resetUnseen: false,
  /** A ticker whose hello nobody heard is judged by the pace of the one before. */
  helloUnheard: false,
} as const;

/** Every kind of fault. */
export type FaultKind = keyof typeof rules;
