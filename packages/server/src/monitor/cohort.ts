/**
 * Many guests that fall silent at once look like a broken host or a broken monitor. That is said at once; a few of
 * them (canaries) are asked first, and the single stops are told within a second, tagged `correlated`. Nothing is
 * suppressed.
 * Monotonic milliseconds.
 */
import type { VmReference, WitnessAnswer } from '@vmpulse/wire';
import type { Clock } from '../clock.ts';

/** A cohort is at least so many guests, */
const minCohort = 3;
/** and at least this share of those watched. */
const minCohortShare = 0.15;
/** Longest time a single stop is held back for its cohort's sake. */
const cohortHoldMs = 1_000;
/** Members whose witnesses speak for the host. */
const canaryCount = 3;
/** How often a stop that is held back is looked at again. */
const lookAgainMs = 100;
/** Members that are looked at for their age when one more joins. */
const maxKeptLooks = 64;
/** Members named in the event. */
const maxNamed = 100;
/** How long the number of guests watched is taken to stay the same. */
const watchedForMs = 1_000;

/** A guest that fell silent. */
export interface CohortMember {
  readonly slot: number;
  readonly vm: VmReference;
  /** η + α of this guest: stops at one moment are noticed within it, as each guest's next tick falls due. */
  readonly deadlineMs: number;
}

/** What is told of a cohort. */
export interface CohortNotice {
  readonly silent: number;
  readonly watched: number;
  readonly withinMs: number;
  readonly vms: readonly VmReference[];
  readonly host: string;
}

/** What the cohort rule needs. */
export interface CohortOptions {
  readonly clock: Clock;
  /** Guests whose ticks are awaited. */
  readonly watched: () => number;
  /** How the host is, for people. */
  readonly hostState: () => string;
  readonly tell: (notice: CohortNotice) => void;
}

interface Silent {
  readonly atMs: number;
  readonly deadlineMs: number;
  readonly vm: VmReference;
}

interface Open {
  readonly openedMs: number;
  readonly host: string;
  readonly members: Set<number>;
  /** What each canary showed; null until its witnesses have answered. */
  readonly canaries: Map<number, string | null>;
  lastJoinedMs: number;
}

/** The cohort rule of one host. */
export class Cohort {
  private readonly options: CohortOptions;
  /** Guests that fell silent of late and are silent still, oldest first. */
  private readonly silent = new Map<number, Silent>();
  private open: Open | null = null;
  private windowMs = 0;
  private watchedCount = 0;
  private watchedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: CohortOptions) {
    this.options = options;
  }

  /** A guest fell silent. */
  joined({ slot, vm, deadlineMs }: CohortMember): void {
    const nowMs = this.options.clock.monotonicMs();
    this.forget(nowMs);
    this.windowMs = deadlineMs;
    this.silent.delete(slot);
    this.silent.set(slot, { atMs: nowMs, deadlineMs, vm });
    const { open } = this;
    if (open !== null) {
      open.members.add(slot);
      open.lastJoinedMs = nowMs;
    } else if (this.silent.size >= minCohort && this.silent.size >= minCohortShare * this.watched(nowMs)) {
      this.begin(nowMs);
    }
  }

  /** The guest is no longer silent: it ticks, was paused, or is gone. One that was told as stopped still counts. */
  left(slot: number): void {
    this.silent.delete(slot);
    const { open } = this;
    if (open === null) return;
    open.members.delete(slot);
    if (open.canaries.has(slot)) open.canaries.set(slot, 'not silent any more');
  }

  /** The witnesses of a guest answered. */
  heard(slot: number, verdict: string): void {
    const canaries = this.open?.canaries;
    if (canaries?.has(slot) === true) canaries.set(slot, verdict);
  }

  /** How long a stop of this guest is held back from now; 0: it is told. */
  waitMs(slot: number): number {
    const { open } = this;
    if (open === null || !open.members.has(slot)) return 0;
    const leftMs = open.openedMs + cohortHoldMs - this.options.clock.monotonicMs();
    const answered = [...open.canaries.values()].every((verdict) => verdict !== null);
    return leftMs <= 0 || answered ? 0 : Math.min(leftMs, lookAgainMs);
  }

  /** What the cohort adds to the evidence of one of its members; null of a guest that fell silent by itself. */
  testimony(slot: number): readonly WitnessAnswer[] | null {
    const { open } = this;
    if (open === null || !open.members.has(slot)) return null;
    const verdicts = [...open.canaries.values()].map((verdict) => verdict ?? 'no answer yet');
    return [
      { witness: 'host', answer: open.host, tookMs: 0 },
      { witness: 'canaries', answer: verdicts.join(', '), tookMs: 0 },
    ];
  }

  private begin(nowMs: number): void {
    const { hostState, tell } = this.options;
    const members = [...this.silent];
    const host = hostState();
    this.open = {
      openedMs: nowMs,
      host,
      members: new Set(this.silent.keys()),
      canaries: new Map(members.slice(-canaryCount).map(([slot]) => [slot, null])),
      lastJoinedMs: nowMs,
    };
    tell({
      silent: members.length,
      watched: this.watched(nowMs),
      withinMs: Math.round(nowMs - (members[0]?.[1].atMs ?? nowMs)),
      vms: members.slice(0, maxNamed).map(([, { vm }]) => vm),
      host,
    });
  }

  /** Whoever fell silent longer ago than a deadline did so for another reason. */
  private forget(nowMs: number): void {
    let kept = 0;
    for (const [slot, { atMs, deadlineMs }] of this.silent) {
      if (nowMs - atMs > deadlineMs) this.silent.delete(slot);
      // In a mass stop the oldest are looked at each time, not all.
      else if ((kept += 1) >= maxKeptLooks) break;
    }
    const { open } = this;
    if (open !== null && nowMs - open.lastJoinedMs > Math.max(this.windowMs, cohortHoldMs)) this.open = null;
  }

  private watched(nowMs: number): number {
    if (nowMs - this.watchedAtMs >= watchedForMs) {
      this.watchedCount = this.options.watched();
      this.watchedAtMs = nowMs;
    }
    return this.watchedCount;
  }
}
