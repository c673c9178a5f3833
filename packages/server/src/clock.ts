/**
 * Time as a port. Whatever judges or waits takes a Clock, so that tests and simulation run on simulated time.
 * Nothing else in the server touches Date, performance or the timer functions.
 */
import { readFileSync } from 'node:fs';
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

  /**
   * How long the host has slept since it booted, ms: its uptime (CLOCK_BOOTTIME, in steps of 10 ms) counts sleep, the
   * monotonic clock does not. 0 where that cannot be read.
   */
  sleptMs(): number {
    try {
      const uptimeMs = Number.parseFloat(readFileSync('/proc/uptime', 'ascii')) * 1000;
      const sleptMs = uptimeMs - Number(process.hrtime.bigint() / 1_000_000n);
      return Number.isFinite(sleptMs) ? sleptMs : 0;
    } catch {
      return 0;
    }
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

  // Not by `timers/promises`, where an abort makes an error with its stack: 20 us for each guest of a mass stop.
  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const end = (): void => {
        timer.cancel();
        signal?.removeEventListener('abort', end);
        resolve();
      };
      const timer = this.setTimer(end, delayMs);
      signal?.addEventListener('abort', end);
    });
  }
}

/**
 * `promise`, or the rejection that `onTimeout` makes when it takes longer than `deadlineMs`. When this process stood
 * still meanwhile, what arrived in time is read first: it counts.
 */
export async function withDeadline<T>(
  clock: Clock,
  promise: Promise<T>,
  deadlineMs: number,
  onTimeout: () => Error,
): Promise<T> {
  let timer: Timer | undefined;
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = clock.setTimer(() => clock.afterPoll(() => reject(onTimeout())), deadlineMs);
  });
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    timer?.cancel();
  }
}
