/**
 * The simulated host: one monotonic time, what happens at it, and the guests' ticks. The world goes on while a service
 * is stalled or dead. Two clocks look at it: the host's own (`WorldClock`) and that of each service (`loop.ts`).
 */
import type { Clock, Timer } from '../../packages/server/src/clock.ts';
import { type Entry, EntryHeap, TickHeap } from './queue.ts';
import type { Random } from './random.ts';

/** What the world asks at each step: when it next wants to run, and to run then. */
export interface Process {
  /** Infinity while it waits for input only. */
  nextMs(): number;
  /** Its time has come. */
  wake(): void;
  /** Promises may be ready to go on. */
  dirty: boolean;
  /** Something is left to do at this very time: another turn of its loop. */
  settle(): boolean;
}

/** More than this happens at one time only when something goes round in circles. */
const maxStepsAtOnce = 1_000_000;

/** Runs when every promise that could go on has gone on: Node's next tick comes after the microtasks. */
function drained(): Promise<void> {
  return new Promise((resolve) => {
    process.nextTick(resolve);
  });
}

/** Time, and what happens in it. */
export class World {
  nowMs: number;
  readonly random: Random;
  readonly ticks: TickHeap;
  /** A guest ticks now. */
  onTick: (guest: number) => void = () => undefined;
  /** The service, while there is one. */
  service: Process | null = null;
  /** Promises of the world itself may be ready to go on. */
  dirty = false;
  /** How long the host has slept since it booted. */
  sleptMs = 0;
  private wallOffsetMs: number;
  private readonly entries = new EntryHeap();

  constructor(random: Random, guests: number) {
    this.random = random;
    this.nowMs = 1_000_000 + random.whole(0, 3_600_000);
    this.wallOffsetMs = Date.UTC(2026, 0, 1) - this.nowMs;
    this.ticks = new TickHeap(guests);
  }

  wallMs(): number {
    return this.nowMs + this.wallOffsetMs;
  }

  /** Someone sets the wall clock, or the host slept: monotonic time does not count that. */
  stepWall(ms: number): void {
    this.wallOffsetMs += ms;
  }

  at(atMs: number, run: () => void): Entry {
    return this.entries.put(Math.max(atMs, this.nowMs), run);
  }

  after(delayMs: number, run: () => void): Entry {
    return this.at(this.nowMs + delayMs, run);
  }

  /** Resolves when so much time has passed. */
  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(delayMs, resolve);
    });
  }

  /** Lets time pass until `endMs`, or until `stop` says so. */
  async run(endMs: number, stop: () => boolean): Promise<void> {
    const { ticks, entries } = this;
    if (this.unsettled) await this.settle();
    let steps = 0;
    while (!stop()) {
      const tickMs = ticks.nextMs;
      const entryMs = entries.first?.atMs ?? Number.POSITIVE_INFINITY;
      const serviceMs = this.service?.nextMs() ?? Number.POSITIVE_INFINITY;
      const nextMs = Math.min(tickMs, entryMs, serviceMs);
      if (nextMs > endMs) break;
      if (nextMs > this.nowMs) {
        this.nowMs = nextMs;
        steps = 0;
      } else if ((steps += 1) > maxStepsAtOnce) throw new Error('time stands still');
      if (entryMs === nextMs) {
        const entry = entries.first as Entry;
        entries.pop();
        const { run } = entry;
        entry.run = null;
        run?.();
        this.dirty = true;
      } else if (tickMs === nextMs) this.onTick(ticks.first);
      else this.service?.wake();
      if (this.unsettled) await this.settle();
    }
    this.nowMs = Math.max(this.nowMs, Math.min(endMs, this.nowMs));
  }

  /** Lets promises go on, and the service finish its turns, until nothing is left to do at this time. */
  private async settle(): Promise<void> {
    do {
      this.dirty = false;
      if (this.service !== null) this.service.dirty = false;
      await drained();
    } while (this.unsettled);
  }

  /** Promises may go on, or the service is not done with its turn. */
  private get unsettled(): boolean {
    return this.dirty || this.service?.dirty === true || this.service?.settle() === true;
  }
}

/** The host's own clock: runs on whatever becomes of the service. */
export class WorldClock implements Clock {
  private readonly world: World;

  constructor(world: World) {
    this.world = world;
  }

  monotonicMs(): number {
    return this.world.nowMs;
  }

  wallMs(): number {
    return this.world.wallMs();
  }

  setTimer(callback: () => void, delayMs: number): Timer {
    const entry = this.world.after(delayMs, callback);
    return {
      cancel: () => {
        entry.run = null;
      },
    };
  }

  afterPoll(callback: () => void): void {
    this.world.after(0, callback);
  }

  sleep(delayMs: number): Promise<void> {
    return this.world.sleep(delayMs);
  }
}
