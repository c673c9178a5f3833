/**
 * The event log as a port. Invariants its adapters keep (contract suite: test/contract/event-log.ts):
 *  I1 an event is on disk before `append` resolves and before `read` or any listener shows it;
 *  I2 `seq` has no gap and no duplicate, over crashes and failed writes too, in the order of the calls to `append`.
 */
import type { EventDraft, EventType, VmEvent } from '@vmpulse/wire';
import type { MachineEffect } from '../machine-record.ts';

/** What to read. Events come in order of seq. */
export interface EventQuery {
  /** Only events with a greater seq; 0 for all. */
  readonly after: number;
  /** At most this many. */
  readonly limit: number;
  /** Only events of this machine (its id). */
  readonly vmId?: string;
  /** Only events of one of these types. */
  readonly types?: readonly EventType[];
}

/** One page. `next` is the `after` to go on with: the last seq looked at, also where a filter let little through. */
export interface EventSlice {
  readonly events: VmEvent[];
  readonly next: number;
}

/** How the log is. */
export interface EventLogState {
  /** False while writing fails (disk full, I/O error). Detection goes on. */
  readonly writable: boolean;
  /** Why not. */
  readonly error: string | null;
  /** Appended, not yet on disk. */
  readonly pending: number;
  /** Dropped at the bound of `pending` since the start. */
  readonly lost: number;
  readonly lastSeq: number;
  readonly oldestSeq: number;
}

/** Numbered durable events. */
export interface EventLog {
  /** Id of this log, made once; part of each event's source. */
  readonly serverId: string;
  /**
   * Resolves with the numbered event once it is durable. While the disk cannot be written it waits, in order.
   * `effect` is written in the same transaction. So is what the event itself means for the stored machine: its
   * state (stateChanged) and its open conditions (see `conditionRules`); a crash never parts the two.
   * Errors: VMPULSE_E_LOG_UNAVAILABLE when dropped at the bound or when the log closes first.
   */
  append(draft: EventDraft, effect?: MachineEffect): Promise<VmEvent>;
  /** Errors: VMPULSE_E_CURSOR_EXPIRED when events after `after` are no longer kept; the message says where to go on. */
  read(query: EventQuery): Promise<EventSlice>;
  /** Called after each commit with the newest seq: a wake-up, never the event. Returns the way to stop it. */
  onCommit(listener: (lastSeq: number) => void): () => void;
  state(): EventLogState;
  /** Writes what is pending (bounded by a deadline), then closes. */
  close(): Promise<void>;
}
