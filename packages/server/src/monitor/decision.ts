/** What one round of witnesses leads to: told now, waited for, or asked again. A pure function. */
import type { StopVerdict } from '@vmpulse/wire';
import type { Suspicion } from './phase.ts';
import type { Judgement } from './verdict.ts';

/** How long nothing must be seen of a guest before that is told: monitors and hosts hiccup. */
export const unseenPatienceMs = 3_000;
/** How long the host must keep a guest from running before that is told: hosts are busy for seconds every day. */
export const starvedPatienceMs = 10_000;
/** How long the event of a process that is gone is waited for, which says why it ended. */
export const gonePatienceMs = 3_000;

/** What a decision rests on. Durations are milliseconds. */
export interface Situation {
  /** What the witnesses add up to. */
  readonly judged: Judgement;
  /** Silence that counts: without suspensions and without waiting for host processors. */
  readonly countedSilenceMs: number;
  /** Silence at which this guest is suspected at all: η + α. */
  readonly deadlineSilenceMs: number;
  /** A boot, shutdown or dump window ended: its length was the patience. */
  readonly windowEnded: boolean;
  /** Silence a verdict waits for. */
  readonly patience: (verdict: StopVerdict | 'additionsStopped') => number;
  /** How long nothing could be seen so far, and how long the host has kept the guest from running. */
  readonly unseenForMs: number;
  readonly starvedForMs: number;
  /** How much longer the guest must be in sight before it is judged; see sight.ts. */
  readonly missingSightMs: number;
  /** How long the process has been found gone so far. */
  readonly goneForMs: number;
  /** visibilityLost was told already. */
  readonly unseenTold: boolean;
  /** Time between rounds, and between rounds while nothing is seen. */
  readonly attemptEveryMs: number;
  readonly unseenEveryMs: number;
}

/** What to do. */
export type Decision =
  | {
      readonly tell: 'heartbeatStopped';
      readonly verdict: StopVerdict;
      readonly reason: string;
      /** How long ago it could have been told at the earliest. */
      readonly overdueMs: number;
    }
  | { readonly tell: 'additionsStopped'; readonly verdict: 'additionsStopped'; readonly reason: string }
  | {
      readonly tell: 'visibilityLost';
      readonly verdict: 'unknown' | 'starved';
      readonly reason: string;
      readonly againInMs: number;
    }
  | {
      readonly tell: 'nothing';
      readonly verdict: Suspicion['verdict'];
      readonly reason: string;
      readonly againInMs: number;
    };

/** Decides one round. */
export function decide(situation: Situation): Decision {
  const { verdict, reason } = situation.judged;
  const wait = (shown: Suspicion['verdict'], againInMs = situation.attemptEveryMs): Decision => {
    return { tell: 'nothing', verdict: shown, reason, againInMs };
  };
  switch (verdict) {
    case 'gone':
      if (situation.goneForMs < gonePatienceMs) return wait('gone', situation.unseenEveryMs);
      return { tell: 'heartbeatStopped', verdict: 'exited', reason, overdueMs: 0 };
    case 'suspended':
      return wait(verdict);
    case 'starved':
      if (situation.unseenTold || situation.starvedForMs < starvedPatienceMs) return wait(verdict);
      return { tell: 'visibilityLost', verdict, reason, againInMs: situation.attemptEveryMs };
    case 'unknown':
      if (situation.unseenTold) return wait('unknown');
      if (situation.unseenForMs < unseenPatienceMs) return wait('unknown', situation.unseenEveryMs);
      return { tell: 'visibilityLost', verdict, reason, againInMs: situation.attemptEveryMs };
    case 'panicked':
    case 'watchdog':
    case 'internalError':
      return { tell: 'heartbeatStopped', verdict, reason, overdueMs: 0 };
    case 'serialPanic':
    case 'hung':
    case 'spinning':
    case 'busy':
    case 'additionsStopped':
      break;
  }
  return decideSilence(situation, verdict === 'serialPanic' ? 'panicked' : verdict, reason);
}

/** What is inferred from silence waits for its patience. */
function decideSilence(
  situation: Situation,
  verdict: 'hung' | 'spinning' | 'busy' | 'panicked' | 'additionsStopped',
  reason: string,
): Decision {
  // The length of a window was the patience, for a stop; its additions may be about to start.
  const neededMs =
    situation.windowEnded && verdict !== 'additionsStopped'
      ? 0
      : Math.max(situation.patience(verdict), situation.deadlineSilenceMs);
  const missingMs = Math.max(neededMs - situation.countedSilenceMs, situation.missingSightMs);
  if (missingMs > 0) {
    const againInMs = Math.min(missingMs, situation.attemptEveryMs);
    return { tell: 'nothing', verdict, reason, againInMs };
  }
  if (verdict === 'additionsStopped') return { tell: 'additionsStopped', verdict, reason };
  return {
    tell: 'heartbeatStopped',
    verdict,
    reason,
    overdueMs: situation.windowEnded ? 0 : situation.countedSilenceMs - neededMs,
  };
}
