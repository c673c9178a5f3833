/** An event log that tells how long its appends take to be durable. */
import type { EventDraft, VmEvent } from '@vmpulse/wire';
import type { Clock } from '../clock.ts';
import type { MachineEffect } from '../machine-record.ts';
import type { EventLog, EventLogState, EventQuery, EventSlice } from './log.ts';

/** Passes everything on to `log`; `appended` is told the time from append to durable, ms. */
export class MeasuredLog implements EventLog {
  readonly #log: EventLog;
  readonly #clock: Clock;
  readonly #appended: (tookMs: number) => void;

  constructor(log: EventLog, clock: Clock, appended: (tookMs: number) => void) {
    this.#log = log;
    this.#clock = clock;
    this.#appended = appended;
  }

  get serverId(): string {
    return this.#log.serverId;
  }

  async append(draft: EventDraft, effect?: MachineEffect): Promise<VmEvent> {
    const beganMs = this.#clock.monotonicMs();
    const event = await this.#log.append(draft, effect);
    this.#appended(this.#clock.monotonicMs() - beganMs);
    return event;
  }

  read(query: EventQuery): Promise<EventSlice> {
    return this.#log.read(query);
  }

  onCommit(listener: (lastSeq: number) => void): () => void {
    return this.#log.onCommit(listener);
  }

  state(): EventLogState {
    return this.#log.state();
  }

  close(): Promise<void> {
    return this.#log.close();
  }
}
