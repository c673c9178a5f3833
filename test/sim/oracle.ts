/**
 * Knows what really happened to each guest, and holds everything the server told against it. It reads what a client
 * reads, from the outbox, and shares no code with the monitor.
 *
 *  missed      I3: a stop that must be told was not told within its bound (late and never are one to a client)
 *  false       a stop was told of a guest that had none        early  told before its patience was over
 *  double      a stop, or the end of one, was told twice       verdict, cause  told as something else
 *  order       seq has a gap or runs back (I2)                 durable  seen before it was on disk (I1)
 *  resumed     an end without a beginning, or of a guest that does not tick; unresumed: it ticks and nobody said so
 *  evidence    a stop without its reasons                      defect   the service reported a failure of its own
 */
import { isEvent, type EventDraft, type VmEvent } from '@vmpulse/wire';
import type { SimGuest } from './guest.ts';
import { type Episode, isMomentary, portsOnly, silences, unheardCrash, unseenRule } from './episode.ts';
import { coldMarginMs, type FaultKind, leastMarginMs, type Rule, rules, sampleGapMs } from './rules.ts';
import type { World } from './world.ts';

/** A broken promise. */
export interface Failure {
  readonly rule: string;
  readonly guest: string;
  readonly atMs: number;
  readonly text: string;
}

interface Told {
  stop: { readonly seq: number; readonly episode: Episode | null } | null;
  additions: boolean;
  unseen: boolean;
  /** When its first tick after a stop was sent with a service listening. */
  tickedMs: number | null;
}

/** The design: single events of a cohort are held for at most 1 s. */
const cohortMs = 1_100;
/** A guest of which fewer ticks were heard since it booted need not be watched yet. */
const leastHeard = 3;

/** After this a decision that was already made has come through disk and outbox. */
const settleMs = 3_000;
/** Ticks after which the monitor knows a guest's lateness (design: cold until known). */
const warmTicks = 40;

/** Holds the server to its promises in one run. */
export class Oracle {
  readonly failures: Failure[] = [];
  readonly faults = new Map<FaultKind, number>();
  /** Where the service is not: it is dead, stalled, or its disk is full. */
  away = 0;
  /** Many faults begin at this moment. */
  striking = false;
  /** When it last came back. */
  private backMs = Number.NEGATIVE_INFINITY;
  /** How often the service went. */
  deaths = 0;
  /** No service is connected to any machine: what QEMU tells once is told to nobody. */
  down = false;
  /** Lateness that the service's own loop may add to a tick, ms. */
  loopLateMs = 0;
  committedSeq: () => number = () => Number.POSITIVE_INFINITY;
  trace: ((guest: string, text: string) => void) | null = null;
  private readonly world: World;
  private readonly byId = new Map<string, SimGuest>();
  private readonly open = new Set<Episode>();
  /** Moments that were over before the service could tell them. */
  private readonly late = new Set<Episode>();
  private readonly past = new Map<SimGuest, Episode[]>();
  private readonly told = new Map<SimGuest, Told>();
  private readonly decided = new Map<string, number>();
  private lastSeq = 0;

  /** Events that a client got. */
  get seen(): number {
    return this.lastSeq;
  }

  constructor(world: World) {
    this.world = world;
  }

  watch(guest: SimGuest): void {
    this.byId.set(guest.id, guest);
    this.told.set(guest, { stop: null, additions: false, unseen: false, tickedMs: null });
  }

  /** A fault begins. */
  begin(guest: SimGuest, kind: FaultKind, change: Partial<Rule> = {}): Episode {
    const rule: Rule = { ...rules[kind], ...change, ...(this.down ? unseenRule(kind) : {}) };
    // Of a stop that stands, that it was over for a time and came again is known to nobody who heard no tick.
    const unticked = this.down || this.told.get(guest)?.tickedMs === null;
    const unseen = (this.down && isMomentary(kind)) || (unticked && guest.isTold);
    const unheard = unseen || guest.heard < leastHeard || !guest.helloHeard;
    const { nowMs } = this.world;
    const lastTickMs = guest.lastEverMs ?? nowMs;
    const bound = rule.boundMs ?? ((): number => 0);
    // Many at once are held together for a second (the design's cohort rule).
    const crowded = this.open.size + 1 >= Math.max(3, 0.15 * this.byId.size);
    const many = crowded || this.striking ? cohortMs : 0;
    const fromMs = rule.from === 'silence' ? lastTickMs : nowMs;
    const boundMs = bound(guest, this.marginMs(guest));
    const lateMs = this.lateLoopMs(guest, boundMs);
    const coldBoundMs = bound(guest, Math.max(coldMarginMs, this.marginMs(guest)));
    const episode: Episode = {
      kind,
      rule,
      guest,
      startMs: nowMs,
      lastTickMs,
      intervalMs: guest.intervalMs,
      // One that was begun with anew knows nothing of the guest's lateness, and waits for a whole interval first.
      fullBoundMs: coldBoundMs + coldMarginMs + settleMs + lateMs,
      byMs: fromMs + boundMs + many + lateMs,
      endMs: Number.POSITIVE_INFINITY,
      disturbed: this.away > 0,
      unheard,
      stopTold: false,
      additionsTold: false,
      unseenTold: false,
      done: () => undefined,
    };
    episode.byMs = Math.max(episode.byMs, this.backMs + episode.fullBoundMs + this.unsureMs(episode));
    this.faults.set(kind, (this.faults.get(kind) ?? 0) + 1);
    this.open.add(episode);
    this.past.set(guest, [...(this.past.get(guest) ?? []).slice(-3), episode]);
    this.trace?.(guest.name, `FAULT ${kind}`);
    if (!this.isTold(episode)) this.check(episode);
    return episode;
  }

