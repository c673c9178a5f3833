/** What witnesses can say of a guest whose ticks stopped, and the evidence a verdict carries. */

/** A verdict that is told as heartbeatStopped. */
export type StopVerdict =
  | 'exited'
  | 'panicked'
  | 'watchdog'
  | 'tripleFault'
  | 'internalError'
  | 'hung'
  | 'spinning'
  | 'busy';

/** Every verdict, those that are no stop included. */
export type Verdict =
  | StopVerdict
  /** Ticks come. */
  | 'alive'
  /** No additions, or none heard since the machine booted: never stopped. */
  | 'notObserved'
  /** Reset a moment ago: its boot window is open. */
  | 'booting'
  /** Ticks miss; the witnesses are being asked. */
  | 'suspected'
  /** Paused, saving, restoring, shutting down, or silent while an operator holds the watch: not judged. */
  | 'suspended'
  /** The host gives the guest no processor. */
  | 'starved'
  /** The guest runs, its ticker does not. */
  | 'additionsStopped'
  /** The guest cannot be seen. */
  | 'unknown';

/** What set off a heartbeatStopped. */
export type StopCause =
  | 'processExit'
  | 'guestPanicked'
  | 'watchdog'
  | 'tripleFault'
  | 'internalError'
  | 'silence'
  | 'bootWindowEnded'
  | 'foundDead';

/** The answer of one witness. */
export interface WitnessAnswer {
  readonly witness: string;
  /** For a person: `running`, `idle (0.4 % of 0.25 s)`, `no answer in 50 ms`. */
  readonly answer: string;
  /** How long the answer took, milliseconds. */
  readonly tookMs: number;
}

/** Why a verdict is what it is. Durations are milliseconds of the monotonic clock. */
export interface Evidence {
  /** Wall time of the last tick, ISO 8601; null when there was none. */
  readonly lastTickAt: string | null;
  /** Since the last tick. */
  readonly sinceLastTickMs: number | null;
  /** What of that counts against the guest. */
  readonly silenceMs: number | null;
  /**
   * What was taken off: time in which the guest did not run or could not be seen (paused, saved, restored, held back
   * by the host; QEMU or the service itself stood still); and time its vCPUs waited for a host processor.
   */
  readonly subtracted: { readonly suspendedMs: number; readonly runDelayMs: number };
  /** The heartbeat's interval. */
  readonly intervalMs: number | null;
  /** Margin for lateness (α). */
  readonly marginMs: number | null;
  readonly witnesses: readonly WitnessAnswer[];
  /** How the process ended, where it did. */
  readonly exit?: {
    readonly exitCode: number | null;
    readonly signal: string | null;
    readonly stderr: string;
  };
  /** What QEMU said of it, where an event of QEMU's set it off. */
  readonly detail?: string;
}
