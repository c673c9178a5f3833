/**
 * Keeps the write-ahead log short without holding up a commit: its pages are copied by a thread of their own. Under
 * load the copying never quite catches up; then, with little left to copy, the writer begins the log anew.
 */
import type { Clock, Timer } from '../clock.ts';
import type { WalState } from './protocol.ts';
import { checkpointFrames, idleCheckpointMs, restartFrames } from './store-limits.ts';

/** What it works with. */
export interface CheckpointPorts {
  readonly clock: Clock;
  /** Copies what can be copied without disturbing anyone. */
  readonly passive: () => Promise<WalState>;
  /** In the writer: copies the rest and begins the log anew. */
  readonly restart: () => Promise<WalState>;
}

/** Fewer frames than this are copied within a commit's time. */
const smallRest = 200;
/** Passive attempts at a small rest before the writer takes what there is. */
const maxAttempts = 4;

/** Decides when to copy. */
export class Checkpointer {
  readonly #ports: CheckpointPorts;
  #running: Promise<void> | null = null;
  #idle: Timer | null = null;
  /** The last copying failed: the next waits for the timer. */
  #hasFailed = false;
  #isClosed = false;

  constructor(ports: CheckpointPorts) {
    this.#ports = ports;
  }

  /** After each commit: how long the log is now. */
  note(wal: WalState): void {
    if (this.#isClosed || this.#running !== null || this.#hasFailed) return;
    if (wal.frames - wal.checkpointed >= checkpointFrames || wal.frames >= restartFrames) this.#start();
    else if (wal.frames > wal.checkpointed)
      this.#idle ??= this.#ports.clock.setTimer(() => this.#start(), idleCheckpointMs);
  }

  /** Resolves when no copying is under way and none will begin. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#idle?.cancel();
    await this.#running;
  }

  #start(): void {
    this.#idle?.cancel();
    this.#idle = null;
    if (this.#isClosed || this.#running !== null) return;
    this.#hasFailed = false;
    this.#running = this.#run()
      .catch(() => {
        // A full disk, a dead thread: nothing is lost, the log is only longer. Later again, and not at every commit.
        if (this.#isClosed) return;
        this.#hasFailed = true;
        this.#idle = this.#ports.clock.setTimer(() => this.#start(), idleCheckpointMs);
      })
      .finally(() => {
        this.#running = null;
      });
  }

  async #run(): Promise<void> {
    for (let attempt = 1; attempt <= maxAttempts; attempt += 1) {
      const wal = await this.#ports.passive();
      if (wal.frames < restartFrames) return;
      const rest = wal.frames - wal.checkpointed;
      if (rest <= smallRest || attempt === maxAttempts) {
        await this.#ports.restart();
        return;
      }
    }
  }
}
