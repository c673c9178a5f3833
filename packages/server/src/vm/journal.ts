/**
 * The one place where the lifecycle writes to the log and the store, and where those promises are handled. Events and
 * records are handed over in the order they happen and nobody waits for the disk: a full one holds no machine up.
 */
import {
  VmError,
  type EventDataByType,
  type EventDraft,
  type EventType,
  type VmReference,
} from '@vmpulse/wire';
import { type Clock, withDeadline } from '../clock.ts';
import type { EventLog } from '../event/log.ts';
import { durableAppendTimeoutMs } from '../limits.ts';
import type { MachineEffect, MachineRecord, MachineStore } from '../machine-record.ts';
import type { Logger } from './ports.ts';

/** Of so many failed writes one is logged, after the first: a full disk must not fill the service's own log too. */
const loggedFailures = 1_000;

/** Writes events and records in order. */
export class Journal {
  readonly #log: EventLog;
  readonly #store: MachineStore;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #failures = 0;

  constructor(log: EventLog, store: MachineStore, clock: Clock, logger: Logger) {
    this.#log = log;
    this.#store = store;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** False while the disk cannot be written. */
  get writable(): boolean {
    return this.#log.state().writable;
  }

  /** Appends an event. The promise tells whether it became durable, and never rejects. */
  append<T extends EventType>(
    type: T,
    vm: VmReference | undefined,
    data: EventDataByType[T],
    effect?: MachineEffect,
  ): Promise<boolean> {
    return this.#settled(this.#log.append(this.#draft(type, vm, data), effect), type);
  }

  /** Appends an event. Resolves when it is durable, however long that takes; rejects only when it was dropped. */
  async appendOrLose<T extends EventType>(
    type: T,
    vm: VmReference | undefined,
    data: EventDataByType[T],
    effect?: MachineEffect,
  ): Promise<void> {
    await this.#log.append(this.#draft(type, vm, data), effect);
  }

  /** Appends an event and waits until it is durable. Errors: those of `durable`. */
  appendDurably<T extends EventType>(
    type: T,
    vm: VmReference,
    data: EventDataByType[T],
    effect?: MachineEffect,
  ): Promise<void> {
    return this.durable(this.appendOrLose(type, vm, data, effect));
  }

  /** Waits for what was appended. Errors: VMPULSE_E_LOG_UNAVAILABLE, also when that takes long: it may come later. */
  async durable(appended: Promise<void>): Promise<void> {
    await withDeadline(this.#clock, appended, durableAppendTimeoutMs, () => {
      const seconds = durableAppendTimeoutMs / 1000;
      const detail = `The event log did not write for ${seconds} s; what was asked for takes effect once it does.`;
      return new VmError('VMPULSE_E_LOG_UNAVAILABLE', `${detail} Look at the disk of the data directory.`);
    });
  }

  /** Refuses what must be durable while nothing can be written. Errors: VMPULSE_E_LOG_UNAVAILABLE. */
  requireWritable(): void {
    const { writable, error } = this.#log.state();
    if (writable) return;
    const why = error === null ? '' : ` (${error})`;
    const detail = `The event log cannot be written${why}; make room on the disk of the data directory and try again.`;
    throw new VmError('VMPULSE_E_LOG_UNAVAILABLE', detail);
  }

  /** Stores a record apart from any event. The promise tells whether it became durable, and never rejects. */
  put(record: MachineRecord): Promise<boolean> {
    return this.#settled(this.#store.putMachine(record), 'a machine record');
  }

  /** The one cast: a type and its own data make a draft, which TypeScript cannot see through the type parameter. */
  #draft<T extends EventType>(type: T, vm: VmReference | undefined, data: EventDataByType[T]): EventDraft {
    return { type, ...(vm === undefined ? {} : { vm }), timeMs: this.#clock.wallMs(), data } as EventDraft;
  }

  async #settled(written: Promise<unknown>, what: string): Promise<boolean> {
    try {
      await written;
      return true;
    } catch (error) {
      if (this.#failures % loggedFailures === 0) {
        this.#logger.error({ err: error, failures: this.#failures + 1 }, `could not write ${what}`);
      }
      this.#failures += 1;
      return false;
    }
  }
}
