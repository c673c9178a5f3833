import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { WriteItem } from './protocol.ts';
import { Reader } from './reader.ts';
import { migrate, migrations, pragmaNumber } from './schema.ts';
import { Writer } from './writer.ts';

let directory = '';
let file = '';

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmpulse-writer-'));
  file = join(directory, 'vmpulse.db');
});

afterEach(() => rmSync(directory, { recursive: true }));

const item = (n: number, type = 'serviceStopped', vmId: string | null = null): WriteItem => ({
  event: { type, vmId, vmName: vmId, timeMs: n, data: `{"n":${n}}` },
  effects: [],
});
const items = (from: number, to: number): WriteItem[] =>
  Array.from({ length: to - from + 1 }, (_, index) => item(from + index));

test('an attempt whose end was unknown is found out: written once, whether it had been written or not', () => {
  const writer = new Writer(file);
  writer.write({ items: items(1, 5), afterSeq: null });
  // It had been written.
  writer.write({ items: items(6, 8), afterSeq: null });
  expect(writer.write({ items: items(6, 8), afterSeq: 5 })).toMatchObject({ firstSeq: 6, lastSeq: 8 });
  // It had not.
  expect(writer.write({ items: items(9, 10), afterSeq: 8 })).toMatchObject({ firstSeq: 9, lastSeq: 10 });
  expect(writer.bounds().lastSeq).toBe(10);
  writer.close();
});

test('a transaction that fails leaves nothing behind and burns no number', () => {
  const writer = new Writer(file);
  writer.write({ items: items(1, 3), afterSeq: null });
  const bad = {
    event: { type: 'x', vmId: null, vmName: null, timeMs: 1, data: null as unknown as string },
    effects: [],
  };
  const value = { event: null, effects: [{ op: 'value' as const, key: 'k', value: 'v' }] };
  expect(() => writer.write({ items: [item(4), value, bad], afterSeq: null })).toThrow(/NOT NULL/);
  expect(writer.write({ items: items(4, 4), afterSeq: null })).toMatchObject({ firstSeq: 4, lastSeq: 4 });
  const reader = new Reader(file);
  expect(reader.value('k')).toBeNull();
  reader.close();
  writer.close();
});

test('a reader sees nothing of a transaction that is not committed', () => {
  const writer = new Writer(file);
  writer.write({ items: items(1, 2), afterSeq: null });
  const reader = new Reader(file);
  const other = new DatabaseSync(file);
  other.exec("BEGIN IMMEDIATE; INSERT INTO events VALUES (3, 'x', NULL, NULL, 0, '{}')");
  expect(reader.page({ after: 0, limit: 10, vmId: null, types: null })).toMatchObject({
    lastSeq: 2,
    next: 2,
  });
  other.exec('ROLLBACK');
  other.close();
  reader.close();
  writer.close();
});

test('a filtered read looks through a bounded number of blocks and says how far it came', () => {
  const writer = new Writer(file);
  const many = Array.from({ length: 512 * 7 }, (_, index) =>
    item(index + 1, index === 3_000 ? 'guestReset' : 'serviceStopped', index === 3_000 ? 'vm' : null),
  );
  writer.write({ items: many, afterSeq: null });
  const reader = new Reader(file, 2);
  for (const filter of [
    { vmId: 'vm', types: null },
    { vmId: null, types: ['guestReset'] },
    { vmId: 'vm', types: ['guestReset', 'tripleFault'] },
  ]) {
    const nexts: number[] = [];
    const found: number[] = [];
    for (let after = 0; after < many.length; after = nexts.at(-1) ?? 0) {
      const page = reader.page({ after, limit: 10, ...filter });
      nexts.push(page.next);
      found.push(...page.rows.map(([seq]) => seq));
    }
    expect(nexts).toEqual([1_023, 2_047, 3_071, 3_584]);
    expect(found).toEqual([3_001]);
  }
  reader.close();
  writer.close();
});

test('filters use the indexes and sort nothing but one block', () => {
  const writer = new Writer(file);
  writer.close();
  const db = new DatabaseSync(file);
  const plan = (where: string): string =>
    db
      .prepare(
        `EXPLAIN QUERY PLAN SELECT * FROM events WHERE seq >> 9 = 1 AND ${where} AND seq > 5 ORDER BY seq LIMIT 9`,
      )
      .all()
      .map((row) => String(row['detail']))
      .join('; ');
  expect(plan("vm_id = 'a'")).toMatch(
    /^SEARCH events USING INDEX events_by_vm \(<expr>=\? AND vm_id=\? AND seq>\?\)$/,
  );
  expect(plan("type IN ('a', 'b')")).toContain('USING INDEX events_by_type (<expr>=? AND type=? AND seq>?)');
  db.close();
});

test('every commit of events waits for the disk, also after a deletion that did not', () => {
  const exec = vi.spyOn(DatabaseSync.prototype, 'exec');
  const writer = new Writer(file);
  const level = (): string | undefined =>
    exec.mock.calls
      .map(([sql]) => /synchronous = (\w+)/.exec(sql)?.[1])
      .filter((found) => found !== undefined)
      .at(-1);
  expect(level()).toBe('FULL');
  writer.write({ items: items(1, 9), afterSeq: null });
  writer.retain({ cutoffMs: 5, maxBytes: 1e9, chunk: 9 });
  expect(level()).toBe('FULL');
  vi.restoreAllMocks();
  writer.close();
});

