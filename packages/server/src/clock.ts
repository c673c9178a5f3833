/**
 * Time as a port. Whatever judges or waits takes a Clock, so that tests and simulation run on simulated time.
 * Nothing else in the server touches Date, performance or the timer functions.
 */
import { setTimeout as delay } from 'node:timers/promises';

/** A timer that can be taken back. Cancelling twice, or after it fired, does nothing. */
export interface Timer {
  cancel(): void;
}

/** Monotonic time, wall time, timers, and the point after the event loop polled its sockets. */
export interface Clock {
  /** Milliseconds since an arbitrary point; never steps, never runs backwards. All that is judged is judged by it. */
  monotonicMs(): number;
  /** Milliseconds since 1970; may step. For people to read, never to judge by. */
  wallMs(): number;
  /** Calls back once after at least `delayMs`. */
  setTimer(callback: () => void, delayMs: number): Timer;
  /**
   * Calls back once when every socket that had input when this was called has been read.
   * The watermark of a lane rests on it.
   */
  afterPoll(callback: () => void): void;
  /** Resolves after `delayMs`, at once and without error when `signal` aborts. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
}

/** The longest delay setTimeout takes; longer ones would fire at once. */
const maxTimerMs = 2 ** 31 - 1;

/** The machine's own clock. */
export class SystemClock implements Clock {
  monotonicMs(): number {
    return performance.now();
  }

  wallMs(): number {
    return Date.now();
  }

  setTimer(callback: () => void, delayMs: number): Timer {
    const timer = setTimeout(callback, Math.min(Math.max(delayMs, 0), maxTimerMs));
    return { cancel: () => clearTimeout(timer) };
  }

  afterPoll(callback: () => void): void {
    // Called from a timer, the immediate runs in the same turn, after one poll. Called from elsewhere the poll
    // may already be behind us, so a second turn makes it sure.
    setImmediate(() => setImmediate(callback));
  }

  async sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return;
    try {
      await delay(
        Math.min(Math.max(delayMs, 0), maxTimerMs),
        undefined,
        signal === undefined ? {} : { signal },
      );
    } catch {
      // Only the abort rejects; the caller looks at its signal.
    }
  }
}

/** `promise`, or the rejection that `onTimeout` makes when it takes longer than `deadlineMs`. */
export async function withDeadline<T>(
  clock: Clock,
  promise: Promise<T>,
  deadlineMs: number,
  onTimeout: () => Error,
): Promise<T> {
  let timer: Timer | undefined;
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = clock.setTimer(() => reject(onTimeout()), deadlineMs);
  });
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    timer?.cancel();
  }
}
