/**
 * The one writer of the database. Runs in a thread of its own. Keeps:
 *  I1 what `write` returned is on disk (WAL, synchronous FULL) and only then visible to other connections;
 *  I2 numbers are given inside the transaction, the next after the last stored one: a transaction that fails
 *     burns none.
 */
import { randomUUID } from 'node:crypto';
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { conditionRules } from '../machine-record.ts';
import { checkFile, explainDamage, openForWriting } from './database.ts';
import type { EventRow, RowEffect, WalState, WriterCalls } from './protocol.ts';
import { migrate, pragmaNumber } from './schema.ts';
import { busyTimeoutMs, maxIdleWalBytes } from './store-limits.ts';

type Statements = Record<keyof typeof sql, StatementSync>;

const sql = {
  bounds: 'SELECT server_id, deleted_through, (SELECT max(seq) FROM events) AS last FROM log',
  event: 'INSERT INTO events (seq, type, vm_id, vm_name, time_ms, data) VALUES (?, ?, ?, ?, ?, ?)',
  put: 'INSERT INTO machines VALUES (?, ?) ON CONFLICT DO UPDATE SET record = excluded.record',
  removeMachine: 'DELETE FROM machines WHERE vm_id = ?',
  removeState: 'DELETE FROM machine_states WHERE vm_id = ?',
  removeConditions: 'DELETE FROM conditions WHERE vm_id = ?',
  state: 'INSERT INTO machine_states VALUES (?, ?) ON CONFLICT DO UPDATE SET state = excluded.state',
  isStored: 'SELECT 1 FROM machines WHERE vm_id = ?',
  // The first opening counts; the verdict is the one told last.
  open:
    'INSERT INTO conditions (vm_id, condition, seq, since_ms, verdict) VALUES (?, ?, ?, ?, ?) ' +
    'ON CONFLICT DO UPDATE SET verdict = excluded.verdict',
  close: 'DELETE FROM conditions WHERE vm_id = ? AND condition = ?',
  forgetVerdict: 'UPDATE conditions SET verdict = NULL WHERE vm_id = ?',
  value: 'INSERT INTO server_values VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value',
  hold:
    'INSERT INTO holds VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE ' +
    'SET reason = excluded.reason, since_ms = excluded.since_ms, until_ms = excluded.until_ms',
  endHold: 'DELETE FROM holds WHERE vm_id = ?',
  document: 'INSERT INTO documents VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value',
  removeDocument: 'DELETE FROM documents WHERE kind = ? AND key = ?',
  oldest: 'SELECT seq, time_ms FROM events ORDER BY seq LIMIT ?',
  deleteEvents: 'DELETE FROM events WHERE seq <= ?',
  deletedThrough: 'UPDATE log SET deleted_through = ?',
  wal: 'PRAGMA wal_checkpoint(NOOP)',
  restart: 'PRAGMA wal_checkpoint(RESTART)',
} as const;

function prepareAll(db: DatabaseSync): Statements {
  const entries = Object.entries(sql).map(([name, text]) => [name, db.prepare(text)] as const);
  return Object.fromEntries(entries) as Statements;
}

/** The verdict of a heartbeatStopped; null of any other. */
function stopVerdict({ type, data }: EventRow): string | null {
  if (type !== 'heartbeatStopped') return null;
  const { verdict } = JSON.parse(data) as { verdict?: unknown };
  return typeof verdict === 'string' ? verdict : null;
}

/** The answer of `PRAGMA wal_checkpoint`. */
export function walState(row: Record<string, unknown> | undefined): WalState {
  return {
    frames: Math.max(0, Number(row?.['log'] ?? 0)),
    checkpointed: Math.max(0, Number(row?.['checkpointed'] ?? 0)),
  };
}

/** The writing connection. Every method is one call of the thread's protocol. */
export class Writer {
  readonly #db: DatabaseSync;
  readonly #run: Statements;

