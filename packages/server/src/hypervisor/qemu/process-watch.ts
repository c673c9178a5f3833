/**
 * Notices that a machine's process is gone, exactly once. Our own child tells by itself. One that was adopted is
 * nobody's child here: /proc is looked at when there is a reason to (its monitor's connection ended), quickly at
 * first, and slowly for as long as the reason lasts.
 */
import type { ChildProcess } from 'node:child_process';
import type { Clock, Timer } from '../../clock.ts';
import { reconnectMaxMs, reconnectMinMs } from '../../limits.ts';
import type { ProcessRecord } from '../hypervisor.ts';
import { isAlive } from './proc.ts';
import type { ProcessEnd } from './process.ts';

/** Watches one process until it is gone or close() is called. */
export class ProcessWatch {
  /** Resolves when the process is gone. */
  readonly gone: Promise<ProcessEnd>;
  readonly #clock: Clock;
  readonly #record: ProcessRecord;
  readonly #own: boolean;
  #resolve: (end: ProcessEnd) => void = () => undefined;
  #ended = false;
  #closed = false;
  /** Identifies the looking under way; null when there is no reason to look. */
  #suspicion: symbol | null = null;
  #timer: Timer | undefined;

  constructor(clock: Clock, record: ProcessRecord, child: ChildProcess | null) {
    this.#clock = clock;
    this.#record = record;
    this.#own = child !== null;
    this.gone = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    if (child === null) return;
    if (child.exitCode !== null || child.signalCode !== null) {
      this.#end({ exitCode: child.exitCode, signal: child.signalCode });
    } else {
      child.once('exit', (exitCode, signal) => this.#end({ exitCode, signal }));
    }
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** There is a reason to look: look, and go on looking until trust() or the end. */
  suspect(): void {
    if (this.#own || this.#suspicion !== null || this.#ended || this.#closed) return;
    this.#suspicion = Symbol('suspicion');
    void this.#look(reconnectMinMs, this.#suspicion);
  }

  /** It gave a sign of life. */
  trust(): void {
    this.#suspicion = null;
    this.#timer?.cancel();
  }

  /** Looks no more; `gone` stays open. */
  close(): void {
    this.#closed = true;
    this.trust();
  }

  async #look(pauseMs: number, suspicion: symbol): Promise<void> {
    // What cannot be looked at (no file descriptor left) is not gone.
    const alive = await isAlive(this.#record).catch(() => true);
    if (this.#suspicion !== suspicion || this.#closed) return;
    if (!alive) {
      this.#end({ exitCode: null, signal: null });
      return;
    }
    const next = Math.min(pauseMs * 2, reconnectMaxMs);
    this.#timer = this.#clock.setTimer(() => void this.#look(next, suspicion), pauseMs);
  }

  #end(end: ProcessEnd): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#timer?.cancel();
    this.#resolve(end);
  }
}
