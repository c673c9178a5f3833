/** Scripts on events as a port: what can be asked of them. */
import type { ScriptInfo, ScriptSettings } from '@vmpulse/wire';

/** What is counted of scripts. */
export interface ScriptCount {
  readonly running: number;
  /** Events that scripts have yet to run for. */
  readonly waiting: number;
  /** Events that a script was not run for, since the service started. */
  readonly skipped: number;
}

/**
 * Scripts on events, one for each event type of the server and of each machine. `vm`: a machine's name or id, or null
 * for the server's. `eventType` is a trigger's name or the original's number. Requests are whatever a client sent. What
 * changes resolves when it is durable. Errors of all: VM_E_VM_UNKNOWN, E_INVALIDARG where there is no such event type.
 */
export interface ScriptService {
  /** The server's, those of one machine, or (undefined) all: the server's first. */
  list(vm?: string | null): ScriptInfo[];
  /** Errors: VMPULSE_E_NOT_FOUND. */
  fetch(vm: string | null, eventType: string): ScriptInfo;
  /**
   * `request`: ScriptRequest. It runs for events from now on. Errors: VM_E_SCRIPT_ALREADY_EXISTS,
   * VMPULSE_E_REQUEST_INVALID (with `field`), VM_E_OUT_OF_RESOURCE, VMPULSE_E_LOG_UNAVAILABLE.
   */
  attach(vm: string | null, eventType: string, request: unknown): Promise<ScriptInfo>;
  /** What waits for it is dropped, a run under way goes on. Errors: VMPULSE_E_NOT_FOUND, VMPULSE_E_LOG_UNAVAILABLE. */
  remove(vm: string | null, eventType: string): Promise<void>;
  settings(): ScriptSettings;
  counts(): ScriptCount;
  /** `change`: parts of ScriptSettings. Errors: VMPULSE_E_REQUEST_INVALID (with `field`), VMPULSE_E_LOG_UNAVAILABLE. */
  changeSettings(change: unknown): Promise<ScriptSettings>;
}