  /** What must be told of it has been told, or is overdue. */
  async settled(episode: Episode): Promise<void> {
    if (this.isTold(episode)) return;
    await new Promise<void>((resolve) => {
      episode.done = resolve;
    });
  }

  /** The guest is well again, or the next fault follows. */
  end(episode: Episode): void {
    episode.endMs = this.world.nowMs;
    // QEMU told it a service that stands still: it is told when that goes on.
    if (this.away > 0 && isMomentary(episode.kind)) this.late.add(episode);
    this.open.delete(episode);
    this.trace?.(episode.guest.name, `END of ${episode.kind}`);
  }

  /** The service was away until now: bounds count from here on. */
  back(): void {
    this.backMs = this.world.nowMs;
    for (const episode of this.late) episode.endMs = this.world.nowMs + coldMarginMs;
    this.late.clear();
    // What it knew of their lateness counts less after a stall, and a new one learns it anew.
    for (const guest of this.byId.values()) guest.steadyTicks = 0;
    for (const episode of this.open) {
      episode.disturbed = true;
      episode.byMs = Math.max(episode.byMs, this.world.nowMs + episode.fullBoundMs + this.unsureMs(episode));
    }
    for (const told of this.told.values()) told.tickedMs = null;
  }

  /** A new service waits ten seconds for a guest of whose pace no gap between two ticks has made it sure (ADR 0017). */
  private unsureMs({ rule, guest }: Episode): number {
    const heardMs = this.world.nowMs - this.backMs;
    const bySilence = rule.from === 'silence' || rule.visibility === 'must';
    if (!bySilence || heardMs >= 3 * guest.intervalMs + coldMarginMs) return 0;
    // The margin of one that was ever so late is as long as the interval gone by.
    return 20_000;
  }

  /** Many were struck at this moment: who fell silent just before is held for a second with them. */
  struck(): void {
    for (const episode of this.open) episode.byMs += cohortMs;
  }

  /** The service died: what it alone had seen, the next one cannot know. */
  died(): void {
    this.down = true;
    this.deaths += 1;
    for (const episode of this.open) {
      if (episode.kind === 'crashDumping') episode.rule = { ...episode.rule, ...unheardCrash };
      if (!portsOnly.has(episode.kind)) continue;
      const causes = ['silence', 'bootWindowEnded'];
      episode.rule = { ...episode.rule, stop: 'may', verdicts: silences, causes, additions: 'may' };
      episode.done();
    }
  }

  /** The service decided: the time of a decision is that, not when it was read. */
  appended(draft: EventDraft): void {
    if (draft.vm === undefined) return;
    this.decided.set(keyOf(draft.vm.id, draft.type, draft.timeMs), this.world.nowMs);
  }

  /** A guest ticked with a service listening; called for those of whom a stop is told. */
  ticked(guest: SimGuest): void {
    const told = this.told.get(guest) as Told;
    if (told.stop === null || told.tickedMs !== null || this.away > 0) return;
    const { nowMs } = this.world;
    told.tickedMs = nowMs;
    const { stop } = told;
    this.world.after(3 * guest.intervalMs + settleMs, () => {
      if (told.stop !== stop || told.tickedMs !== nowMs || this.away > 0) return;
      if (!guest.ticking || !guest.runs) return;
      this.fail('unresumed', guest, `ticks since ${Math.round(nowMs)} ms, seq ${stop.seq} stands`);
    });
  }

