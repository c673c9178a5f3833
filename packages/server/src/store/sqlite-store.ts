/**
 * The event log and the stored machines in one SQLite database, `vmpulse.db`, so that an event and what it means for
 * its machine are on disk together or not at all. Three threads: one writes, one reads, one copies the write-ahead log.
 * Here in the main thread are the queue of what waits for the writer and the newest events for live readers.
 */
import { join, resolve } from 'node:path';
import {
  type EventDraft,
  type StopVerdict,
  VmError,
  type VmEvent,
  type VmState,
  toCloudEvent,
} from '@vmpulse/wire';
import { type Clock, withDeadline } from '../clock.ts';
import type { EventLog, EventLogState, EventQuery, EventSlice } from '../event/log.ts';
import type {
  Condition,
  DocumentStore,
  MachineEffect,
  MachineRecord,
  MachineStore,
  OpenCondition,
  StoredDocument,
  StoredHold,
  StoredMachine,
} from '../machine-record.ts';
import { Checkpointer } from './checkpointer.ts';
import { type DirectoryLock, lockDirectory, prepareDirectory } from './data-directory.ts';
import { encodeEffect, encodeEvent, itemBytes } from './encoding.ts';
import { KeptThread } from './kept-thread.ts';
import type { CheckpointCalls, ReadRow, ReaderCalls, RowEffect, WriteItem, WriterCalls } from './protocol.ts';
import { checkKept, checkQuery, checkReached } from './query.ts';
import { Retainer, type Retention, defaultRetention } from './retention.ts';
import {
  closeTimeoutMs,
  maxPageBytes,
  maxRowsPerTurn,
  maxWaitingReads,
  readTimeoutMs,
} from './store-limits.ts';
import { Tail } from './tail.ts';
import { CallFailure, type StartThread } from './thread-client.ts';
import { type Pending, WriteQueue } from './write-queue.ts';

/** How the store is opened. */
export interface SqliteStoreOptions {
  readonly clock: Clock;
  /** What is kept; default 30 days and 1 GiB. */
  readonly retention?: Partial<Retention>;
  /** What has no caller to be told to: an error in a listener. */
  readonly warn?: (message: string, error: unknown) => void;
  /** @internal For tests: at how many pages the disk is full. */
  readonly maxPages?: number;
  /** @internal For tests: default `maxPendingEvents`. */
  readonly maxPending?: number;
  /** @internal For tests: how many of the newest events are served from memory. */
  readonly tailEvents?: number;
  /** @internal For simulation: how a thread is started; default: as one of Node's. */
  readonly startThread?: StartThread;
}

/** The store of one data directory. */
export class SqliteStore implements EventLog, MachineStore, DocumentStore {
  readonly #clock: Clock;
  readonly #warn: (message: string, error: unknown) => void;
  readonly #lock: DirectoryLock;
  readonly #writer: KeptThread<WriterCalls>;
  readonly #reader: KeptThread<ReaderCalls>;
  readonly #copier: KeptThread<CheckpointCalls>;
  readonly #queue: WriteQueue;
  readonly #checkpointer: Checkpointer;
  readonly #retainer: Retainer;
  readonly #tail: Tail;
  readonly #listeners = new Set<(lastSeq: number) => void>();
  #serverId = '';
  #lastSeq = 0;
  #deletedThrough = 0;
  #closing: Promise<void> | null = null;

