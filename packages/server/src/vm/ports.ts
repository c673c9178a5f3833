/** What the lifecycle needs besides the log, the store, the hypervisors and the monitor. */

/** Where the lifecycle writes what an operator should know; pino's shape. */
export interface Logger {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
  error(details: object, message: string): void;
}

/**
 * A guest agent behind its port, as tick/guest-agent.ts has it. Whoever hands it out shares one connection a port
 * among all who ask (the socket takes one client); `close` says that the lifecycle needs it no more.
 * Errors: VM_E_ADDITIONS_NOT_AVAIL, VM_E_ADDITIONS_FEATURE_NOT_AVAIL, VM_E_TIMED_OUT.
 */
export interface GuestAgentPort {
  /** Never rejects. */
  ping(timeoutMs: number): Promise<{ readonly answered: boolean }>;
  info(): Promise<{ readonly version: string | null }>;
  osInfo(): Promise<{ readonly prettyName: string | null }>;
  hostName(): Promise<string | null>;
  /** Asks the guest to power itself off; resolves when it was asked. */
  shutdown(mode: 'powerdown'): Promise<void>;
  /** Idempotent. */
  close(): void;
}