  /** A client got an event. */
  saw(event: VmEvent): void {
    if (event.seq !== this.lastSeq + 1) {
      this.fail('order', undefined, `seq ${event.seq} follows ${this.lastSeq}`);
    }
    this.lastSeq = Math.max(this.lastSeq, event.seq);
    if (event.seq > this.committedSeq()) {
      this.fail('durable', undefined, `seq ${event.seq} was seen; the disk has ${this.committedSeq()}`);
    }
    const id = event.data.vm?.id;
    const guest = id === undefined ? undefined : this.byId.get(id);
    if (guest === undefined) return;
    this.trace?.(guest.name, `TOLD ${event.type.slice(11)} ${summary(event)}`);
    this.judge(guest, event);
  }

  fail(rule: string, guest: SimGuest | undefined, text: string): void {
    this.trace?.(guest?.name ?? '', `FAILURE ${rule}: ${text}`);
    this.failures.push({ rule, guest: guest?.name ?? '', atMs: this.world.nowMs, text });
  }

  private judge(guest: SimGuest, event: VmEvent): void {
    const told = this.told.get(guest) as Told;
    if (isEvent(event, 'heartbeatStopped')) this.onStopped(guest, told, event);
    else if (isEvent(event, 'heartbeatResumed')) this.onResumed(guest, told, event);
    else if (isEvent(event, 'additionsStopped')) this.onAdditions(guest, told, event);
    else if (isEvent(event, 'additionsResumed')) {
      if (!told.additions) this.fail('resumed', guest, 'additionsResumed without additionsStopped');
      told.additions = false;
    } else if (isEvent(event, 'visibilityLost')) {
      if (told.unseen) this.fail('double', guest, 'visibilityLost told twice');
      told.unseen = true;
      const known = this.episodes(guest, this.decidedMs(guest, event));
      const episode = known.find(({ rule }) => (rule.visibility ?? 'never') !== 'never');
      if (episode !== undefined) {
        episode.unseenTold = true;
        if (this.isTold(episode)) episode.done();
      } else this.fail('false', guest, `visibilityLost: ${event.data.reason}`);
    } else if (isEvent(event, 'visibilityRegained')) {
      if (!told.unseen) this.fail('resumed', guest, 'visibilityRegained without visibilityLost');
      told.unseen = false;
    } else if (isEvent(event, 'vmDeleted')) {
      this.told.set(guest, { stop: null, additions: false, unseen: false, tickedMs: null });
    }
  }

  private onStopped(guest: SimGuest, told: Told, event: VmEvent<'heartbeatStopped'>): void {
    const decidedMs = this.decidedMs(guest, event);
    const { verdict, cause, evidence } = event.data;
    const candidates = this.episodes(guest, decidedMs).filter(
      ({ rule, startMs, endMs }) => rule.stop !== 'never' && startMs <= decidedMs && decidedMs <= endMs + 5,
    );
    const episode = candidates.find(({ stopTold }) => !stopTold) ?? candidates.at(-1);
    const what = `heartbeatStopped (${verdict}, ${cause}; ${evidence.detail ?? ''})`;
    if (episode === undefined) {
      const now = this.episodes(guest, decidedMs).map(({ kind }) => kind);
      this.fail('false', guest, `${what}, but it is well; of late: ${now.join(', ') || 'nothing'}`);
    } else if (episode.stopTold && episode.rule.again !== true)
      this.fail('double', guest, `${what} again for ${episode.kind}`);
    else this.compare(episode, event, decidedMs);
    if (
      told.stop !== null &&
      episode !== undefined &&
      episode.rule.again !== true &&
      told.stop.episode === episode
    ) {
      this.fail('double', guest, `${what} while seq ${told.stop.seq} is open`);
    }
    if (evidence.witnesses === undefined || evidence.subtracted === undefined) {
      this.fail('evidence', guest, `${what} without evidence`);
    }
    told.stop = { seq: event.seq, episode: episode ?? null };
    guest.isTold = true;
    told.tickedMs = null;
    if (episode === undefined) return;
    episode.stopTold = true;
    if (this.isTold(episode)) episode.done();
  }

  private compare(episode: Episode, event: VmEvent<'heartbeatStopped'>, decidedMs: number): void {
    const { rule, guest, kind, disturbed, lastTickMs } = episode;
    const { verdict, cause } = event.data;
    if (rule.verdicts?.includes(verdict) === false) {
      this.fail('verdict', guest, `${kind} was told as ${verdict}, not ${rule.verdicts.join(' or ')}`);
    }
    // Who was not there knows the end, and not what brought it about.
    const known = rule.causes;
    const causes = disturbed && known !== undefined ? [...known, 'foundDead', 'silence'] : known;
    if (causes?.includes(cause) === false) {
      this.fail('cause', guest, `${kind} was told with cause ${cause}, not ${causes.join(' or ')}`);
    }
    const patienceMs = rule.patienceMs?.(guest) ?? 0;
    if (rule.from === 'silence' && decidedMs - lastTickMs < Math.max(patienceMs, episode.intervalMs)) {
      this.fail('early', guest, `${kind} was told after ${Math.round(decidedMs - lastTickMs)} ms of silence`);
    }
  }

