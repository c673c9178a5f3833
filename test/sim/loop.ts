/**
 * One service's event loop on simulated time, as Node has it: timers, then everything that sockets hold (poll), then
 * what waited for the poll, callback by callback, promises going on after each. While it is stalled the world goes on
 * and fills its sockets; what it does first when it goes on again, and which socket it reads first, is chance.
 */
import type { Clock, Timer } from '../../packages/server/src/clock.ts';
import type { TickListener } from '../../packages/server/src/tick/source.ts';
import { type Entry, EntryHeap } from './queue.ts';
import type { Random } from './random.ts';
import type { Process, World } from './world.ts';

/** How late timers fire, and in how much of the cases. */
export interface LoopPace {
  /** Ordinary lateness of a wake-up, ms: Node rounds to whole ones, and the kernel adds its own. */
  readonly lagMs: number;
  /** Share of wake-ups that are as late as this. */
  readonly lateShare: number;
  readonly lateMs: number;
}

interface Input {
  readonly channel: number;
  readonly run: () => void;
  order: number;
}

interface Immediate {
  readonly run: () => void;
  turns: number;
}

/** The clock and event loop of one life of the service. */
export class ServiceLoop implements Clock, Process {
  dirty = false;
  private readonly world: World;
  private readonly random: Random;
  private readonly pace: LoopPace;
  private readonly timers = new EntryHeap();
  private inbox: Input[] = [];
  private immediates: Immediate[] = [];
  /** Of them, how many this turn's check phase still looks at. */
  private checking = 0;
  private phase: 'timers' | 'poll' | 'check' = 'timers';
  private awake = false;
  private dead = false;
  private busyUntilMs = 0;
  private lagOf: Entry | undefined;
  private lagMs = 0;

  constructor(world: World, random: Random, pace: LoopPace) {
    this.world = world;
    this.random = random;
    this.pace = pace;
  }

  /** It was killed: nothing of it happens any more. */
  kill(): void {
    this.dead = true;
    this.awake = false;
    this.inbox = [];
    this.immediates = [];
    this.timers.clear();
  }

  get killed(): boolean {
    return this.dead;
  }

  /** It does not run for so long: SIGSTOP, a swapped-out heap, a host that has no time for it. */
  stall(ms: number): void {
    this.busyUntilMs = Math.max(this.busyUntilMs, this.world.nowMs + ms);
  }

  monotonicMs(): number {
    return this.world.nowMs;
  }

  wallMs(): number {
    return this.world.wallMs();
  }

  setTimer(callback: () => void, delayMs: number): Timer {
    if (this.dead) return { cancel: () => undefined };
    // As Node's: whole milliseconds, one at least.
    const entry = this.timers.put(this.world.nowMs + Math.max(Math.trunc(delayMs), 1), callback);
    return {
      cancel: () => {
        entry.run = null;
      },
    };
  }

  afterPoll(callback: () => void): void {
    // As SystemClock: two immediates, so that one whole poll lies between.
    if (!this.dead) this.immediates.push({ run: callback, turns: 2 });
    this.awake ||= this.world.nowMs >= this.busyUntilMs;
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        signal?.removeEventListener('abort', done);
        this.dirty = true;
        resolve();
      };
      const timer = this.setTimer(done, delayMs);
      signal?.addEventListener('abort', done);
    });
  }

  /** Something came in on a socket; what one socket holds is read in its order. */
  input(channel: number, run: () => void): void {
    if (this.dead) return;
    this.inbox.push({ channel, run, order: 0 });
  }

  /** A guest's tick: the path that is walked all the time. */
  tick(channel: number, listener: TickListener, seq: number, uptimeMs: number): void {
    if (this.dead) return;
    if (this.awake || this.inbox.length > 0 || this.world.nowMs < this.busyUntilMs) {
      this.input(channel, () => listener.onTick(seq, uptimeMs));
      return;
    }
    listener.onTick(seq, uptimeMs);
    if (this.immediates.length > 0) this.awake = true;
  }

  nextMs(): number {
    if (this.dead) return Number.POSITIVE_INFINITY;
    if (this.inbox.length > 0 || this.immediates.length > 0) {
      return Math.max(this.world.nowMs, this.busyUntilMs);
    }
    const { first } = this.timers;
    if (first === undefined) return Number.POSITIVE_INFINITY;
    if (first !== this.lagOf) {
      this.lagOf = first;
      const { pace, random } = this;
      const isLate = random.chance(pace.lateShare);
      this.lagMs = isLate ? random.between(0, pace.lateMs) : random.between(-0.9, pace.lagMs);
    }
    return Math.max(first.atMs + this.lagMs, this.world.nowMs, this.busyUntilMs);
  }

  wake(): void {
    const wasStalled = this.busyUntilMs > 0;
    this.busyUntilMs = 0;
    this.awake = true;
    // Stopped while it polled, it reads first; stopped while it worked, its timers come first.
    this.phase = wasStalled && this.random.chance(0.5) ? 'poll' : 'timers';
    if (this.inbox.length > 1) this.shuffle();
  }

  settle(): boolean {
    if (this.world.nowMs < this.busyUntilMs) return false;
    if (!this.awake && this.inbox.length > 0) this.wake();
    while (this.awake && !this.dirty) this.step();
    return this.dirty;
  }

  /** One callback, or on to the next phase. */
  private step(): void {
    if (this.phase === 'timers') {
      const { first } = this.timers;
      // Node's timers may be a millisecond early by this clock.
      if (first !== undefined && first.atMs <= this.world.nowMs + 0.95) this.fire(first);
      else this.phase = 'poll';
    } else if (this.phase === 'poll') {
      const input = this.inbox.shift();
      if (input !== undefined) input.run();
      else {
        this.phase = 'check';
        this.checking = this.immediates.length;
      }
    } else this.check();
  }

  private fire(entry: Entry): void {
    this.timers.pop();
    const { run } = entry;
    entry.run = null;
    const waiting = this.immediates.length;
    run?.();
    // One that only asked for the poll to be awaited resolved no promise: the monitor's loop does that all the time.
    if (this.immediates.length === waiting) this.dirty = true;
  }

  private check(): void {
    if (this.checking > 0) {
      this.checking -= 1;
      const immediate = this.immediates.shift() as Immediate;
      immediate.turns -= 1;
      if (immediate.turns > 0) this.immediates.push(immediate);
      else {
        immediate.run();
        // Promises it resolved go on before time does.
        this.dirty = true;
      }
      return;
    }
    this.phase = 'timers';
    if (this.immediates.length > 0 || this.inbox.length > 0) return;
    this.awake = false;
  }

  /** Sockets come in any order; what one holds stays in its own. */
  private shuffle(): void {
    const orders = new Map<number, number>();
    for (const input of this.inbox) {
      let order = orders.get(input.channel);
      if (order === undefined) orders.set(input.channel, (order = this.random.bits()));
      input.order = order;
    }
    this.inbox = this.inbox.toSorted((a, b) => a.order - b.order);
  }
}
