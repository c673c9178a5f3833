import type { StopCause, StopVerdict } from '@vmpulse/wire';

/** What the monitor reports of itself, for metrics and the service's log. */
export interface MonitorObserver {
  /** A guest is suspected; most tick again. */
  suspected(): void;
  /** A heartbeatStopped became durable `latencyMs` after it could first be told. */
  stopped(verdict: StopVerdict, cause: StopCause, latencyMs: number): void;
  /** A heartbeatResumed was told. */
  resumed(): void;
  /** The watermark was this far behind the clock when guests were judged. */
  laneLag(lagMs: number): void;
  /** The service stood still. */
  stalled(lengthMs: number): void;
  /** Bytes on a tick port that were no line of the protocol. */
  rejected(bytes: number): void;
  /** An event could not be appended, or a witness failed in a way it must not. */
  failed(error: unknown): void;
}
