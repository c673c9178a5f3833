/** The newest events, in memory: filled at commit, so that live streams cost no read of the database. Bounded. */
import { type EventType, type VmEvent, eventTypeOf } from '@vmpulse/wire';
import type { EventQuery, EventSlice } from '../event/log.ts';
import { maxTailBytes, maxTailEvents } from './store-limits.ts';

/** Does `event` pass the query's filter? */
function passes(event: VmEvent, query: EventQuery, types: ReadonlySet<EventType> | null): boolean {
  if (query.vmId !== undefined && event.data.vm?.id !== query.vmId) return false;
  return types === null || types.has(eventTypeOf(event));
}

/** Consecutive events up to the newest one. */
export class Tail {
  #events: VmEvent[] = [];
  #bytes: number[] = [];
  /** Where in the arrays the tail begins: the head is cut off now and then, not at every event. */
  #start = 0;
  #held = 0;
  readonly #maxEvents: number;
  readonly #maxBytes: number;

  constructor(maxEvents: number = maxTailEvents, maxBytes: number = maxTailBytes) {
    this.#maxEvents = maxEvents;
    this.#maxBytes = maxBytes;
  }

  /** Adds the next event; `bytes` is the length of its JSON. An event that is not the next begins a new tail. */
  push(event: VmEvent, bytes: number): void {
    const last = this.#events.at(-1);
    if (last !== undefined && event.seq !== last.seq + 1) this.#clear();
    this.#events.push(event);
    this.#bytes.push(bytes);
    this.#held += bytes;
    while (this.#events.length - this.#start > this.#maxEvents || this.#held > this.#maxBytes)
      this.#dropFirst();
    if (this.#start > this.#maxEvents) {
      this.#events.splice(0, this.#start);
      this.#bytes.splice(0, this.#start);
      this.#start = 0;
    }
  }

  /** The page, or null where the tail does not reach back to it. */
  read(query: EventQuery): EventSlice | null {
    const first = this.#events[this.#start];
    const last = this.#events.at(-1);
    if (first === undefined || last === undefined) return null;
    if (query.after < first.seq - 1 || query.after > last.seq) return null;
    const types = query.types === undefined ? null : new Set(query.types);
    const events: VmEvent[] = [];
    let index = this.#start + (query.after + 1 - first.seq);
    for (; index < this.#events.length && events.length < query.limit; index += 1) {
      const event = this.#events[index] as VmEvent;
      if (passes(event, query, types)) events.push(event);
    }
    return { events, next: first.seq + (index - this.#start) - 1 };
  }

  #dropFirst(): void {
    this.#held -= this.#bytes[this.#start] ?? 0;
    this.#start += 1;
  }

  #clear(): void {
    this.#events = [];
    this.#bytes = [];
    this.#start = 0;
    this.#held = 0;
  }
}
