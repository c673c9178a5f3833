/** Whose turn it is: turns of one machine follow each other, those of several do not wait for one another. */
import type { Clock, Timer } from '../clock.ts';
import { recoveryRecheckMs, recoveryStallMs } from '../limits.ts';
import type { Logger } from '../vm/ports.ts';

/** What turns are taken with. */
export interface TurnPorts {
  readonly clock: Clock;
  readonly logger: Logger;
  /** One turn of a machine. */
  readonly once: (vmId: string) => Promise<void>;
  /** A turn came late by a stall of the service: heartbeats are read late, too. */
  readonly onLate: () => void;
  readonly closing: AbortSignal;
}

/** The turns of all machines; none begins once `closing` is aborted. */
export class Turns {
  readonly #ports: TurnPorts;
  readonly #timers = new Map<string, Timer>();
  readonly #turning = new Set<string>();
  readonly #again = new Set<string>();

  constructor(ports: TurnPorts) {
    this.#ports = ports;
    ports.closing.addEventListener('abort', () => {
      for (const timer of this.#timers.values()) timer.cancel();
      this.#timers.clear();
    });
  }

  /** Lets a machine have its turn, now or after the one it has. Never rejects. */
  take(vmId: string): void {
    if (this.#ports.closing.aborted) return;
    if (this.#turning.has(vmId)) this.#again.add(vmId);
    else void this.#run(vmId);
  }

  /** Another turn follows the one it has. */
  again(vmId: string): void {
    this.#again.add(vmId);
  }

  /** A turn in a while; it takes the place of one that was to come. */
  in(vmId: string, delayMs: number): void {
    this.cancel(vmId);
    const { clock, closing, onLate } = this.#ports;
    if (closing.aborted) return;
    const dueMs = clock.monotonicMs() + delayMs;
    const timer = clock.setTimer(() => {
      this.#timers.delete(vmId);
      if (clock.monotonicMs() - dueMs >= recoveryStallMs) onLate();
      this.take(vmId);
    }, delayMs);
    this.#timers.set(vmId, timer);
  }

  cancel(vmId: string): void {
    this.#timers.get(vmId)?.cancel();
    this.#timers.delete(vmId);
  }

  async #run(vmId: string): Promise<void> {
    const { logger, once, closing } = this.#ports;
    this.#turning.add(vmId);
    try {
      do {
        this.#again.delete(vmId);
        await once(vmId);
      } while (this.#again.has(vmId) && !closing.aborted);
    } catch (error) {
      if (closing.aborted) return;
      logger.warn({ err: error, vm: vmId }, 'a recovery could not go on, and is tried again');
      this.in(vmId, recoveryRecheckMs);
    } finally {
      this.#turning.delete(vmId);
    }
  }
}
