/** Waiting with an end: a deadline joined with the caller's signal, and a pause that can be cut short. */

/** A deadline that runs. */
export interface Deadline {
  /** Aborts at the deadline or with one of the caller's signals, whichever comes first. */
  readonly signal: AbortSignal;
  /** True when it was the deadline. */
  isOver(): boolean;
  /** Ends it: no timer and no listener stays behind. */
  clear(): void;
}

/** Starts a deadline of `timeoutMs` from now. */
export function startDeadline(timeoutMs: number, ...outer: (AbortSignal | undefined)[]): Deadline {
  const controller = new AbortController();
  let over = false;
  const timer = setTimeout(() => {
    over = true;
    controller.abort();
  }, timeoutMs);
  const forward = (): void => controller.abort();
  for (const signal of outer) {
    if (signal?.aborted === true) forward();
    else signal?.addEventListener('abort', forward, { once: true });
  }
  return {
    signal: controller.signal,
    isOver: () => over,
    clear: () => {
      clearTimeout(timer);
      for (const signal of outer) signal?.removeEventListener('abort', forward);
    },
  };
}

/** Resolves after `delayMs`, at once and without error when `signal` aborts. */
export function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, delayMs);
    signal.addEventListener('abort', end, { once: true });
  });
}

/** Resolves with `promise` or, without error, when `signal` aborts first. */
export function settledOrAborted(promise: Promise<unknown>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      signal.removeEventListener('abort', end);
      resolve();
    };
    if (signal.aborted) {
      resolve();
      return;
    }
    signal.addEventListener('abort', end, { once: true });
    promise.then(end, end);
  });
}
