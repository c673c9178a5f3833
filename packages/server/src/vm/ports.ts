/** What the lifecycle needs besides the log, the store, the hypervisors and the monitor. */
import type { AgentPing } from '../tick/source.ts';

/** Where the lifecycle writes what an operator should know; pino's shape. */
export interface Logger {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
  error(details: object, message: string): void;
}

/** What a guest agent says of its guest's file systems. */
export type FileSystems = 'thawed' | 'frozen';

/** How a program is run in a guest. */
export interface GuestProgramOptions {
  /** Given to its standard input. */
  readonly input?: Uint8Array;
  readonly timeoutMs: number;
  /** Kept of each stream. */
  readonly maxOutputBytes: number;
}

/** How a program ended: by itself with `exitCode`, or by `signal`. */
export interface GuestProgramResult {
  readonly exitCode: number | null;
  readonly signal: number | null;
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  readonly truncated: boolean;
}

/**
 * A guest agent behind its port, as tick/guest-agent.ts has it. One connection a port: the socket takes one client.
 * Errors of all but `ping`: VM_E_ADDITIONS_NOT_AVAIL, VM_E_ADDITIONS_FEATURE_NOT_AVAIL, VM_E_TIMED_OUT, E_FAIL (the
 * agent's own error), VM_E_OUT_OF_RESOURCE.
 */
export interface GuestAgentPort {
  /** A command other than a ping is out and not answered. */
  readonly busy: boolean;
  /** Never rejects. */
  ping(timeoutMs: number): Promise<AgentPing>;
  info(): Promise<{ readonly version: string | null }>;
  osInfo(): Promise<{ readonly prettyName: string | null }>;
  hostName(): Promise<string | null>;
  /** Asks the guest to power itself off; resolves when it was asked. */
  shutdown(mode: 'powerdown'): Promise<void>;
  freezeStatus(timeoutMs: number): Promise<FileSystems>;
  /** How many file systems were frozen. */
  freeze(timeoutMs: number): Promise<number>;
  /** How many file systems were thawed. */
  thaw(timeoutMs: number): Promise<number>;
  /** Runs a program, without a shell, and waits for its end. Further errors: E_INVALIDARG, E_BUFFER_OVERFLOW. */
  execute(path: string, args: readonly string[], options: GuestProgramOptions): Promise<GuestProgramResult>;
  /** Writes a file of the guest anew. */
  writeFile(path: string, content: Uint8Array): Promise<void>;
  /** A file of the guest; longer than `maxBytes` is E_BUFFER_OVERFLOW. null: there is no such file. */
  readFile(path: string, maxBytes: number): Promise<Uint8Array | null>;
  /** Idempotent. */
  close(): void;
}
