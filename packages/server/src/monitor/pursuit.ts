/** What becomes of a guest's silence: looks at it, and while it is suspicious asks witnesses round by round. */
import type { StopCause, StopVerdict } from '@vmpulse/wire';
import { nextLookMs, overdue, sampleGapMs, shortGapMs } from './deadline.ts';
import { type Decision, decide } from './decision.ts';
import type { Circumstances } from './evidence.ts';
import type { Guest } from './guest.ts';
import type { Armed, Suspicion } from './phase.ts';
import { patienceMs } from './policy.ts';
import type { Teller } from './teller.ts';
import { clearSight, missingSightMs, nextSight } from './sight.ts';
import { type Answers, isIdle, judge, type Judgement } from './verdict.ts';
import type { Question, Round } from './witnesses.ts';

/** Between two rounds of witnesses while a suspicion lasts: a guest's interval, at most this. */
const roundEveryMs = 1_000;
/** Between rounds while nothing can be seen: a monitor that was late once is asked again soon. */
const unseenRoundMs = 250;
/** A guest found busy is not spinning for so long: one round at full speed is no livelock. */
const busyForMs = 1_500;
/** Leaves the wheel; whatever changes lays the guest in again. */
const leave = -1;

const windowCauses = { boot: 'bootWindowEnded', shutdown: 'silence', dump: 'guestPanicked' } as const;

/** One guest's pursuit. */
export class Pursuit {
  private readonly guest: Guest;
  private readonly teller: Teller;
  private readonly onPulse: () => void;

  /** `onPulse`: the agent that is the guest's heartbeat answered a witness round. */
  constructor(guest: Guest, teller: Teller, onPulse: () => void) {
    this.guest = guest;
    this.teller = teller;
    this.onPulse = onPulse;
  }

  /** Looks at the guest; its lane is drained up to `upToMs`. Answers when to look again, or -1. */
  visit(upToMs: number): number {
    const { guest } = this;
    const { phase } = guest;
    if (!guest.judged) return leave;
    if (phase.is !== 'armed' && phase.is !== 'window' && phase.is !== 'suspected') return leave;
    if (guest.backlogged()) return upToMs + unseenRoundMs;
    if (upToMs < guest.judgedFromMs) return guest.judgedFromMs;
    if (phase.is === 'armed') return this.visitArmed(phase, upToMs);
    if (phase.is === 'window') {
      if (upToMs < phase.untilMs) return phase.untilMs;
      return this.suspect(windowCauses[phase.kind], null, upToMs);
    }
    if (upToMs < phase.nextRoundMs) return phase.nextRoundMs;
    if (!guest.inquiry.isOut(guest.nowMs)) this.startRound();
    return upToMs + roundEveryMs;
  }

  private visitArmed({ late }: Armed, upToMs: number): number {
    const { guest } = this;
    const { registry } = guest.host;
    const lastMs = registry.lastMs(guest.slot);
    const sampled = late?.lastMs === lastMs ? late.reading : null;
    const againMs = nextLookMs(lastMs, registry.intervalMs(guest.slot), guest.marginMs, upToMs);
    if (againMs === overdue) return this.suspect('silence', sampled, upToMs);
    // A late guest is sampled before its deadline, so that there is something to compare with then.
    const isLate = againMs === guest.deadlineMs;
    if (isLate && sampled === null && guest.witnesses !== undefined) {
      const soon = guest.source === 'ticker' && this.gapMs < shortGapMs;
      guest.inquiry.readLate(guest.witnesses, soon, (reading) => {
        if (guest.phase.is === 'armed') guest.note({ is: 'armed', late: { lastMs, reading } });
      });
    }
    return againMs;
  }

