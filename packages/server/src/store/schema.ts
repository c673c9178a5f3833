/**
 * The database's schema, as steps from one version to the next. `PRAGMA user_version` says how many were taken.
 * A step that was released is never changed; a new one is put behind it.
 */
import type { DatabaseSync } from 'node:sqlite';

/** `PRAGMA application_id`: "vmpu". Tells our file from another program's. */
export const applicationId = 0x76_6d_70_75;

/** log2 of the events of one block. Part of the indexes of version 1: never to be changed. */
export const blockBits = 9;

/**
 * The indexes start with the block of the event (512 in a row), not with its machine: an index by machine alone is
 * written at as many places as there are machines, and a mass stop of 1,000 of them took four times as long. A filtered
 * read looks into one block after the other.
 * `log` holds what outlives all events: server id, last seq deleted by retention.
 */
const version1 = `
CREATE TABLE log (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  server_id TEXT NOT NULL,
  deleted_through INTEGER NOT NULL
) STRICT;
CREATE TABLE events (
  seq INTEGER PRIMARY KEY,
  type TEXT NOT NULL,
  vm_id TEXT,
  vm_name TEXT,
  time_ms INTEGER NOT NULL,
  data TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_vm ON events (seq >> 9, vm_id, seq, type) WHERE vm_id IS NOT NULL;
CREATE INDEX events_by_type ON events (seq >> 9, type, seq);
CREATE TABLE machines (vm_id TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE machine_states (vm_id TEXT PRIMARY KEY, state TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE conditions (
  vm_id TEXT NOT NULL,
  condition TEXT NOT NULL,
  seq INTEGER NOT NULL,
  since_ms INTEGER NOT NULL,
  PRIMARY KEY (vm_id, condition)
) STRICT, WITHOUT ROWID;
CREATE TABLE server_values (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
`;

/**
 * The verdict of an open heartbeatStopped stands beside it: the event may be deleted by retention long before the guest
 * is mended. For what is open already it is taken from the last event of the machine that is kept (with `max`, SQLite
 * takes the other columns from the row of the maximum). A hold on all machines has the empty id.
 */
const version2 = `
ALTER TABLE conditions ADD COLUMN verdict TEXT;
UPDATE conditions SET verdict = told.verdict FROM (
  SELECT vm_id, max(seq), data ->> 'verdict' AS verdict FROM events
  WHERE type = 'heartbeatStopped'
    AND seq >= (SELECT min(seq) FROM conditions WHERE condition = 'heartbeatStopped')
  GROUP BY vm_id
) AS told
WHERE told.vm_id = conditions.vm_id AND conditions.condition = 'heartbeatStopped';
CREATE TABLE holds (
  vm_id TEXT PRIMARY KEY,
  reason TEXT NOT NULL,
  since_ms INTEGER NOT NULL,
  until_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`;

/** What the parts of the service keep besides machines: subscriptions, cursors, webhooks, plans of recovery. */
const version3 = `
CREATE TABLE documents (
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
`;

/** The steps, the first makes version 1 out of nothing. */
export const migrations: readonly string[] = [version1, version2, version3];

/** A number that a PRAGMA answers. */
export function pragmaNumber(db: DatabaseSync, name: string): number {
  const row = db.prepare(`PRAGMA ${name}`).get();
  return Number(Object.values(row ?? {})[0] ?? 0);
}

/** Takes the steps that `db` has not taken, all or none of them. */
export function migrate(db: DatabaseSync, steps: readonly string[] = migrations): void {
  const version = pragmaNumber(db, 'user_version');
  if (version >= steps.length) return;
  db.exec('BEGIN IMMEDIATE');
  try {
    for (const step of steps.slice(version)) db.exec(step);
    db.exec(`PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${steps.length}`);
    db.exec('COMMIT');
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    throw error;
  }
}
