/** What becomes of a guest's silence: looks at it, and while it is suspicious asks witnesses round by round. */
import type { StopCause, StopVerdict } from '@vmpulse/wire';
import { nextLookMs, overdue, sampleGapMs } from './deadline.ts';
import { type Decision, decide } from './decision.ts';
import type { Circumstances } from './evidence.ts';
import type { Guest } from './guest.ts';
import type { Armed, Suspicion } from './phase.ts';
import { patienceMs } from './policy.ts';
import type { Teller } from './teller.ts';
import type { Question, Round } from './witnesses.ts';

/** Between two rounds of witnesses while a suspicion lasts: a guest's interval, at most this. */
const roundEveryMs = 1_000;
/** Between rounds while nothing can be seen: a monitor that was late once is asked again soon. */
const unseenRoundMs = 250;
/** Leaves the wheel; whatever changes lays the guest in again. */
const leave = -1;

const windowCauses = { boot: 'bootWindowEnded', shutdown: 'silence', dump: 'guestPanicked' } as const;

/** One guest's pursuit. */
export class Pursuit {
  private readonly guest: Guest;
  private readonly teller: Teller;

  constructor(guest: Guest, teller: Teller) {
    this.guest = guest;
    this.teller = teller;
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
    const sampled = late?.lastMs === lastMs ? late.sample : null;
    const againMs = nextLookMs(lastMs, registry.intervalMs(guest.slot), guest.marginMs, upToMs);
    if (againMs === overdue) return this.suspect('silence', sampled, upToMs);
    // A late guest is sampled before its deadline, so that there is something to compare with then.
    const isLate = againMs === guest.deadlineMs;
    if (isLate && sampled === null && guest.witnesses !== undefined) {
      guest.inquiry.sample(guest.witnesses, (sample) => {
        if (guest.phase.is === 'armed') guest.note({ is: 'armed', late: { lastMs, sample } });
      });
    }
    return againMs;
  }

  private suspect(cause: Suspicion['cause'], baseline: Suspicion['baseline'], upToMs: number): number {
    const { guest } = this;
    guest.host.observer.suspected();
    guest.enter({
      is: 'suspected',
      cause,
      baseline,
      verdict: 'suspected',
      runDelayMs: 0,
      unseenSinceMs: null,
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
      if (suspicion !== undefined) guest.note({ ...suspicion, baseline: null });
      return {
        first: suspicion?.verdict === 'suspected',
        baseline: suspicion?.baseline ?? null,
        sampleGapMs: sampleGapMs(guest.host.registry.intervalMs(guest.slot)),
        portClosed: guest.tickerGone !== null,
        connected: guest.unconnectedSinceMs === null,
      };
    };
    guest.inquiry.ask(guest.witnesses, question, (round) => {
      // A stall that is not told yet lies between its samples: what they compare is nothing.
      if (guest.phase.is === 'suspected' && !guest.host.overdue(guest.nowMs)) this.settle(guest.phase, round);
    });
  }

  private settle(suspicion: Suspicion, round: Round): void {
    const { guest, teller } = this;
    if (guest.backlogged()) return this.awaitRound(suspicion, unseenRoundMs);
    const { load } = round.answers;
    const runDelayMs = suspicion.runDelayMs + (load === null ? 0 : load.delayShare * load.overMs);
    const decision = this.decide(suspicion, round, runDelayMs);
    const circumstances: Circumstances = { runDelayMs, told: round.told, detail: decision.reason };
    if (decision.verdict !== 'unknown') teller.visible();
    if (decision.tell === 'heartbeatStopped') {
      const { verdict } = decision;
      return teller.stopped(
        verdict,
        stopCause(suspicion, verdict),
        guest.nowMs - decision.overdueMs,
        circumstances,
      );
    }
    if (decision.tell === 'additionsStopped') return teller.additionsStopped(circumstances);
    if (decision.tell === 'visibilityLost') teller.visibilityLost(decision.reason, circumstances);
    return this.goOn(suspicion, decision, round, runDelayMs);
  }

  private decide(suspicion: Suspicion, round: Round, runDelayMs: number): Decision {
    const { guest } = this;
    const { nowMs } = guest;
    const intervalMs = guest.host.registry.intervalMs(guest.slot);
    return decide({
      answers: round.answers,
      countedSilenceMs: guest.silence.countedMs(runDelayMs),
      deadlineSilenceMs: intervalMs + guest.marginMs,
      windowEnded: suspicion.cause !== 'silence',
      patience: (verdict) => patienceMs(guest.policy, verdict, intervalMs),
      unseenForMs: nowMs - (suspicion.unseenSinceMs ?? nowMs),
      goneForMs: nowMs - (suspicion.goneSinceMs ?? nowMs),
      unseenTold: guest.announcer.isOpen('visibilityLost'),
      attemptEveryMs: guest.policy.classic?.attemptEveryMs ?? Math.min(intervalMs, roundEveryMs),
      unseenEveryMs: unseenRoundMs,
    });
  }

  private goOn(
    suspicion: Suspicion,
    decision: Extract<Decision, { againInMs: number }>,
    round: Round,
    runDelayMs: number,
  ): void {
    const { guest } = this;
    const { nowMs } = guest;
    const { verdict } = decision;
    const suspended = verdict === 'suspended';
    // QEMU does not run the guest, and no event said so: none of its silence counts.
    if (suspended) guest.silence.excuse(guest.silence.countedMs(0));
    const next: Suspicion = {
      ...suspicion,
      baseline: round.sample,
      verdict,
      runDelayMs: suspended ? 0 : runDelayMs,
      unseenSinceMs: verdict === 'unknown' ? (suspicion.unseenSinceMs ?? nowMs) : null,
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