  private constructor(file: string, lock: DirectoryLock, options: SqliteStoreOptions) {
    const { clock, startThread } = options;
    this.#clock = clock;
    this.#warn = options.warn ?? (() => undefined);
    this.#lock = lock;
    this.#tail = new Tail(options.tailEvents);
    const bounds = { file, maxPages: options.maxPages ?? null };
    this.#writer = new KeptThread(clock, 'writer', () => bounds, startThread);
    this.#reader = new KeptThread(clock, 'reader', () => ({ file }), startThread);
    this.#copier = new KeptThread(clock, 'checkpoint', () => ({ file }), startThread);
    this.#queue = new WriteQueue({
      clock,
      commit: (items, isUnknown) => this.#commit(items, isUnknown),
      committed: () => this.#tellListeners(),
      encode: (draft) =>
        this.#pendingEvent(
          draft,
          undefined,
          () => undefined,
          () => undefined,
        ),
      ...(options.maxPending === undefined ? {} : { maxPending: options.maxPending }),
    });
    this.#checkpointer = new Checkpointer({
      clock,
      passive: () => this.#copier.call('passive', null),
      restart: () => this.#writer.call('restartWal', null),
    });
    const retention = { ...defaultRetention, ...options.retention };
    this.#retainer = new Retainer(clock, retention, async (step) => {
      const answer = await this.#writer.call('retain', step);
      this.#deletedThrough = answer.deletedThrough;
      this.#checkpointer.note(answer.wal);
      return answer.more;
    });
  }

  /**
   * Opens the store in `directory`, which is made where it is missing, and holds it until `close` or the end of the
   * process. Errors: VMPULSE_E_DATA_DIRECTORY, VMPULSE_E_DATA_DIRECTORY_IN_USE, VMPULSE_E_DATABASE_NEWER,
   * VMPULSE_E_DATABASE_UNREADABLE.
   */
  static async open(directory: string, options: SqliteStoreOptions): Promise<SqliteStore> {
    const path = resolve(directory);
    prepareDirectory(path);
    const lock = lockDirectory(path);
    const store = new SqliteStore(join(path, 'vmpulse.db'), lock, options);
    try {
      await store.#start();
    } catch (error) {
      await store.#closeThreads();
      lock.release();
      throw openError(path, error);
    }
    return store;
  }

  get serverId(): string {
    return this.#serverId;
  }

  append(draft: EventDraft, effect?: MachineEffect): Promise<VmEvent> {
    return new Promise((fulfil, reject) => {
      // What throws here (a draft that is no JSON, a time that is none) rejects the promise.
      this.#queue.add(this.#pendingEvent(draft, effect, fulfil, reject));
    });
  }

  /**
   * A page; `limit` above 1,000 counts as 1,000. Errors: VMPULSE_E_CURSOR_EXPIRED also for an `after` that this log has
   * not reached yet (the cursor is of another log, or of this one before it was restored from a backup): what to do
   * is the same. E_INVALIDARG for numbers that are none. VMPULSE_E_LOG_UNAVAILABLE when the database cannot be read.
   */
  async read(query: EventQuery): Promise<EventSlice> {
    const checked = checkQuery(query);
    checkKept(checked.after, this.#deletedThrough, this.#lastSeq);
    const slice = this.#tail.read(checked);
    if (slice !== null) return slice;
    if (checked.after === this.#lastSeq) return { events: [], next: checked.after };
    return this.#readPage(checked);
  }

  onCommit(listener: (lastSeq: number) => void): () => void {
    // Wrapped, so that the same function given twice is two listeners.
    const entry = (lastSeq: number): void => listener(lastSeq);
    this.#listeners.add(entry);
    return () => void this.#listeners.delete(entry);
  }

  state(): EventLogState {
    const { error, pending, lost } = this.#queue;
    return {
      writable: error === null && this.#closing === null,
      error: this.#closing === null ? error : (error ?? 'the event log is closed'),
      pending,
      lost,
      lastSeq: this.#lastSeq,
      oldestSeq: this.#deletedThrough + 1,
    };
  }

  async loadMachines(): Promise<StoredMachine[]> {
    const { machines, conditions } = await this.#readCall('machines', null);
    const open = new Map<string, OpenCondition[]>();
    for (const { vmId, condition, seq, sinceMs, verdict } of conditions) {
      const list = open.get(vmId) ?? [];
      const told = verdict === null ? {} : { verdict: verdict as StopVerdict };
      list.push({ condition: condition as Condition, seq, sinceMs, ...told });
      open.set(vmId, list);
    }
    return machines.map(({ vmId, record, state }) => ({
      record: JSON.parse(record) as MachineRecord,
      state: (state ?? 'turnedOff') as VmState,
      conditions: open.get(vmId) ?? [],
    }));
  }

  async loadHolds(): Promise<StoredHold[]> {
    const holds = await this.#readCall('holds', null);
    return holds.map((hold) => ({ ...hold, vmId: hold.vmId === '' ? null : hold.vmId }));
  }

  putMachine(record: MachineRecord): Promise<void> {
    return this.#write(() => encodeEffect({ put: record }));
  }

  async loadDocuments(kind: string): Promise<StoredDocument[]> {
    const documents = await this.#readCall('documents', kind);
    return documents.map(({ key, value }) => ({ kind, key, value: JSON.parse(value) as unknown }));
  }

  putDocuments(documents: readonly StoredDocument[]): Promise<void> {
    return this.#write(() => encodeEffect({ documents }));
  }

  getValue(key: string): Promise<string | null> {
    return this.#readCall('value', key);
  }

  setValue(key: string, value: string): Promise<void> {
    return this.#write(() => [{ op: 'value', key, value }]);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** @internal For tests: from now on the disk is full when the database has this many pages. */
  async setMaxPages(pages: number): Promise<void> {
    await this.#writer.call('maxPages', pages);
  }

  /** @internal For tests: ends a thread as a crash would. */
  async killThread(name: 'writer' | 'reader' | 'copier'): Promise<void> {
    await { writer: this.#writer, reader: this.#reader, copier: this.#copier }[name].kill();
  }

  /** @internal For simulation: what the end of its process does to what it holds; nothing is written any more. */
  abandon(): void {
    this.#lock.release();
  }

  async #start(): Promise<void> {
    // The third thread is started when there is something to copy.
    const [bounds] = await Promise.all([this.#writer.open(), this.#reader.open()]);
    this.#serverId = bounds.serverId;
    this.#lastSeq = bounds.lastSeq;
    this.#deletedThrough = bounds.deletedThrough;
    this.#retainer.run();
  }

  async #close(): Promise<void> {
    await this.#queue.close(closeTimeoutMs);
    await Promise.all([this.#retainer.close(), this.#checkpointer.close()]);
    await this.#closeThreads();
    this.#lock.release();
    this.#listeners.clear();
  }

  /** The writer last: the last connection copies the write-ahead log and removes it. */
  async #closeThreads(): Promise<void> {
    await Promise.all([this.#reader.close(), this.#copier.close()]);
    await this.#writer.close();
  }

  async #commit(items: readonly WriteItem[], isUnknown: boolean): Promise<number> {
    const answer = await this.#writer.call('write', { items, afterSeq: isUnknown ? this.#lastSeq : null });
    this.#retainer.note(answer.lastSeq - this.#lastSeq);
    this.#lastSeq = answer.lastSeq;
    this.#checkpointer.note(answer.wal);
    return answer.firstSeq;
  }

  #tellListeners(): void {
    for (const listener of this.#listeners) {
      try {
        listener(this.#lastSeq);
      } catch (error) {
        this.#warn('A listener of the event log failed.', error);
      }
    }
  }

  /** The event as told is made from what is stored: memory and disk say the same, whatever became of `draft`. */
  #pendingEvent(
    draft: EventDraft,
    effect: MachineEffect | undefined,
    fulfil: (event: VmEvent) => void,
    failed: (error: VmError) => void,
  ): Pending {
    const item = encodeEvent(draft, effect);
    const { event } = item;
    return {
      item,
      bytes: itemBytes(item),
      written: (seq) => {
        const told = this.#decode([seq, event.type, event.vmId, event.vmName, event.timeMs, event.data]);
        this.#tail.push(told, event.data.length);
        fulfil(told);
      },
      failed,
    };
  }

  /** From the database, some rows in each turn: a reader that catches up must not hold up the monitor. */
  async #readPage({ after, limit, vmId, types }: EventQuery): Promise<EventSlice> {
    const events: VmEvent[] = [];
    let next = after;
    let bytes = 0;
    while (events.length < limit && bytes < maxPageBytes) {
      const asked = Math.min(maxRowsPerTurn, limit - events.length);
      const page = await this.#readCall('page', {
        after: next,
        limit: asked,
        vmId: vmId ?? null,
        types: types ?? null,
      });
      // What retention deleted meanwhile is told with the next page, not for the rows that are here already.
      if (events.length > 0 && next < page.deletedThrough) break;
      checkKept(next, page.deletedThrough, page.lastSeq);
      checkReached(next, page.lastSeq);
      for (const row of page.rows) {
        events.push(this.#decode(row));
        bytes += row[5].length;
      }
      next = page.next;
      if (page.rows.length < asked) break;
    }
    return { events, next };
  }

  #write(encode: () => RowEffect[]): Promise<void> {
    return new Promise((fulfil, reject) => {
      const item: WriteItem = { event: null, effects: encode() };
      this.#queue.add({ item, bytes: itemBytes(item), written: () => fulfil(), failed: reject });
    });
  }

  async #readCall<K extends 'page' | 'machines' | 'holds' | 'value' | 'documents'>(
    call: K,
    request: ReaderCalls[K]['request'],
  ): Promise<ReaderCalls[K]['answer']> {
    if (this.#closing !== null) throw unavailable('it is closed: vmpulse is stopping', undefined);
    if (this.#reader.waiting >= maxWaitingReads)
      throw unavailable('too many reads wait; try again later', undefined);
    const late = (): Error => new Error(`no answer within ${readTimeoutMs / 1000} s`);
    try {
      return await withDeadline(this.#clock, this.#reader.call(call, request), readTimeoutMs, late);
    } catch (error) {
      throw unavailable((error as Error).message, error);
    }
  }

  #decode([seq, type, vmId, vmName, timeMs, data]: ReadRow): VmEvent {
    const vm = vmId === null ? {} : { vm: { id: vmId, name: vmName ?? '' } };
    const draft = { type, timeMs, data: JSON.parse(data) as unknown, ...vm } as unknown as EventDraft;
    return toCloudEvent(draft, seq, this.#serverId);
  }
}

function unavailable(reason: string, cause: unknown): VmError {
  return new VmError('VMPULSE_E_LOG_UNAVAILABLE', `The event log cannot be read: ${reason}.`, { cause });
}

function openError(directory: string, thrown: unknown): unknown {
  if (thrown instanceof CallFailure && thrown.failure.code !== null) {
    return new VmError(thrown.failure.code, thrown.message, { cause: thrown });
  }
  return new VmError(
    'VMPULSE_E_DATA_DIRECTORY',
    `The database in ${directory} cannot be opened (${(thrown as Error).message}). See that the disk has room and ` +
      'that the user that runs vmpulse may write there.',
    { cause: thrown },
  );
}
