/**
 * What is known of every guest's ticks, in typed arrays indexed by slot: one million guests are some 60 MB, and a
 * tick is a handful of stores. Slots are given out again; a generation tells an old holder from a new one.
 */
import { coldMarginMs, latenessWindowTicks, marginMs, warmTicks } from './deadline.ts';
import { shortStallMs, type Stall } from './stall.ts';

/** The next tick ends something (a suspicion, a boot, a stop) and must be told to the slot's watch. */
export const attentive = 1;
/** The next gap between ticks says nothing of lateness: the guest was paused, or its ticker began anew. */
const gapUnknown = 2;
/** Its watch has times of its own (a boot, a window, a suspicion, a suspension): a stall is told to the watch. */
export const ownTimes = 4;
/** Its ticks are awaited and its silence is judged. */
export const awaited = 8;

/** Buckets of the last minute's ticks. */
const bucketsPerSlot = 6;
/** Width of one, milliseconds. */
const tickBucketMs = 10_000;

/** The bucket of a time, counted so that there are buckets before the clock began, too. */
function epochOf(nowMs: number): number {
  // As a 32-bit integer, whose remainder is ten times as cheap as that of a double.
  return (Math.floor(nowMs / tickBucketMs) + bucketsPerSlot) | 0;
}

/** Ticks of all guests. Times are monotonic milliseconds. */
export class Registry {
  private capacity: number;
  private used = 0;
  private readonly free: number[] = [];
  private last: Float64Array;
  private windowStart: Float64Array;
  private interval: Float32Array;
  private lateNow: Float32Array;
  private lateBefore: Float32Array;
  private ticksInWindow: Uint16Array;
  /** Time taken off since the last tick, ms. */
  private taken: Float32Array;
  private flags: Uint8Array;
  private generation: Uint32Array;
  private counts: Uint16Array;
  private countEpoch: Uint32Array;
  private total = 0;
  /** When the loop runs next, or should have. A tick read long after that waited for this service, not its guest. */
  private loopDueMs = Number.NEGATIVE_INFINITY;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.last = new Float64Array(capacity);
    this.windowStart = new Float64Array(capacity);
    this.interval = new Float32Array(capacity);
    this.lateNow = new Float32Array(capacity);
    this.lateBefore = new Float32Array(capacity);
    this.ticksInWindow = new Uint16Array(capacity);
    this.taken = new Float32Array(capacity);
    this.flags = new Uint8Array(capacity);
    this.generation = new Uint32Array(capacity);
    this.counts = new Uint16Array(capacity * bucketsPerSlot);
    this.countEpoch = new Uint32Array(capacity);
  }

  /** Slots there is room for. */
  get size(): number {
    return this.capacity;
  }

  /** Ticks recorded since the start. */
  get totalTicks(): number {
    return this.total;
  }

  /** An empty slot. */
  allocate(): number {
    const slot = this.free.pop() ?? this.used++;
    if (slot >= this.capacity) this.grow(Math.max(16, this.capacity * 2));
    this.flags[slot] = 0;
    this.taken[slot] = 0;
    return slot;
  }

  /** Gives the slot back; does nothing for one who held it in an earlier generation. */
  release(slot: number, generation: number): void {
    if (generation !== this.generationOf(slot)) return;
    this.generation[slot] = generation + 1;
    this.flags[slot] = 0;
    this.free.push(slot);
  }

  /** Counts up each time the slot is given back. */
  generationOf(slot: number): number {
    return this.generation[slot] as number;
  }

  /** Begins a guest's life at `nowMs`: nothing is known of its lateness, its last minute is empty. */
  begin(slot: number, intervalMs: number, nowMs: number): void {
    this.last[slot] = nowMs;
    this.interval[slot] = intervalMs;
    this.lateNow[slot] = 0;
    this.lateBefore[slot] = 0;
    this.ticksInWindow[slot] = 0;
    this.flags[slot] = gapUnknown;
    this.taken[slot] = 0;
    this.restartCount(slot, nowMs);
  }

  /** Records a tick. True when the slot's watch must hear of it. */
  tick(slot: number, nowMs: number): boolean {
    const flags = this.flags[slot] as number;
    if ((flags & gapUnknown) === 0) this.learn(slot, nowMs);
    else {
      this.flags[slot] = flags & ~gapUnknown;
      // Whatever takes time off makes the gap unknown as well.
      this.taken[slot] = 0;
    }
    this.last[slot] = nowMs;
    this.count(slot, nowMs);
    this.total += 1;
    return (flags & attentive) !== 0;
  }

  /** The loop runs at `atMs` (-Infinity: not at all). Lateness is learned only while it runs when it should. */
  expectLoop(atMs: number): void {
    this.loopDueMs = atMs;
  }

  private learn(slot: number, nowMs: number): void {
    if (nowMs - this.loopDueMs > shortStallMs) return;
    const late = nowMs - (this.last[slot] as number) - (this.interval[slot] as number);
    if (late > (this.lateNow[slot] as number)) this.lateNow[slot] = late;
    const ticks = (this.ticksInWindow[slot] as number) + 1;
    if (ticks < latenessWindowTicks) {
      this.ticksInWindow[slot] = ticks;
      return;
    }
    this.lateBefore[slot] = this.lateNow[slot] as number;
    this.lateNow[slot] = 0;
    // Not to zero: what was learned holds, the guest is not cold again.
    this.ticksInWindow[slot] = warmTicks;
  }

  private count(slot: number, nowMs: number): void {
    const epoch = epochOf(nowMs);
    const base = slot * bucketsPerSlot;
    const behind = epoch - (this.countEpoch[slot] as number);
    if (behind > 0) {
      for (let step = 0; step < Math.min(behind, bucketsPerSlot); step += 1) {
        this.counts[base + ((epoch - step) % bucketsPerSlot)] = 0;
      }
      this.countEpoch[slot] = epoch;
    }
    const at = base + (epoch % bucketsPerSlot);
    const count = this.counts[at] as number;
    if (count < 0xffff) this.counts[at] = count + 1;
  }

  /** The last minute begins with the tick just recorded: the guest was not expected to tick before. */
  countAnew(slot: number, nowMs: number): void {
    this.restartCount(slot, nowMs);
    this.count(slot, nowMs);
  }

  private restartCount(slot: number, nowMs: number): void {
    const base = slot * bucketsPerSlot;
    this.counts.fill(0, base, base + bucketsPerSlot);
    this.countEpoch[slot] = epochOf(nowMs);
    this.windowStart[slot] = nowMs;
  }

  /** Time of the last tick; moved on by time that does not count (see `resume`). */
  lastMs(slot: number): number {
    return this.last[slot] as number;
  }

  /** Time taken off since the last tick: it really came so much before `lastMs`. */
  takenMs(slot: number): number {
    return this.taken[slot] as number;
  }

  intervalMs(slot: number): number {
    return this.interval[slot] as number;
  }

  /** The ticker began anew, perhaps at another pace. */
  setPace(slot: number, intervalMs: number, nowMs: number): void {
    if (this.interval[slot] !== Math.fround(intervalMs)) this.restartCount(slot, nowMs);
    this.interval[slot] = intervalMs;
    this.skipGap(slot);
  }

  /** The next gap between ticks teaches nothing of lateness. */
  skipGap(slot: number): void {
    this.flags[slot] = (this.flags[slot] as number) | gapUnknown;
  }

  has(slot: number, flag: number): boolean {
    return ((this.flags[slot] as number) & flag) !== 0;
  }

  set(slot: number, flag: number, on: boolean): void {
    const flags = this.flags[slot] as number;
    this.flags[slot] = on ? flags | flag : flags & ~flag;
  }

  /** Slots that have a flag. One pass over an array: a million take a millisecond or two. */
  slotsWith(flag: number): number {
    let slots = 0;
    for (let slot = 0; slot < this.used; slot += 1) if (this.has(slot, flag)) slots += 1;
    return slots;
  }

  /** Greatest lateness seen, ms; null while too few ticks were. */
  latenessMs(slot: number): number | null {
    if ((this.ticksInWindow[slot] as number) < warmTicks) return null;
    return Math.round(Math.max(this.lateNow[slot] as number, this.lateBefore[slot] as number));
  }

  /** What was learned of the same guest before: it is not cold. */
  recallLateness(slot: number, latenessMs: number): void {
    this.lateBefore[slot] = latenessMs;
    this.ticksInWindow[slot] = Math.max(this.ticksInWindow[slot] as number, warmTicks);
  }

  /** Margin for lateness (α) of this guest. */
  marginMs(slot: number): number {
    const late = Math.max(this.lateNow[slot] as number, this.lateBefore[slot] as number);
    return marginMs(this.interval[slot] as number, this.ticksInWindow[slot] as number, late);
  }

  /**
   * Takes up to `lengthMs` in which the guest could not tick off its silence, and answers how much that was. Its next
   * gap teaches nothing, and its margin is that of a cold guest until it has shown its pace again.
   */
  excuse(slot: number, lengthMs: number, nowMs: number): number {
    const last = this.last[slot] as number;
    const excusedMs = Math.max(0, Math.min(lengthMs, nowMs - last));
    this.takeOff(slot, excusedMs);
    this.ticksInWindow[slot] = 0;
    this.skipGap(slot);
    this.restartCount(slot, nowMs);
    return excusedMs;
  }

  /** The guest boots anew: nothing is known of its lateness any more. */
  reboot(slot: number, nowMs: number): void {
    this.ticksInWindow[slot] = 0;
    this.lateNow[slot] = 0;
    this.lateBefore[slot] = 0;
    this.skipGap(slot);
    this.restartCount(slot, nowMs);
  }

  /** Takes a stall of this service's own, which may have been the whole host's, off; answers how much that was. */
  forgive(slot: number, stall: Stall): number {
    const last = this.last[slot] as number;
    const forgivenMs = stall.endedMs - Math.max(last, stall.startedMs);
    if (forgivenMs <= 0) return 0;
    this.takeOff(slot, forgivenMs);
    if (stall.long) this.ticksInWindow[slot] = 0;
    this.skipGap(slot);
    return forgivenMs;
  }

  /**
   * Forgives a stall to every guest without times of its own, and names the others. One pass over arrays: with a
   * million guests it takes some 10 ms, so that forgiving a stall is not the next one.
   */
  forgiveAll(stall: Stall, other: (slot: number) => void): void {
    for (let slot = 0; slot < this.used; slot += 1) {
      if (this.has(slot, ownTimes)) other(slot);
      else this.forgive(slot, stall);
    }
  }

  private takeOff(slot: number, lengthMs: number): void {
    this.last[slot] = (this.last[slot] as number) + lengthMs;
    this.taken[slot] = (this.taken[slot] as number) + lengthMs;
  }

  /**
   * Ticks received of those expected in the last minute, 0 to 100: over the present ten seconds and the fifty before
   * them, or since the guest began where that is less.
   */
  percentage(slot: number, nowMs: number): number {
    const epoch = epochOf(nowMs);
    // The start of the oldest bucket; epochs count from one round before the clock's beginning.
    const from = Math.max((epoch - 2 * bucketsPerSlot + 1) * tickBucketMs, this.windowStart[slot] as number);
    const age = epoch - (this.countEpoch[slot] as number);
    const base = slot * bucketsPerSlot;
    let received = 0;
    for (let step = Math.max(0, age); step < bucketsPerSlot; step += 1) {
      received += this.counts[base + ((epoch - step) % bucketsPerSlot)] as number;
    }
    // Only whole intervals are expected, so that a tick not yet due is not missed; the margin is lateness, not loss.
    const interval = this.interval[slot] as number;
    const margin = this.marginMs(slot);
    const expected = Math.floor((nowMs - from - Math.min(margin, coldMarginMs)) / interval);
    if (expected <= 0) return nowMs - (this.last[slot] as number) <= interval + margin ? 100 : 0;
    return Math.min(100, Math.round((100 * received) / expected));
  }

  private grow(capacity: number): void {
    const widen = <A extends { set(from: A): void }>(wide: A, old: A): A => {
      wide.set(old);
      return wide;
    };
    this.last = widen(new Float64Array(capacity), this.last);
    this.windowStart = widen(new Float64Array(capacity), this.windowStart);
    this.interval = widen(new Float32Array(capacity), this.interval);
    this.lateNow = widen(new Float32Array(capacity), this.lateNow);
    this.lateBefore = widen(new Float32Array(capacity), this.lateBefore);
    this.ticksInWindow = widen(new Uint16Array(capacity), this.ticksInWindow);
    this.taken = widen(new Float32Array(capacity), this.taken);
    this.flags = widen(new Uint8Array(capacity), this.flags);
    this.generation = widen(new Uint32Array(capacity), this.generation);
    this.counts = widen(new Uint16Array(capacity * bucketsPerSlot), this.counts);
    this.countEpoch = widen(new Uint32Array(capacity), this.countEpoch);
    this.capacity = capacity;
  }
}
