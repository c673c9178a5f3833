/**
 * Tells what was decided of one guest, with its evidence.
 *
 * Invariants kept here:
 *  I3 one heartbeatStopped for a stop, one heartbeatResumed for a return (see announcer.ts and `Retelling`);
 *  I5 what cannot be seen is told as visibilityLost, never as a stop, and is seen again before anything else is told.
 */
import type { StopCause, StopVerdict } from '@vmpulse/wire';
import { type Circumstances, evidenceOf } from './evidence.ts';
import type { Guest } from './guest.ts';

/** Causes that are inferred from silence; the others are facts. */
const inferred: ReadonlySet<StopCause> = new Set<StopCause>(['silence', 'bootWindowEnded']);

/** One guest's teller. */
export class Teller {
  private readonly guest: Guest;

  constructor(guest: Guest) {
    this.guest = guest;
  }

  /** The guest has stopped. `sinceMs`: when that could first be told. */
  stopped(verdict: StopVerdict, cause: StopCause, sinceMs: number, circumstances: Circumstances): void {
    const { guest } = this;
    const { announcer, host } = guest;
    this.visible();
    const onDurable = (): void => host.observer.stopped(verdict, cause, guest.nowMs - sinceMs);
    const others = inferred.has(cause) ? host.cohort.testimony(guest.slot) : null;
    const told = [...(circumstances.told ?? []), ...(others ?? [])];
    const data = {
      verdict,
      cause,
      evidence: this.evidence({ ...circumstances, told }),
      ...(others === null ? {} : { correlated: true as const }),
      ...(guest.held ? { held: true as const } : {}),
    };
    const statement = { type: 'heartbeatStopped' as const, data };
    if (!announcer.isOpen('heartbeatStopped')) {
      const outageFromMs = guest.heard ? guest.silence.lastTickMs : guest.nowMs;
      announcer.open('heartbeatStopped', statement, outageFromMs, onDurable);
    } else if (guest.retelling === 'all' || (guest.retelling === 'facts' && !inferred.has(cause))) {
      announcer.stopAgain(statement, onDurable);
    } else {
      // The same outage, and no news: but how it stands is told on request, and recovery goes by it.
      announcer.remainStopped(verdict);
    }
    this.enterStopped();
  }

  /** The guest is found as it was told. */
  stoppedStill(): void {
    this.visible();
    this.enterStopped();
  }

  private enterStopped(): void {
    const { guest } = this;
    guest.retelling = 'none';
    const { portOpened, started, formerSource } = guest;
    // Of the agent's port one does not know.
    const toldClosed = !portOpened && !started && formerSource !== 'agent';
    if (toldClosed !== guest.toldClosed) {
      guest.toldClosed = toldClosed;
      guest.onMemoryChanged();
    }
    // An outage is no lateness to learn from.
    guest.host.registry.skipGap(guest.slot);
    guest.enter({ is: 'stopped' });
  }

  /** The guest runs, its ticker does not. */
  additionsStopped(circumstances: Circumstances): void {
    const { guest } = this;
    this.visible();
    const data = { cause: guest.additionsGone ?? 'silence', evidence: this.evidence(circumstances) } as const;
    guest.additionsLost = guest.source;
    guest.additionsLostAtMs = guest.nowMs;
    guest.announcer.open('additionsStopped', { type: 'additionsStopped', data }, guest.silence.lastTickMs);
    guest.host.registry.skipGap(guest.slot);
    guest.enter({ is: 'additionsStopped' });
  }

  /** The guest cannot be judged. */
  visibilityLost(verdict: 'unknown' | 'starved', reason: string, circumstances: Circumstances): void {
    const data = { verdict, reason, evidence: this.evidence(circumstances) };
    this.guest.announcer.open('visibilityLost', { type: 'visibilityLost', data }, this.guest.nowMs);
  }

  /** The guest can be judged. */
  visible(): void {
    this.guest.announcer.close('visibilityLost', (outageMs) => ({
      type: 'visibilityRegained',
      data: { outageMs },
    }));
  }

  /** The guest ticks. `first`: for the first time since it booted. */
  ticking(first: boolean): void {
    const { guest } = this;
    const { announcer } = guest;
    this.visible();
    if (first) guest.host.registry.countAnew(guest.slot, guest.nowMs);
    if (announcer.isOpen('heartbeatStopped')) {
      guest.host.observer.resumed();
      announcer.close('heartbeatStopped', (outageMs, stoppedSeq) => ({
        type: 'heartbeatResumed',
        data: { outageMs, stoppedSeq },
      }));
    } else if (first) {
      // While it is still being measured the longest is waited for; that is not what it ticks at.
      const intervalMs = guest.pace.measuring ? guest.policy.intervalMs : guest.intervalMs;
      const additionsVersion = guest.hello.version;
      const source = guest.source ?? 'ticker';
      announcer.tell({ type: 'heartbeatStarted', data: { source, intervalMs, additionsVersion } });
    }
    // That the agent answers says nothing of a ticker that stopped.
    if (guest.source === 'agent' && guest.hasOtherHeartbeat) return;
    guest.additionsLost = null;
    announcer.close('additionsStopped', (outageMs) => ({ type: 'additionsResumed', data: { outageMs } }));
  }

  private evidence(circumstances: Circumstances): ReturnType<typeof evidenceOf> {
    const { guest } = this;
    const { registry, clock } = guest.host;
    const account = {
      nowMs: guest.nowMs,
      wallMs: clock.wallMs(),
      lastTickMs: guest.heard ? guest.silence.lastTickMs : null,
      rememberedTickWallMs: guest.rememberedTickWallMs,
      suspendedMs: guest.silence.excused,
      intervalMs: guest.armed ? registry.intervalMs(guest.slot) : null,
      marginMs: guest.armed ? guest.marginMs : null,
    };
    return evidenceOf(account, circumstances);
  }
}
