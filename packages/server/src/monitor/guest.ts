/** What is known of one watched guest, and the only ways to change where its watch stands. Times are monotonic ms. */
import type { Clock } from '../clock.ts';
import type { EventLog } from '../event/log.ts';
import type { AdditionsRecord } from '../machine-record.ts';
import { Announcer } from './announcer.ts';
import { Boots } from './boots.ts';
import type { Cohort } from './cohort.ts';
import { coldMarginMs, deadlineMs } from './deadline.ts';
import { Inquiry } from './inquiry.ts';
import type { MonitorObserver } from './observer.ts';
import { Pace } from './pace.ts';
import type { Pacer } from './pacer.ts';
import { extended, type Phase, withoutSuspicion } from './phase.ts';
import { type WatchPolicy, watchPolicy } from './policy.ts';
import { attentive, awaited, ownTimes, type Registry } from './registry.ts';
import { SilenceAccount } from './silence.ts';
import type { Stall } from './stall.ts';
import { type Reason, Suspensions } from './suspensions.ts';
import { TickTrust } from './trust.ts';
import type { WatchRequest } from './watch.ts';
import type { Witnesses } from './witnesses.ts';

/** A guest agent is not pinged more often: each ping is a turn of a process in the guest. */
const minPingEveryMs = 1_000;

/** What a watch needs of the monitor. */
export interface WatchHost {
  readonly clock: Clock;
  readonly log: EventLog;
  readonly observer: MonitorObserver;
  readonly registry: Registry;
  readonly pacer: Pacer;
  readonly cohort: Cohort;
  schedule(slot: number, dueMs: number): void;
  unschedule(slot: number): void;
  /** The loop is late: a stall will be told before anyone is visited again. */
  overdue(nowMs: number): boolean;
  /** The slot is free for another. */
  release(slot: number, generation: number): void;
}

/**
 * Which stops are told although heartbeatStopped is open. A process or a reset from outside begins a life whose end is
 * another stop; after a reset of the guest's own only facts are, lest a reboot loop be told at every turn.
 */
export type Retelling = 'none' | 'facts' | 'all';

/** One guest. */
export class Guest {
  readonly host: WatchHost;
  readonly slot: number;
  readonly announcer: Announcer;
  readonly silence: SilenceAccount;
  readonly suspensions: Suspensions;
  readonly trust: TickTrust;
  readonly boots: Boots;
  readonly pace: Pace;
  readonly inquiry: Inquiry;
  readonly onMemoryChanged: () => void;
  policy: WatchPolicy;
  witnesses: Witnesses | undefined;
  /** What its heartbeat is since it booted; null while it has none. */
  source: 'ticker' | 'agent' | null;
  /** What its heartbeat was before it was reset; null where it had none. */
  formerSource: 'ticker' | 'agent' | null;
  /** It was awaited when the service before ended. */
  awaitedBefore: boolean;
  /** Which of its additions stopped, where that was told and is not over; and when, monotonic ms. */
  additionsLost: 'ticker' | 'agent' | null;
  additionsLostAtMs: number = Number.NEGATIVE_INFINITY;
  /** Since when its agent answers though no ticker is heard; null while it does not. */
  agentAloneSinceMs: number | null = null;
  /** Input of its port is unread although the lane was drained. */
  backlogged: () => boolean = () => false;
  /** Since when its port is not connected; null while it is. */
  unconnectedSinceMs: number | null = null;
  /** How its heartbeat's additions ended by themselves, while QEMU tells that; null while that is not known. */
  tickerGone: 'portClosed' | 'bye' | null = null;
  /** Trusted: what is read now was sent after the guest last closed its port, and so takes that back. */
  readonly sinceClosed: TickTrust;
  agentGone: 'portClosed' | null = null;
  /** The guest opened its port since it was reset. */
  portOpened = false;
  /** The stop told last is of a boot that had not opened its port; see WatchMemory. */
  toldClosed: boolean;
  /** A tick was heard since `begin`. */
  heard = false;
  /** Ticks are awaited: it ticked in this process, whoever heard it. */
  armed: boolean;
  /** It ticked since it booted last. */
  started: boolean;
  retelling: Retelling = 'none';
  hello: AdditionsRecord = { version: null, osName: null, computerName: null };
  rememberedTickWallMs: number | null;
  /** Silence is not judged before: the guest was paused until a moment ago, or said hello. */
  private graceMs = 0;
  private isHeld = false;
  /** Stalls of the service up to here were taken off windows. */
  private forgivenToMs = Number.NEGATIVE_INFINITY;
  private rememberedLatenessMs: number | null;
  private readonly generation: number;
  private current: Phase = { is: 'off' };