  private suspect(cause: Suspicion['cause'], baseline: Suspicion['baseline'], upToMs: number): number {
    const { guest } = this;
    guest.host.observer.suspected();
    const { slot, deadlineSpanMs: deadlineMs } = guest;
    guest.host.cohort.joined({ slot, vm: guest.announcer.reference, deadlineMs });
    guest.enter({
      is: 'suspected',
      cause,
      baseline,
      verdict: 'suspected',
      runDelayMs: 0,
      stalledMs: 0,
      unseenSinceMs: null,
      starvedSinceMs: null,
      settledAtMs: null,
      sight: clearSight,
      idleOnce: false,
      ioMovedAtMs: null,
      busyAtMs: null,
      ioAskedAgain: false,
      goneSinceMs: null,
      nextRoundMs: upToMs,
    });
    this.startRound();
    // Looked at again in case the round is lost; its answer says better when.
    return upToMs + roundEveryMs;
  }

  private startRound(): void {
    const { guest } = this;
    if (guest.witnesses === undefined) return;
    const question = (): Question => {
      const { phase } = guest;
      const suspicion = phase.is === 'suspected' ? phase : undefined;
      // Used up, so that a round that is lost over it is not lost again.
      if (suspicion !== undefined) {
        const stalledMs = suspicion.baseline === null ? 0 : suspicion.stalledMs;
        guest.note({ ...suspicion, baseline: null, stalledMs });
      }
      return {
        first: suspicion?.verdict === 'suspected' && !suspicion.ioAskedAgain,
        agentExpected: guest.source === 'agent' && guest.agentGone === null,
        baseline: suspicion?.baseline ?? null,
        sampleGapMs: this.gapMs,
        portClosed: guest.additionsGone !== null,
        // The way to an agent is asked with it; the ticker's port may be closed then.
        connected: guest.source === 'agent' || guest.unconnectedSinceMs === null,
      };
    };
    guest.inquiry.ask(guest.witnesses, question, (round) => {
      const { phase } = guest;
      if (phase.is !== 'suspected') return;
      const stalledMs = phase.stalledMs + round.lateMs;
      const untold = guest.host.overdue(guest.nowMs);
      const answers = untold ? null : withoutStalls(round.answers, stalledMs, this.gapMs);
      if (answers === null) this.compareAgain(phase, round);
      else this.settle(phase, { ...round, answers });
    });
  }

  /** Between its samples the service stood still, for most of the time or for a time not told yet. */
  private compareAgain(suspicion: Suspicion, { reading }: Round): void {
    this.awaitRound({ ...suspicion, baseline: reading, stalledMs: 0 }, this.gapMs);
  }

  private get gapMs(): number {
    return sampleGapMs(this.guest.intervalMs);
  }

  private settle(before: Suspicion, heard: Round): void {
    const { guest } = this;
    if (guest.backlogged()) return this.awaitRound(before, unseenRoundMs);
    const { runState, ioMoved } = heard.answers;
    // Disks that were not heard of may work: they are asked once more, and waited for. A monitor that says nothing at
    // all is no such case: the guest is out of sight, and that must be kept in mind.
    if (ioMoved === 'silent' && runState !== 'silent' && !before.ioAskedAgain) {
      return this.awaitRound({ ...before, baseline: null, stalledMs: 0, ioAskedAgain: true }, 0);
    }
    if (guest.source !== 'ticker' && heard.answers.agent === 'answered') {
      this.onPulse();
      // It has not been the heartbeat for long enough to be one: a ticker may still come.
      return guest.source === null ? this.awaitRound(before, roundEveryMs) : undefined;
    }
    const { nowMs } = guest;
    const moved = ioMoved === true;
    const ioMovedAtMs = moved ? nowMs : before.ioMovedAtMs;
    const busyAtMs = !moved && judge(heard.answers).verdict === 'busy' ? nowMs : before.busyAtMs;
    const suspicion = { ...before, ioMovedAtMs, busyAtMs };
    this.conclude(suspicion, { ...heard, answers: this.withEarlierWork(heard.answers, suspicion) });
  }

