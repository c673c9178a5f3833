/**
 * Keeps one machine's monitor reachable for as long as its process lives: reconnects after the connection broke,
 * asks a silent QEMU for its status now and then, and tells once when it cannot be seen and once when it can again.
 */
import { VmError } from '@vmpulse/wire';
import type { Clock, Timer } from '../../clock.ts';
import {
  connectionGraceMs,
  qmpKeepaliveMs,
  qmpKeepaliveTimeoutMs,
  reconnectMaxMs,
  reconnectMinMs,
} from '../../limits.ts';
import { socketAddress } from '../../socket-path.ts';
import type { RunState } from '../hypervisor.ts';
import { runStateOf } from './qmp-event.ts';
import { type QmpArguments, QmpConnection, type QmpListener } from './qmp.ts';

/** Who is told. Calls never throw. */
export interface LinkListener {
  onEvent(name: string, data: Record<string, unknown>, atMs: number): void;
  /** The connection ended: perhaps the process did. */
  onDisconnected(): void;
  onLost(reason: string): void;
  /** What QEMU's own run state means for this machine. May reject as commands do. */
  refine(runState: RunState): Promise<RunState>;
  onRegained(runState: RunState): void;
}

/** Unanswered commands at which a silent QEMU is not asked again. */
const maxUnansweredProbes = 4;

/** A monitor connection that is made again whenever it breaks. */
export class QmpLink {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #listener: LinkListener;
  readonly #closing = new AbortController();
  #connection: QmpConnection | null = null;
  #keepalive: Timer | undefined;
  #grace: Timer | undefined;
  #lost = false;
  #regaining = false;
  #heard = false;

  constructor(path: string, clock: Clock, listener: LinkListener) {
    this.#path = path;
    this.#clock = clock;
    this.#listener = listener;
    // Machines that were adopted together are not all asked in the same instant.
    this.#keepalive = clock.setTimer(() => this.#checkSilence(), qmpKeepaliveMs * (1 + Math.random()));
  }

  /** True while QEMU is not seen. */
  get lost(): boolean {
    return this.#lost || this.#connection === null;
  }

  /** True after close(): nothing is tried any more. */
  get closed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** QEMU's version as it greeted, null before. */
  get version(): string | null {
    return this.#connection?.version ?? null;
  }

  /** Connects, once. Errors: those of QmpConnection.open. */
  async connect(timeoutMs?: number): Promise<void> {
    const connection = await QmpConnection.open(
      socketAddress(this.#path),
      this.#clock,
      this.#connectionListener(),
      timeoutMs,
    );
    if (this.#closing.signal.aborted) {
      connection.close('vmpulse stopped observing');
      return;
    }
    // Its end may have been read together with the last answer, and nobody is told of it again.
    if (connection.closedBecause !== null) {
      throw new VmError('VMPULSE_E_HYPERVISOR', `QMP: ${connection.closedBecause}`);
    }
    this.#connection = connection;
  }

  /** As QmpConnection.execute; VMPULSE_E_HYPERVISOR while there is no connection. */
  execute(command: string, commandArguments?: QmpArguments, timeoutMs?: number): Promise<unknown> {
    if (this.#connection === null) {
      const text = `QEMU's monitor cannot be reached for ${command}; vmpulse goes on trying to reach it.`;
      return Promise.reject(new VmError('VMPULSE_E_HYPERVISOR', text));
    }
    return this.#connection.execute(command, commandArguments, timeoutMs);
  }

  /** QEMU's run state now. */
  async runState(timeoutMs?: number): Promise<RunState> {
    return runStateOf(await this.execute('query-status', undefined, timeoutMs));
  }

  /** For a machine found without an answering monitor: tells that, and begins to look for it. */
  beginLost(reason: string): void {
    this.#lose(reason);
    if (this.#connection === null) void this.#reconnect();
  }

  /** The end: no reconnecting, nothing told any more. Commands under way fail with `reason`. Idempotent. */
  close(reason: string): void {
    this.#closing.abort();
    this.#keepalive?.cancel();
    this.#grace?.cancel();
    this.#connection?.close(reason);
    this.#connection = null;
  }

  #connectionListener(): QmpListener {
    return {
      onEvent: (name, data, atMs) => this.#listener.onEvent(name, data, atMs),
      onMessage: () => {
        this.#heard = true;
        if (this.#lost) void this.#regain();
      },
      onTimeout: (command, timeoutMs) => this.#lose(`QEMU did not answer ${command} within ${timeoutMs} ms.`),
      onClose: (reason) => this.#onClose(reason),
    };
  }

  #onClose(reason: string): void {
    // Also called for a connection that broke during its negotiation, which connect() reports.
    if (this.#connection === null || this.#closing.signal.aborted) return;
    this.#connection = null;
    this.#listener.onDisconnected();
    const told = `The connection to QEMU's monitor broke: ${reason}.`;
    this.#grace = this.#clock.setTimer(() => this.#lose(told), connectionGraceMs);
    void this.#reconnect(told);
  }

  async #reconnect(reason?: string): Promise<void> {
    const { signal } = this.#closing;
    for (let pauseMs = reconnectMinMs; !signal.aborted; pauseMs = Math.min(pauseMs * 2, reconnectMaxMs)) {
      await this.#clock.sleep(pauseMs, signal);
      if (signal.aborted) return;
      try {
        await this.connect();
        break;
      } catch {
        // Told as lost already, or about to be; the next attempt follows.
      }
    }
    if (signal.aborted) return;
    // However short it was, events may have been missed: whoever watches takes the run state anew.
    this.#lose(reason ?? 'The connection broke.');
    await this.#regain();
  }

  #lose(reason: string): void {
    this.#grace?.cancel();
    if (this.#lost || this.#closing.signal.aborted) return;
    this.#lost = true;
    this.#listener.onLost(reason);
  }

  async #regain(): Promise<void> {
    if (this.#regaining || this.#connection === null) return;
    this.#regaining = true;
    try {
      const runState = await this.#listener.refine(await this.runState());
      if (!this.#lost || this.#closing.signal.aborted) return;
      this.#lost = false;
      this.#listener.onRegained(runState);
    } catch {
      // Still not answering: the next message, or the next connection, tries again.
    } finally {
      this.#regaining = false;
    }
  }

  #checkSilence(): void {
    this.#keepalive = this.#clock.setTimer(() => this.#checkSilence(), qmpKeepaliveMs);
    const heard = this.#heard;
    this.#heard = false;
    if (heard || this.#connection === null || this.#connection.unanswered >= maxUnansweredProbes) return;
    // An answer counts as heard, a missing one as lost; both are seen by the connection's listener.
    this.#connection.execute('query-status', undefined, qmpKeepaliveTimeoutMs).catch(() => undefined);
  }
}