test('large events end a page early', () => {
  const writer = new Writer(file);
  const large = {
    event: { type: 'x', vmId: 'vm', vmName: 'vm', timeMs: 0, data: 'x'.repeat(1_500_000) },
    effects: [],
  };
  writer.write({ items: [large, large, large, large, large], afterSeq: null });
  const reader = new Reader(file);
  for (const vmId of [null, 'vm']) {
    const page = reader.page({ after: 0, limit: 10, vmId, types: null });
    expect([page.rows.length, page.next]).toEqual([3, 3]);
    expect(reader.page({ after: 3, limit: 10, vmId, types: null }).rows).toHaveLength(2);
  }
  reader.close();
  writer.close();
});

test('retention deletes only what is old, in chunks, oldest first', () => {
  const writer = new Writer(file);
  writer.write({ items: items(1, 10), afterSeq: null });
  const retain = (cutoffMs: number, chunk: number, maxBytes = 1e9): unknown => {
    const { deletedThrough, more } = writer.retain({ cutoffMs, maxBytes, chunk });
    return [deletedThrough, more];
  };
  expect(retain(1, 3)).toEqual([0, false]);
  expect(retain(6, 3)).toEqual([3, true]);
  expect(retain(6, 3)).toEqual([5, false]);
  expect(retain(0, 2, 1)).toEqual([7, true]);
  expect(writer.write({ items: items(11, 11), afterSeq: null }).firstSeq).toBe(11);
  writer.close();
});

test('a database of an older version is migrated and keeps its data', () => {
  const [first = ''] = migrations;
  const old = new DatabaseSync(file);
  migrate(old, [first]);
  old.exec("INSERT INTO log VALUES (1, 'the-id', 4); INSERT INTO machines VALUES ('vm', '{}')");
  old.exec("INSERT INTO events VALUES (5, 'serviceStopped', NULL, NULL, 1, '{}')");
  migrate(old, [first, 'ALTER TABLE machines ADD COLUMN colour TEXT', "UPDATE machines SET colour = 'red'"]);
  expect(pragmaNumber(old, 'user_version')).toBe(3);
  expect(old.prepare('SELECT * FROM machines').get()).toEqual({ vm_id: 'vm', record: '{}', colour: 'red' });
  expect(old.prepare('SELECT seq FROM events').all()).toEqual([{ seq: 5 }]);
  old.close();
});

test('version 2 knows the verdict of what is open already, where the event is kept', () => {
  const [first = ''] = migrations;
  const old = new DatabaseSync(file);
  migrate(old, [first]);
  old.exec("INSERT INTO log VALUES (1, 'the-id', 4)");
  const event = old.prepare('INSERT INTO events VALUES (?, ?, ?, NULL, 1, ?)');
  event.run(5, 'heartbeatStopped', 'a', '{"verdict":"spinning"}');
  event.run(6, 'heartbeatStopped', 'b', '{"verdict":"busy"}');
  event.run(8, 'heartbeatResumed', 'b', '{}');
  event.run(9, 'heartbeatStopped', 'b', '{"verdict":"panicked"}');
  // Told again while it was open: the process of `a` died at last.
  event.run(10, 'heartbeatStopped', 'a', '{"verdict":"exited"}');
  event.run(11, 'visibilityLost', 'a', '{"verdict":"unknown"}');
  const condition = old.prepare('INSERT INTO conditions VALUES (?, ?, ?, 1)');
  condition.run('a', 'heartbeatStopped', 5);
  condition.run('a', 'visibilityLost', 11);
  condition.run('b', 'heartbeatStopped', 9);
  // Its event was deleted by retention.
  condition.run('c', 'heartbeatStopped', 3);
  old.close();
  new Writer(file).close();
  const db = new DatabaseSync(file, { readOnly: true });
  expect(db.prepare('SELECT * FROM conditions ORDER BY seq').all()).toEqual([
    { vm_id: 'c', condition: 'heartbeatStopped', seq: 3, since_ms: 1, verdict: null },
    { vm_id: 'a', condition: 'heartbeatStopped', seq: 5, since_ms: 1, verdict: 'exited' },
    { vm_id: 'b', condition: 'heartbeatStopped', seq: 9, since_ms: 1, verdict: 'panicked' },
    { vm_id: 'a', condition: 'visibilityLost', seq: 11, since_ms: 1, verdict: null },
  ]);
  expect(db.prepare('SELECT count(*) AS n FROM holds').get()).toEqual({ n: 0 });
  db.close();
});

test('a database of each released version opens with its data', () => {
  for (const version of migrations.keys()) {
    const path = join(directory, `version-${version + 1}.db`);
    const old = new DatabaseSync(path);
    migrate(old, migrations.slice(0, version + 1));
    old.exec("INSERT INTO log (one, server_id, deleted_through) VALUES (1, 'the-id', 4)");
    old.exec("INSERT INTO events (seq, type, time_ms, data) VALUES (5, 'serviceStopped', 1, '{}')");
    old.close();
    const writer = new Writer(path);
    expect(writer.bounds()).toEqual({ serverId: 'the-id', lastSeq: 5, deletedThrough: 4 });
    writer.close();
  }
});

test('a migration that fails changes nothing', () => {
  const db = new DatabaseSync(file);
  migrate(db, migrations);
  expect(() => migrate(db, [...migrations, 'CREATE TABLE half (a); SELECT nonsense'])).toThrow(/nonsense/);
  expect(pragmaNumber(db, 'user_version')).toBe(migrations.length);
  expect(db.prepare("SELECT name FROM sqlite_schema WHERE name = 'half'").get()).toBeUndefined();
  db.close();
});