  /** Opens `file`, made or migrated where needed. Errors: VMPULSE_E_DATABASE_NEWER, VMPULSE_E_DATABASE_UNREADABLE. */
  constructor(file: string) {
    checkFile(file);
    try {
      this.#db = openForWriting(file);
      migrate(this.#db);
      this.#db.exec(`PRAGMA cache_size = -16000; PRAGMA journal_size_limit = ${maxIdleWalBytes}`);
      this.#run = prepareAll(this.#db);
      if (this.#run.bounds.get() === undefined) {
        this.#db.prepare('INSERT INTO log VALUES (1, ?, 0)').run(randomUUID());
      }
    } catch (error) {
      throw explainDamage(file, error);
    }
  }

  /** The log's id and ends. */
  bounds(): WriterCalls['open']['answer'] {
    const row = this.#run.bounds.get();
    const deletedThrough = Number(row?.['deleted_through']);
    return {
      serverId: String(row?.['server_id']),
      lastSeq: Math.max(Number(row?.['last'] ?? 0), deletedThrough),
      deletedThrough,
    };
  }

  /** Writes all items in one transaction, or none. */
  write({ items, afterSeq }: WriterCalls['write']['request']): WriterCalls['write']['answer'] {
    this.#db.exec('BEGIN IMMEDIATE');
    try {
      let seq = this.bounds().lastSeq;
      const count = items.filter((item) => item.event !== null).length;
      // An earlier attempt ended unknown (its thread died): the transaction is there as a whole or not at all.
      const isThere = afterSeq !== null && count > 0 && seq === afterSeq + count;
      const firstSeq = isThere ? seq - count + 1 : seq + 1;
      if (!isThere) {
        for (const { event, effects } of items) {
          if (event !== null) {
            seq += 1;
            this.#addEvent(event, seq);
          }
          for (const effect of effects) this.#apply(effect);
        }
      }
      this.#db.exec('COMMIT');
      return { firstSeq, lastSeq: seq, wal: this.#wal() };
    } catch (error) {
      this.#rollback();
      throw error;
    }
  }

  /**
   * Deletes at most `chunk` of the oldest events: those before `cutoffMs`, and, while the database holds more than
   * `maxBytes`, any. Its commit does not wait for the disk: should it be lost in a crash, it is done again.
   */
  retain({ cutoffMs, maxBytes, chunk }: WriterCalls['retain']['request']): WriterCalls['retain']['answer'] {
    const rows = this.#run.oldest.all(chunk);
    const isTooBig = this.#usedBytes() > maxBytes;
    const kept = isTooBig ? -1 : rows.findIndex((row) => Number(row['time_ms']) >= cutoffMs);
    const deleted = kept === -1 ? rows.length : kept;
    if (deleted === 0) return { ...this.bounds(), more: false, wal: this.#wal() };
    const through = Number(rows[deleted - 1]?.['seq']);
    this.#db.exec('PRAGMA synchronous = NORMAL');
    try {
      this.#db.exec('BEGIN IMMEDIATE');
      this.#run.deleteEvents.run(through);
      this.#run.deletedThrough.run(through);
      this.#db.exec('COMMIT');
    } catch (error) {
      this.#rollback();
      throw error;
    } finally {
      this.#db.exec('PRAGMA synchronous = FULL');
    }
    return { deletedThrough: through, more: deleted === chunk, wal: this.#wal() };
  }

  /** Begins the write-ahead log anew, if no reader is in its way: what is left to copy must be little by now. */
  restartWal(): WalState {
    this.#db.exec('PRAGMA busy_timeout = 0');
    try {
      return walState(this.#run.restart.get());
    } finally {
      this.#db.exec(`PRAGMA busy_timeout = ${busyTimeoutMs}`);
    }
  }

  /** For tests: the disk is full when the database has this many pages. */
  setMaxPages(pages: number): void {
    this.#db.exec(`PRAGMA max_page_count = ${Math.max(1, Math.floor(pages))}`);
  }

  /** Closes the connection; the last one copies what is left of the write-ahead log. */
  close(): void {
    this.#db.close();
  }

  #addEvent(event: EventRow, seq: number): void {
    this.#run.event.run(seq, event.type, event.vmId, event.vmName, event.timeMs, event.data);
    if (event.vmId === null) return;
    if (event.type === 'vmDeleted') this.#run.removeConditions.run(event.vmId);
    for (const [condition, rule] of Object.entries(conditionRules)) {
      if (rule.opens === event.type) {
        this.#run.open.run(event.vmId, condition, seq, event.timeMs, stopVerdict(event));
      }
      if (rule.closes === event.type) this.#run.close.run(event.vmId, condition);
    }
  }

  #apply(effect: RowEffect): void {
    switch (effect.op) {
      case 'put':
        this.#run.put.run(effect.vmId, effect.record);
        break;
      case 'remove':
        this.#run.removeMachine.run(effect.vmId);
        this.#run.removeState.run(effect.vmId);
        this.#run.removeConditions.run(effect.vmId);
        break;
      case 'state':
        this.#run.state.run(effect.vmId, effect.state);
        break;
      case 'forgetVerdict':
        this.#run.forgetVerdict.run(effect.vmId);
        break;
      case 'keep':
        if (this.#run.isStored.get(effect.vmId) === undefined) break;
        if (effect.record !== undefined) this.#run.put.run(effect.vmId, effect.record);
        if (effect.state !== undefined) this.#run.state.run(effect.vmId, effect.state);
        break;
      case 'value':
        this.#run.value.run(effect.key, effect.value);
        break;
      case 'hold': {
        const { vmId, reason, sinceMs, untilMs } = effect.hold;
        this.#run.hold.run(vmId, reason, sinceMs, untilMs);
        break;
      }
      case 'endHold':
        this.#run.endHold.run(effect.vmId);
        break;
      case 'document':
        if (effect.value === null) this.#run.removeDocument.run(effect.kind, effect.key);
        else this.#run.document.run(effect.kind, effect.key, effect.value);
        break;
    }
  }

  #usedBytes(): number {
    const pages = pragmaNumber(this.#db, 'page_count') - pragmaNumber(this.#db, 'freelist_count');
    return pages * pragmaNumber(this.#db, 'page_size');
  }

  #wal(): WalState {
    return walState(this.#run.wal.get());
  }

  #rollback(): void {
    try {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
    } catch {
      // SQLite has rolled back by itself where it could not go on; the first error is the one to tell.
    }
  }
}