  constructor(host: WatchHost, slot: number, request: WatchRequest) {
    const { clock, log, observer, registry, pacer } = host;
    const onFailure = (error: unknown): void => observer.failed(error);
    this.host = host;
    this.slot = slot;
    this.generation = registry.generationOf(slot);
    this.onMemoryChanged = request.onMemoryChanged ?? ((): void => undefined);
    this.policy = watchPolicy(request.configuration);
    this.armed = request.memory.armed;
    this.started = request.memory.armed;
    this.rememberedLatenessMs = request.memory.latenessMs ?? null;
    this.source = request.memory.armed ? (request.memory.source ?? 'ticker') : null;
    this.formerSource = request.memory.source ?? null;
    this.awaitedBefore = request.memory.awaited ?? false;
    this.additionsLost = request.memory.additionsLost ?? null;
    this.toldClosed = request.memory.toldClosed ?? false;
    this.rememberedTickWallMs = request.memory.lastTickWallMs;
    this.pace = new Pace(request.memory.intervalMs);
    this.boots = new Boots(request.memory.bootMs);
    this.announcer = new Announcer({ clock, log, onFailure }, request.vm, request.conditions);
    this.silence = new SilenceAccount(clock, registry, slot);
    this.suspensions = new Suspensions(clock);
    this.trust = new TickTrust(clock);
    this.sinceClosed = new TickTrust(clock);
    this.inquiry = new Inquiry(clock, pacer, onFailure);
  }

  get phase(): Phase {
    return this.current;
  }

  get nowMs(): number {
    return this.host.clock.monotonicMs();
  }

  get intervalMs(): number {
    if (this.source === 'agent') return this.pingEveryMs;
    return this.pace.intervalMs(this.policy);
  }

  /** How the additions that are its heartbeat ended by themselves; null while that is not known. */
  get additionsGone(): 'portClosed' | 'bye' | null {
    return this.source === 'agent' ? this.agentGone : this.tickerGone;
  }

  /** Of its additions some stopped, and the others are its heartbeat. */
  get hasOtherHeartbeat(): boolean {
    // Of a service that did not remember which: only a ticker has a pace.
    const lost = this.additionsLost ?? (this.pace.learnedMs === null ? 'agent' : 'ticker');
    return this.source !== null && this.source !== lost;
  }

  /** How often its agent is pinged where that is the heartbeat. */
  get pingEveryMs(): number {
    return Math.max(this.policy.intervalMs, minPingEveryMs);
  }

  get marginMs(): number {
    return this.host.registry.marginMs(this.slot);
  }

  get deadlineMs(): number {
    const { registry } = this.host;
    return deadlineMs(registry.lastMs(this.slot), registry.intervalMs(this.slot), this.marginMs);
  }

  /** Silence at which it is suspected: η + α. */
  get deadlineSpanMs(): number {
    return this.intervalMs + this.marginMs;
  }

  get judged(): boolean {
    return this.policy.watch && !this.suspensions.any && !this.isHeld;
  }

  /** An operator holds the watch. */
  get held(): boolean {
    return this.isHeld;
  }

  /** When silence may be judged at the earliest. */
  get judgedFromMs(): number {
    return this.graceMs;
  }

  /** The slot was given back: what is still called on this guest concerns another one. */
  get released(): boolean {
    return this.host.registry.generationOf(this.slot) !== this.generation;
  }

  /** Makes `phase` the present one: answers still out are dropped, and the next look is laid in. */
  enter(phase: Phase): void {
    if (this.released) return;
    this.inquiry.abandon();
    const silent = this.current.is === 'suspected' || this.current.is === 'stopped';
    if (silent && phase.is !== 'suspected' && phase.is !== 'stopped') this.host.cohort.left(this.slot);
    this.current = phase;
    const ticks = this.heard && this.started && this.source === 'ticker' && !this.pace.listening;
    const plain = phase.is === 'armed' && ticks && this.tickerGone === null;
    const { registry } = this.host;
    registry.set(this.slot, attentive, !plain || this.announcer.isOpen('visibilityLost'));
    registry.set(this.slot, ownTimes, phase.is !== 'armed' || this.suspensions.any);
    registry.set(this.slot, awaited, this.armed && phase.is !== 'off' && this.judged);
    this.reschedule();
  }

  /** Changes what is known within the present phase; answers still out and the next look stay. */
  note(phase: Phase): void {
    this.current = phase;
  }

  /** Lays the next look in. */
  reschedule(): void {
    const { phase, host, slot } = this;
    if (!this.judged) host.unschedule(slot);
    else if (phase.is === 'armed')
      host.schedule(slot, Math.max(this.deadlineMs - this.marginMs / 2, this.graceMs));
    else if (phase.is === 'window') host.schedule(slot, Math.max(phase.untilMs, this.graceMs));
    else if (phase.is === 'suspected') host.schedule(slot, phase.nextRoundMs);
    else host.unschedule(slot);
  }

