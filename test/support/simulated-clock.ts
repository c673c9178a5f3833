/**
 * Simulated time for tests and simulation. Nothing happens unless the test advances it; two runs of the same script
 * are the same to the millisecond. It can do what the real one does to us: step the wall clock, stall the process.
 */
import type { Clock, Timer } from '../../packages/server/src/clock.ts';

interface Entry {
  readonly dueMs: number;
  /** Timers due at the same time run in the order they were set. */
  readonly order: number;
  callback: (() => void) | null;
}

/** Where a simulated clock begins. */
export interface SimulatedClockOptions {
  /** Monotonic time at the beginning, ms; not 0, so that code that takes 0 for "never" is found out. */
  readonly monotonicMs?: number;
  /** Wall time at the beginning, ms since 1970. */
  readonly wallMs?: number;
  /** False: callbacks of `afterPoll` run only when the test calls `poll()`. Default: after each timer and advance. */
  readonly autoPoll?: boolean;
}

const before = (a: Entry, b: Entry): boolean =>
  a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order < b.order);

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** What waits for a file longer than that, in ms, waits for somebody and not for a busy machine. */
const filePatienceMs = 20_000;

/**
 * Files are really read and written, by threads that a busy machine keeps waiting while this one takes its turns:
 * no simulated time passes until all of it is done.
 */
async function filesToBeDone(): Promise<void> {
  const isBusy = (): boolean =>
    process.getActiveResourcesInfo().some((resource) => /^(?:FSReq|CloseReq)/u.test(resource));
  for (let turns = 0; turns < 100 && isBusy(); turns += 1) await turn();
  for (let waitedMs = 0; waitedMs < filePatienceMs && isBusy(); waitedMs += 1) {
    await new Promise((resolve) => {
      setTimeout(resolve, 1);
    });
  }
}

/** A Clock whose time is the test's. */
export class SimulatedClock implements Clock {
  #nowMs: number;
  #wallOffsetMs: number;
  #order = 0;
  #cancelled = 0;
  /** Binary heap, the next timer first; cancelled ones stay until they come up or are half of it. */
  #heap: Entry[] = [];
  #polls: (() => void)[] = [];
  readonly #autoPoll: boolean;

  constructor(options: SimulatedClockOptions = {}) {
    this.#nowMs = options.monotonicMs ?? 1_000_000;
    this.#wallOffsetMs = (options.wallMs ?? Date.UTC(2026, 0, 1)) - this.#nowMs;
    this.#autoPoll = options.autoPoll ?? true;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs + this.#wallOffsetMs;
  }

  setTimer(callback: () => void, delayMs: number): Timer {
    this.#order += 1;
    const entry: Entry = { dueMs: this.#nowMs + Math.max(delayMs, 0), order: this.#order, callback };
    this.#push(entry);
    return {
      cancel: () => {
        if (entry.callback === null) return;
        entry.callback = null;
        this.#cancelled += 1;
        if (this.#cancelled > 1024 && this.#cancelled > this.#heap.length / 2) this.#compact();
      },
    };
  }

  afterPoll(callback: () => void): void {
    this.#polls.push(callback);
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        signal?.removeEventListener('abort', done);
        resolve();
      };
      const timer = this.setTimer(done, delayMs);
      signal?.addEventListener('abort', done);
    });
  }

  /**
   * Lets `ms` pass: runs what comes due in order, each at its own time, also what those set in turn. Synchronous:
   * code behind an `await` does not run in between; use `advanceAsync` where it must.
   */
  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    while (this.#runNext(endMs)) if (this.#autoPoll) this.poll();
    this.#nowMs = Math.max(this.#nowMs, endMs);
    if (this.#autoPoll) this.poll();
  }

  /** Like `advance`, but before each timer and at the end all promises and I/O that are ready go first. */
  async advanceAsync(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await this.settle();
    while (this.#runNext(endMs)) await this.settle();
    this.#nowMs = Math.max(this.#nowMs, endMs);
    await this.settle();
  }

  /** Lets promises and ready I/O run, and files be read and written to the end, no time passing. */
  async settle(): Promise<void> {
    if (this.#autoPoll) this.poll();
    await turn();
    await filesToBeDone();
    if (this.#autoPoll) this.poll();
  }

  /** The process stalls (SIGSTOP, overload): time passes, nothing runs; what came due runs at the next advance. */
  stall(ms: number): void {
    this.#nowMs += ms;
  }

  /** Someone sets the wall clock; monotonic time does not notice. */
  stepWall(ms: number): void {
    this.#wallOffsetMs += ms;
  }

  /** One turn of the event loop polled its sockets: runs what waited in `afterPoll`, not what that queues in turn. */
  poll(): void {
    const polls = this.#polls;
    if (polls.length === 0) return;
    this.#polls = [];
    for (const callback of polls) callback();
  }

  /** Timers set, not cancelled, not fired. */
  get pendingTimers(): number {
    return this.#heap.length - this.#cancelled;
  }

  /** When the next timer is due, monotonic ms; null when there is none. */
  get nextTimerMs(): number | null {
    this.#dropCancelled();
    return this.#heap[0]?.dueMs ?? null;
  }

  #runNext(endMs: number): boolean {
    this.#dropCancelled();
    const next = this.#heap[0];
    if (next === undefined || next.dueMs > endMs) return false;
    this.#pop();
    this.#nowMs = Math.max(this.#nowMs, next.dueMs);
    const { callback } = next;
    next.callback = null;
    callback?.();
    return true;
  }

  #dropCancelled(): void {
    while (this.#heap[0]?.callback === null) {
      this.#pop();
      this.#cancelled -= 1;
    }
  }

  #compact(): void {
    const alive = this.#heap.filter((entry) => entry.callback !== null);
    // A sorted array is a heap.
    this.#heap = alive.toSorted((a, b) => (before(a, b) ? -1 : 1));
    this.#cancelled = 0;
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let index = heap.length;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent] as Entry;
      if (!before(entry, above)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Entry;
    if (heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as Entry, heap[child] as Entry)) child += 1;
      if (!before(heap[child] as Entry, last)) break;
      heap[index] = heap[child] as Entry;
      index = child;
    }
    heap[index] = last;
  }
}