  private conclude(before: Suspicion, round: Round): void {
    const { guest, teller } = this;
    const judged = judge(round.answers);
    const { verdict: seen } = judged;
    const blind = seen === 'suspended' || seen === 'starved' || seen === 'unknown';
    const lostSinceMs = blind ? this.lostSinceMs(before, round) : null;
    const { gapMs } = this;
    const glance = { nowMs: guest.nowMs, lostSinceMs, gapMs, deadlineMs: guest.deadlineSpanMs };
    const suspicion = { ...before, sight: nextSight(before.sight, glance) };
    const { load } = round.answers;
    // The time that a guest was out of sight is taken off as a whole, below.
    const delayMs = load === null || blind ? 0 : load.delayShare * load.overMs;
    const runDelayMs = suspicion.runDelayMs + delayMs;
    const decision = this.decide(suspicion, judged, runDelayMs);
    const circumstances: Circumstances = { runDelayMs, told: round.told, detail: decision.reason };
    if (missingSightMs(suspicion.sight, guest.nowMs) === 0) teller.visible();
    const { cohort } = guest.host;
    cohort.heard(guest.slot, decision.verdict);
    if (decision.tell === 'heartbeatStopped') {
      const { verdict } = decision;
      // A hiccup of the host as short as this is seen by nobody: what is compared over a short gap is compared twice.
      if (verdict === 'hung' && this.gapMs < shortGapMs && !suspicion.idleOnce) {
        return this.awaitRound({ ...suspicion, baseline: round.reading, stalledMs: 0, idleOnce: true }, 0);
      }
      const heldBackMs = cohort.waitMs(guest.slot);
      if (heldBackMs > 0) {
        return this.awaitRound({ ...suspicion, baseline: round.reading, stalledMs: 0 }, heldBackMs);
      }
      return teller.stopped(
        verdict,
        stopCause(suspicion, verdict),
        guest.nowMs - decision.overdueMs,
        circumstances,
      );
    }
    if (decision.tell === 'additionsStopped') {
      teller.additionsStopped(circumstances);
      // The agent takes the ticker's place at once: there is no moment in which nobody watches.
      return round.answers.agent === 'answered' ? this.onPulse() : undefined;
    }
    if (decision.tell === 'visibilityLost') {
      teller.visibilityLost(decision.verdict, decision.reason, circumstances);
    }
    // Where QEMU does not run the guest, and no event said so, nobody knows since when.
    if (seen === 'suspended') guest.silence.excuse(guest.silence.countedMs(0));
    else if (lostSinceMs !== null) guest.silence.excuse(guest.nowMs - lostSinceMs);
    return this.goOn(suspicion, decision, blind ? null : round.reading, runDelayMs);
  }

  /** A livelock does nothing else: one that worked on its disk or was busy a moment ago only computes now. */
  private withEarlierWork(answers: Answers, { ioMovedAtMs, busyAtMs }: Suspicion): Answers {
    const { nowMs, policy } = this.guest;
    const { spinningMs } = policy.patience;
    const within = (atMs: number | null, ms: number): boolean => atMs !== null && nowMs - atMs < ms;
    const recent = within(ioMovedAtMs, spinningMs) || within(busyAtMs, Math.min(busyForMs, spinningMs / 2));
    const computes = answers.load !== null && !isIdle(answers.load);
    return recent && computes && answers.ioMoved !== true ? { ...answers, ioMoved: true } : answers;
  }

  /**
   * Since when the guest is out of sight, the latest round being blind. A witness that was silent was so since it was
   * asked; since when the host holds the guest back nobody knows.
   */
  private lostSinceMs({ sight, settledAtMs }: Suspicion, { answers, tookMs }: Round): number {
    const { guest } = this;
    const silentOnly = answers.runState === 'silent' && !answers.frozen && answers.processState === 'S';
    const lostMs = silentOnly ? guest.nowMs - tookMs : guest.silence.lastTickMs;
    if (settledAtMs === null) return lostMs;
    return sight.lostSinceMs === null ? Math.max(lostMs, settledAtMs) : settledAtMs;
  }