  /** A process is there: nothing was heard of it yet, and nothing of an earlier one counts. */
  begin(witnesses: Witnesses): void {
    this.suspensions.clear();
    this.trust.restore();
    this.sinceClosed.restore();
    this.tickerGone = null;
    this.agentGone = null;
    this.portOpened = false;
    this.heard = false;
    this.unconnectedSinceMs = this.nowMs;
    this.graceMs = 0;
    this.witnesses = witnesses;
    this.agentAloneSinceMs = null;
  }

  /** An operator holds the watch, or no longer: then silence counts from that moment on. */
  setHeld(held: boolean): void {
    if (held === this.isHeld) return;
    this.isHeld = held;
    if (this.phase.is === 'off') return;
    if (!held) this.silence.excuse(Number.POSITIVE_INFINITY);
    this.reprieve(held ? 0 : coldMarginMs);
  }

  /** What an earlier service learned of its lateness holds for the same process, or the same saved state. */
  recallLateness(): void {
    const { rememberedLatenessMs, host, slot } = this;
    if (rememberedLatenessMs === null || this.heard) return;
    host.registry.recallLateness(slot, rememberedLatenessMs);
  }

  /** A guest that boots anew, or another machine's process: what was learned of the one before is void. */
  forgetLateness(): void {
    this.rememberedLatenessMs = null;
  }

  /** Its ticker is there, unless that was said before it went. */
  tickerSpoke(): void {
    if (this.sinceClosed.trusted) this.tickerGone = null;
  }

  /** The port of its heartbeat was found closed. */
  foundClosed(): void {
    if (this.source === 'agent' || this.formerSource === 'agent') this.agentGone = 'portClosed';
    else this.tickerGone = 'portClosed';
  }

  /** Silence is not judged for `ms` from now on. */
  allow(ms: number): void {
    this.graceMs = Math.max(this.graceMs, this.nowMs + ms);
  }

  /** Gives a suspicion up; silence is judged anew, and not before the grace is over. */
  reprieve(graceMs: number): void {
    this.graceMs = Math.max(this.graceMs, this.nowMs + graceMs);
    this.enter(withoutSuspicion(this.phase, this.nowMs));
  }

  /** The ticker's interval is known anew. */
  setPace(): void {
    this.host.registry.setPace(this.slot, this.intervalMs, this.nowMs);
    this.onMemoryChanged();
  }

  /** Silence is not judged until the reason is gone. */
  hold(reason: Reason): void {
    this.suspensions.add(reason);
    this.enter(withoutSuspicion(this.phase, this.nowMs));
  }

  /** The last suspension ended after `pausedMs`: that time is taken off, and what was awaited is awaited again. */
  resume(pausedMs: number | undefined): void {
    if (pausedMs === undefined || this.phase.is === 'off') return;
    this.silence.excuse(pausedMs);
    this.boots.excuse(pausedMs, this.nowMs);
    this.extendWindow(pausedMs);
    this.reprieve(coldMarginMs);
  }

  /** The service itself stood still: that counts against nobody, and witnesses asked meanwhile compare nothing. */
  forgive(stall: Stall): void {
    if (this.phase.is === 'off') return;
    const { suspensions } = this;
    // From there on it is taken off as time suspended.
    const endedMs = suspensions.any ? Math.min(stall.endedMs, suspensions.startedMs) : stall.endedMs;
    const lengthMs = endedMs - stall.startedMs;
    if (lengthMs <= 0) return;
    this.silence.forgive({ ...stall, endedMs });
    // A host that slept while this service stood still is noticed twice: a window is not extended twice for it.
    const newMs = Math.max(0, endedMs - Math.max(stall.startedMs, this.forgivenToMs));
    this.forgivenToMs = Math.max(this.forgivenToMs, endedMs);
    this.boots.excuse(newMs, endedMs);
    this.extendWindow(newMs);
    if (stall.long) this.graceMs = Math.max(this.graceMs, endedMs + coldMarginMs);
    const { phase } = this;
    if (phase.is !== 'suspected') return;
    // A short one is taken off what the witnesses compare: a host that hiccups all the time must not hide a hang.
    if (!stall.long) this.note({ ...phase, stalledMs: phase.stalledMs + lengthMs });
    else this.enter({ ...phase, baseline: null, stalledMs: 0, nextRoundMs: endedMs });
  }

  /** Gives the slot back. */
  release(): void {
    this.enter({ is: 'off' });
    this.abandon();
    this.host.release(this.slot, this.generation);
  }

  /** Drops what was asked and not answered, and hears nothing any more. */
  abandon(): void {
    this.inquiry.abandon();
    this.trust.revoke();
    this.sinceClosed.revoke();
  }

  private extendWindow(lengthMs: number): void {
    if (this.current.is === 'window') this.current = extended(this.current, lengthMs, this.nowMs);
  }
}
