/** Holds a machine's events until someone listens. */
import { maxEarlyHypervisorEvents } from '../limits.ts';
import type { HypervisorEvent } from './hypervisor.ts';

/** One listener, and a bounded memory of what came before it; past the bound the oldest is forgotten. */
export class EventBuffer {
  #listener: ((event: HypervisorEvent) => void) | undefined;
  #early: HypervisorEvent[] = [];
  #closed = false;

  emit(event: HypervisorEvent): void {
    if (this.#closed) return;
    if (this.#listener !== undefined) {
      this.#listener(event);
      return;
    }
    if (this.#early.length === maxEarlyHypervisorEvents) this.#early.shift();
    this.#early.push(event);
  }

  /** Hands over what came before, in order, then everything that comes. */
  setListener(listener: (event: HypervisorEvent) => void): void {
    this.#listener = listener;
    const early = this.#early;
    this.#early = [];
    for (const event of early) listener(event);
  }

  /** Nothing is delivered any more. */
  close(): void {
    this.#closed = true;
    this.#early = [];
  }
}