  private decide(suspicion: Suspicion, judged: Judgement, runDelayMs: number): Decision {
    const { guest } = this;
    const { nowMs } = guest;
    const intervalMs = guest.host.registry.intervalMs(guest.slot);
    return decide({
      judged,
      countedSilenceMs: guest.silence.countedMs(runDelayMs),
      deadlineSilenceMs: intervalMs + guest.marginMs,
      windowEnded: suspicion.cause !== 'silence',
      patience: (verdict) => patienceMs(guest.policy, verdict, intervalMs),
      unseenForMs: nowMs - (suspicion.unseenSinceMs ?? nowMs),
      starvedForMs: nowMs - (suspicion.starvedSinceMs ?? nowMs),
      missingSightMs: missingSightMs(suspicion.sight, nowMs),
      goneForMs: nowMs - (suspicion.goneSinceMs ?? nowMs),
      unseenTold: guest.announcer.isOpen('visibilityLost'),
      attemptEveryMs: guest.policy.classic?.attemptEveryMs ?? Math.min(intervalMs, roundEveryMs),
      unseenEveryMs: unseenRoundMs,
    });
  }

  private goOn(
    suspicion: Suspicion,
    decision: Extract<Decision, { againInMs: number }>,
    baseline: Suspicion['baseline'],
    runDelayMs: number,
  ): void {
    const { nowMs } = this.guest;
    const { verdict } = decision;
    // What comes back into sight for a moment only was out of it all along.
    const unsettled = missingSightMs(suspicion.sight, nowMs) > 0;
    const since = (beforeMs: number | null, is: boolean): number | null =>
      is ? (beforeMs ?? nowMs) : unsettled ? beforeMs : null;
    const next: Suspicion = {
      ...suspicion,
      baseline,
      stalledMs: 0,
      verdict,
      runDelayMs,
      settledAtMs: nowMs,
      // Twice in a row, that is.
      idleOnce: false,
      unseenSinceMs: since(suspicion.unseenSinceMs, verdict === 'unknown'),
      starvedSinceMs: since(suspicion.starvedSinceMs, verdict === 'starved'),
      goneSinceMs: verdict === 'gone' ? (suspicion.goneSinceMs ?? nowMs) : null,
    };
    this.awaitRound(next, decision.againInMs);
  }

  private awaitRound(suspicion: Suspicion, inMs: number): void {
    const { guest } = this;
    guest.note({ ...suspicion, nextRoundMs: guest.nowMs + inMs });
    guest.reschedule();
  }
}

const ownCauses: Partial<Record<StopVerdict, StopCause>> = {
  panicked: 'guestPanicked',
  exited: 'processExit',
  watchdog: 'watchdog',
  internalError: 'internalError',
};

/** What the witnesses found has its own cause; what is inferred from silence has that of the suspicion. */
function stopCause(suspicion: Suspicion, verdict: StopVerdict): StopCause {
  return ownCauses[verdict] ?? suspicion.cause;
}

/**
 * Stalls are no time in which the guest idled, if they were the whole host's; if they were this service's alone the
 * guest ran on, and what it wanted to run is no more than was measured. Null where too little is left to compare.
 */
function withoutStalls(answers: Answers, stalledMs: number, gapMs: number): Answers | null {
  const { load } = answers;
  if (load === null || stalledMs <= 0) return answers;
  const overMs = load.overMs - stalledMs;
  if (overMs < gapMs / 2) return null;
  const grown = load.overMs / overMs;
  const share = (of: number): number => Math.min(1, of * grown);
  const grownShares = { runShare: share(load.runShare), delayShare: share(load.delayShare) };
  return { ...answers, load: { ...load, overMs, ...grownShares } };
}
