/**
 * The event log and the stored machines in memory, for tests and simulation: keeps the same contract as the SQLite
 * store (test/contract/event-log.ts) except that nothing outlives the process. It fails only when told to.
 */
import {
  type EventDraft,
  VmError,
  type VmEvent,
  type VmState,
  eventTypeOf,
  eventTypes,
  messageIds,
  toCloudEvent,
} from '@vmpulse/wire';
import type { EventLog, EventLogState, EventQuery, EventSlice } from '../../packages/server/src/event/log.ts';
import { maxEventPage, maxPendingEvents } from '../../packages/server/src/limits.ts';
import {
  type Condition,
  type DocumentStore,
  type MachineEffect,
  type MachineRecord,
  type MachineStore,
  type OpenCondition,
  type StoredDocument,
  type StoredHold,
  type StoredMachine,
  beginsLife,
  conditionRules,
} from '../../packages/server/src/machine-record.ts';

interface Waiting {
  readonly draft: EventDraft | null;
  readonly write: (seq: number) => void;
  readonly done: (event: VmEvent | null) => void;
  readonly failed: (error: VmError) => void;
}

interface Row {
  record: MachineRecord | null;
  state: VmState | null;
  conditions: Map<Condition, OpenCondition>;
}

const copy = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

const unavailable = (why: string): VmError =>
  new VmError('VMPULSE_E_LOG_UNAVAILABLE', `Not recorded: ${why}.`);

/** Options of the log in memory. */
export interface MemoryEventLogOptions {
  readonly serverId?: string;
  readonly maxPending?: number;
  /** Wall time of eventsLost; default 0. */
  readonly wallMs?: () => number;
}

/** A log in memory. What is appended is "durable" at the end of the turn, as with a disk that is very fast. */
export class MemoryEventLog implements EventLog, MachineStore, DocumentStore {
  readonly serverId: string;
  readonly #maxPending: number;
  readonly #wallMs: () => number;
  readonly #listeners = new Set<{ call: (lastSeq: number) => void }>();
  readonly #rows = new Map<string, Row>();
  readonly #values = new Map<string, string>();
  readonly #documents = new Map<string, StoredDocument>();
  readonly #holds = new Map<string | null, StoredHold>();
  #events: VmEvent[] = [];
  #waiting: Waiting[] = [];
  #deletedThrough = 0;
  #lastSeq = 0;
  #lost = 0;
  #untold = 0;
  readonly #kept = new Map<string, { record?: MachineRecord; state?: VmState }>();
  #error: string | null = null;
  #isClosed = false;
  #isScheduled = false;
  /** Calls to `read`, for tests that count them. */
  reads = 0;

  constructor(options: MemoryEventLogOptions = {}) {
    this.serverId = options.serverId ?? '00000000-0000-4000-8000-000000000001';
    this.#maxPending = options.maxPending ?? maxPendingEvents;
    this.#wallMs = options.wallMs ?? (() => 0);
  }