  private onResumed(guest: SimGuest, told: Told, event: VmEvent<'heartbeatResumed'>): void {
    if (told.stop === null) {
      this.fail('resumed', guest, `heartbeatResumed without heartbeatStopped (seq ${event.seq})`);
      return;
    }
    const { episode } = told.stop;
    const since = episode?.startMs ?? Number.NEGATIVE_INFINITY;
    if ((guest.lastEverMs ?? Number.NEGATIVE_INFINITY) <= since && !guest.agentUp) {
      this.fail('resumed', guest, 'heartbeatResumed, but it has not ticked');
    }
    if (!(event.data.outageMs >= 0)) this.fail('evidence', guest, 'heartbeatResumed without the outage');
    told.stop = null;
    told.tickedMs = null;
    guest.isTold = false;
  }

  private onAdditions(guest: SimGuest, told: Told, event: VmEvent<'additionsStopped'>): void {
    if (told.additions) this.fail('double', guest, 'additionsStopped told twice');
    told.additions = true;
    const decidedMs = this.decidedMs(guest, event);
    const episode = this.episodes(guest, decidedMs).find(
      ({ rule, startMs, endMs }) =>
        (rule.additions ?? 'never') !== 'never' && startMs <= decidedMs && decidedMs <= endMs + 5,
    );
    if (episode === undefined) {
      this.fail('false', guest, `additionsStopped (${event.data.cause}), but they run`);
      return;
    }
    if (decidedMs - episode.lastTickMs < (episode.rule.patienceMs?.(guest) ?? 0)) {
      this.fail('early', guest, `additionsStopped after ${Math.round(decidedMs - episode.lastTickMs)} ms`);
    }
    episode.additionsTold = true;
    if (this.isTold(episode)) episode.done();
  }

  private isTold({ rule, stopTold, additionsTold, unseenTold, unheard }: Episode): boolean {
    if (unheard) return true;
    if (rule.visibility === 'must' && !unseenTold) return false;
    return (rule.stop !== 'must' || stopTold) && (rule.additions !== 'must' || additionsTold);
  }

  private check(episode: Episode): void {
    this.world.at(episode.byMs + settleMs / 30, () => {
      if (!this.open.has(episode) || this.isTold(episode)) return;
      if (this.away > 0) this.world.after(1_000, () => this.check(episode));
      else if (this.world.nowMs < episode.byMs) this.check(episode);
      else {
        const silentMs = Math.round(this.world.nowMs - episode.lastTickMs);
        const what = `${episode.kind} was not told; its last tick is ${silentMs} ms ago`;
        this.fail('missed', episode.guest, what);
        episode.done();
      }
    });
  }

  /**
   * Of a service whose loop is late now and then: that lateness counts against no guest, which over a patience adds up,
   * and a round of witnesses over which it was late compares nothing and is made again: at once, or, where what is left
   * of a short comparison makes an idle guest look busy, an interval later.
   */
  private lateLoopMs(guest: SimGuest, boundMs: number): number {
    if (this.loopLateMs === 0) return 0;
    const gapMs = sampleGapMs(guest);
    return Math.max(gapMs, gapMs < 100 ? guest.intervalMs : 0) + this.loopLateMs + 0.05 * boundMs;
  }

  /** The most that the design lets the margin of this guest be. */
  private marginMs(guest: SimGuest): number {
    const lateMs = guest.greatestLateMs + this.loopLateMs;
    const warmMs = Math.min(Math.max(lateMs, leastMarginMs), Math.max(guest.intervalMs, leastMarginMs));
    return guest.steadyTicks < warmTicks ? Math.max(coldMarginMs, warmMs) : warmMs;
  }

  /** Those that were not long over at a time. */
  private episodes(guest: SimGuest, atMs: number): Episode[] {
    const since = atMs - settleMs;
    return (this.past.get(guest) ?? []).filter(({ endMs }) => endMs >= since);
  }

  private decidedMs(guest: SimGuest, event: VmEvent): number {
    const key = keyOf(guest.id, event.type.slice('io.vmpulse.'.length), Date.parse(event.time));
    return this.decided.get(key) ?? this.world.nowMs;
  }
}

function keyOf(vmId: string, type: string, wallMs: number): string {
  return `${vmId}|${type}|${Math.floor(wallMs)}`;
}

function summary(event: VmEvent): string {
  const { vm: _vm, eventType: _type, evidence, ...data } = event.data as Record<string, unknown>;
  const reason = (evidence as { detail?: string } | undefined)?.detail;
  return JSON.stringify(reason === undefined ? data : { ...data, reason });
}
