/** Opens the database file for one of the threads, and finds out what is wrong with it without changing it. */
import { statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { applicationId, migrations, pragmaNumber } from './schema.ts';
import { busyTimeoutMs } from './store-limits.ts';
import { StoreError, sqliteCodeOf } from './thread.ts';

/** SQLite's primary result codes for a file that is damaged or none of its own. */
const damaged: ReadonlySet<number | null> = new Set([11, 26]);

function unreadable(file: string, reason: string): StoreError {
  return new StoreError(
    'VMPULSE_E_DATABASE_UNREADABLE',
    `${file} cannot be read as vmpulse's database (${reason}). vmpulse leaves it as it is. Restore it from a backup, ` +
      `or move it away together with ${file}-wal and ${file}-shm and start again with an empty one.`,
  );
}

/** What `thrown` means, where it says that the file is damaged; else itself. */
export function explainDamage(file: string, thrown: unknown): unknown {
  const isDamaged = damaged.has(sqliteCodeOf(thrown));
  return isDamaged ? unreadable(file, (thrown as Error).message) : thrown;
}

/**
 * Looks at an existing file through a connection that cannot write, so that a newer or foreign database stays
 * untouched. Errors: VMPULSE_E_DATABASE_NEWER, VMPULSE_E_DATABASE_UNREADABLE.
 */
export function checkFile(file: string): void {
  const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  if (size === 0) return;
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(file, { readOnly: true, timeout: busyTimeoutMs });
    const version = pragmaNumber(db, 'user_version');
    const tables = Number(db.prepare('SELECT count(*) AS n FROM sqlite_schema').get()?.['n']);
    const application = pragmaNumber(db, 'application_id');
    if (application !== applicationId && (tables > 0 || version > 0)) {
      throw unreadable(file, 'it is the database of another program');
    }
    if (version > migrations.length) {
      throw new StoreError(
        'VMPULSE_E_DATABASE_NEWER',
        `${file} was written by a newer vmpulse (schema ${version}; this one knows up to ${migrations.length}). ` +
          'Start that version or a later one; this one leaves the file as it is.',
      );
    }
    if (version > 0) {
      const log = db.prepare('SELECT server_id FROM log').get();
      if (log === undefined) throw unreadable(file, 'its server id is missing');
      db.prepare('SELECT min(seq), max(seq) FROM events').get();
    }
  } catch (error) {
    if (error instanceof StoreError) throw error;
    // A file cut short lacks tables: that too is damage, whatever SQLite calls it.
    if (sqliteCodeOf(error) === 1) throw unreadable(file, (error as Error).message);
    throw explainDamage(file, error);
  } finally {
    db?.close();
  }
}

/** A connection in WAL mode that writes; `synchronous = FULL`: a commit has reached the disk when it returns. */
export function openForWriting(file: string): DatabaseSync {
  const db = new DatabaseSync(file, { timeout: busyTimeoutMs });
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0');
  return db;
}