  append(given: EventDraft, effect?: MachineEffect): Promise<VmEvent> {
    return new Promise((resolve, reject) => {
      if (!(given.type in eventTypes) || !(Math.abs(given.timeMs) <= 8.64e15)) {
        throw new VmError('E_INVALIDARG', 'Not an event.');
      }
      const draft = copy(given);
      const stored = effect === undefined ? undefined : copy(effect);
      this.#add(
        {
          draft,
          write: (seq) => this.#apply(draft, seq, stored),
          done: (event) => resolve(event as VmEvent),
          failed: reject,
        },
        () => this.#keep(draft, stored),
      );
    });
  }

  read(query: EventQuery): Promise<EventSlice> {
    this.reads += 1;
    try {
      return Promise.resolve(this.#read(query));
    } catch (error) {
      return Promise.reject(VmError.from(error));
    }
  }

  onCommit(listener: (lastSeq: number) => void): () => void {
    const entry = { call: listener };
    this.#listeners.add(entry);
    return () => void this.#listeners.delete(entry);
  }

  state(): EventLogState {
    return {
      writable: this.#error === null && !this.#isClosed,
      error: this.#isClosed ? 'closed' : this.#error,
      pending: this.#waiting.length,
      lost: this.#lost,
      lastSeq: this.#lastSeq,
      oldestSeq: this.#deletedThrough + 1,
    };
  }

  loadMachines(): Promise<StoredMachine[]> {
    const machines = [...this.#rows].flatMap(([, { record, state, conditions }]) =>
      record === null
        ? []
        : [{ record: copy(record), state: state ?? 'turnedOff', conditions: [...conditions.values()] }],
    );
    return Promise.resolve(machines.toSorted((a, b) => (a.record.id < b.record.id ? -1 : 1)));
  }

  loadHolds(): Promise<StoredHold[]> {
    return Promise.resolve([...this.#holds.values()]);
  }

  putMachine(record: MachineRecord): Promise<void> {
    const stored = copy(record);
    return this.#effect(
      () => {
        this.#row(stored.id).record = stored;
      },
      () => this.#keep(null, { put: stored }),
    );
  }

  loadDocuments(kind: string): Promise<StoredDocument[]> {
    const found = [...this.#documents.values()].filter((document) => document.kind === kind);
    return Promise.resolve(copy(found.toSorted((a, b) => (a.key < b.key ? -1 : 1))));
  }

  putDocuments(documents: readonly StoredDocument[]): Promise<void> {
    const stored = copy(documents);
    return this.#effect(
      () => this.#applyDocuments(stored),
      () => undefined,
    );
  }

  getValue(key: string): Promise<string | null> {
    return Promise.resolve(this.#values.get(key) ?? null);
  }

  setValue(key: string, value: string): Promise<void> {
    return this.#effect(
      () => this.#values.set(key, value),
      () => undefined,
    );
  }

  close(): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    if (this.#error === null) this.#flush();
    this.#isClosed = true;
    for (const { failed } of this.#waiting.splice(0)) failed(unavailable('closed'));
    return Promise.resolve();
  }

  /** From now on nothing can be written. */
  failWrites(error: string): void {
    this.#error = error;
  }

  /** Writing works again: what waited is written. */
  mendWrites(): void {
    this.#error = null;
    this.#schedule();
  }

  /** Retention deleted everything up to this seq. */
  deleteThrough(seq: number): void {
    this.#deletedThrough = Math.max(this.#deletedThrough, Math.min(seq, this.#lastSeq));
    this.#events = this.#events.filter((event) => event.seq > this.#deletedThrough);
  }

  #read({ after, limit, vmId, types }: EventQuery): EventSlice {
    if (!Number.isSafeInteger(after) || after < 0 || !Number.isSafeInteger(limit) || limit < 1) {
      throw new VmError('E_INVALIDARG', 'after and limit must be whole numbers.');
    }
    if (after < this.#deletedThrough || after > this.#lastSeq) {
      throw new VmError(
        'VMPULSE_E_CURSOR_EXPIRED',
        `Oldest kept: ${this.#deletedThrough + 1}; go on with ${this.#lastSeq}.`,
      );
    }
    const events: VmEvent[] = [];
    let next = after;
    for (const event of this.#events.slice(after - this.#deletedThrough)) {
      if (events.length >= Math.min(limit, maxEventPage)) break;
      next = event.seq;
      if (vmId !== undefined && event.data.vm?.id !== vmId) continue;
      if (types === undefined || types.includes(eventTypeOf(event))) events.push(event);
    }
    return { events, next };
  }

  #effect(write: () => void, dropped: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#add({ draft: null, write, done: () => resolve(), failed: reject }, dropped);
    });
  }

  #add(waiting: Waiting, dropped: () => void): void {
    if (this.#isClosed) {
      waiting.failed(unavailable('closed'));
    } else if (this.#waiting.length >= this.#maxPending) {
      if (waiting.draft !== null) {
        this.#lost += 1;
        this.#untold += 1;
      }
      dropped();
      waiting.failed(unavailable(this.#error ?? 'too many'));
    } else {
      this.#waiting.push(waiting);
      this.#schedule();
    }
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      if (this.#error === null) this.#flush();
    });
  }

  #flush(): void {
    const batch = this.#waiting.splice(0);
    if (this.#untold > 0 || this.#kept.size > 0) batch.push(this.#tellLoss());
    if (batch.length === 0) return;
    for (const { draft, write, done } of batch) {
      if (draft === null) {
        write(0);
        done(null);
        continue;
      }
      this.#lastSeq += 1;
      const event = toCloudEvent(draft, this.#lastSeq, this.serverId);
      this.#events.push(event);
      write(event.seq);
      done(event);
    }
    for (const { call } of this.#listeners) call(this.#lastSeq);
  }

  #tellLoss(): Waiting {
    const data = { lost: this.#untold, messageId: messageIds.eventsLost, reason: 'told to fail' };
    const draft: EventDraft | null =
      this.#untold === 0 ? null : { type: 'eventsLost', timeMs: this.#wallMs(), data };
    const kept = new Map(this.#kept);
    this.#untold = 0;
    this.#kept.clear();
    const write = (): void => {
      for (const [vmId, { record, state }] of kept) {
        const row = this.#rows.get(vmId);
        if (row === undefined || row.record === null) continue;
        row.record = record ?? row.record;
        row.state = state ?? row.state;
      }
    };
    return { draft, write, done: () => undefined, failed: () => undefined };
  }

  #keep(draft: EventDraft | null, effect: MachineEffect | undefined): void {
    const merge = (vmId: string, latest: { record?: MachineRecord; state?: VmState }): void => {
      this.#kept.set(vmId, { ...this.#kept.get(vmId), ...latest });
    };
    if (draft?.type === 'stateChanged' && draft.vm !== undefined)
      merge(draft.vm.id, { state: draft.data.state });
    if (effect !== undefined && 'put' in effect) merge(effect.put.id, { record: effect.put });
  }

  #row(vmId: string): Row {
    const row = this.#rows.get(vmId) ?? { record: null, state: null, conditions: new Map() };
    this.#rows.set(vmId, row);
    return row;
  }

  #apply(draft: EventDraft, seq: number, effect: MachineEffect | undefined): void {
    this.#applyHold(draft);
    if (draft.vm !== undefined) {
      const row = this.#row(draft.vm.id);
      if (draft.type === 'stateChanged') row.state = draft.data.state;
      if (draft.type === 'vmDeleted') row.conditions.clear();
      for (const [name, rule] of Object.entries(conditionRules)) {
        const condition = name as Condition;
        if (rule.closes === draft.type) row.conditions.delete(condition);
        if (rule.opens !== draft.type) continue;
        const opened = row.conditions.get(condition) ?? { condition, seq, sinceMs: draft.timeMs };
        const told = draft.type === 'heartbeatStopped' ? { verdict: draft.data.verdict } : {};
        row.conditions.set(condition, { ...opened, ...told });
      }
      if (beginsLife(draft)) {
        for (const [name, { condition, seq: openedSeq, sinceMs }] of row.conditions)
          row.conditions.set(name, { condition, seq: openedSeq, sinceMs });
      }
    }
    if (effect === undefined) return;
    if ('put' in effect) this.#row(effect.put.id).record = effect.put;
    else if ('remove' in effect) this.#rows.delete(effect.remove);
    else this.#applyDocuments(effect.documents);
  }

  #applyDocuments(documents: readonly StoredDocument[]): void {
    for (const document of documents) {
      const id = JSON.stringify([document.kind, document.key]);
      if (document.value === null) this.#documents.delete(id);
      else this.#documents.set(id, copy(document));
    }
  }

  #applyHold(draft: EventDraft): void {
    const vmId = draft.vm?.id ?? null;
    if (draft.type === 'holdStarted') {
      const { reason, until } = draft.data;
      this.#holds.set(vmId, { vmId, reason, sinceMs: draft.timeMs, untilMs: Date.parse(until) });
    }
    if (draft.type === 'holdEnded' || (draft.type === 'vmDeleted' && vmId !== null)) this.#holds.delete(vmId);
  }
}
