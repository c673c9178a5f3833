/** Stores what was learned of running guests, now and then and a bounded number at a time. */
import type { Clock, Timer } from '../clock.ts';
import { maxSweepWrites, memorySweepMs } from '../limits.ts';
import type { Journal } from './journal.ts';
import type { MachineDirectory } from './machine-directory.ts';

/** The sweep over all machines of a server. */
export class MemorySweep {
  readonly #clock: Clock;
  readonly #journal: Journal;
  readonly #machines: MachineDirectory;
  #timer: Timer | null = null;

  constructor(clock: Clock, journal: Journal, machines: MachineDirectory) {
    this.#clock = clock;
    this.#journal = journal;
    this.#machines = machines;
  }

  /** From now on every `memorySweepMs`. */
  start(): void {
    this.#timer = this.#clock.setTimer(() => {
      this.#sweep();
      this.start();
    }, memorySweepMs);
  }

  /** Idempotent. */
  stop(): void {
    this.#timer?.cancel();
  }

  #sweep(): void {
    if (!this.#journal.writable) return;
    let written = 0;
    for (const machine of this.#machines.all()) {
      if (written < maxSweepWrites && machine.sweep()) written += 1;
    }
  }
}
