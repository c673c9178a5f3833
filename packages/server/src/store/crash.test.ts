import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { type VmEvent, isEvent } from '@vmpulse/wire';
import { expect, test } from 'vitest';
import { SystemClock } from '../clock.ts';
import { lockDirectory } from './data-directory.ts';
import { SqliteStore } from './sqlite-store.ts';
import { Writer } from './writer.ts';

const child = fileURLToPath(new URL('../../../../test/support/append-until-killed.ts', import.meta.url));

/** Lets a process append, kills it `afterMs` after it told so many lines, `word` among them; returns all it told. */
async function appendAndKill(
  mode: string,
  directory: string,
  round: number,
  afterMs: number,
  { lines = 1, word = '' } = {},
): Promise<string[]> {
  const appender = spawn(process.execPath, [child, mode, directory, String(round)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let told = '';
  let isDoomed = false;
  appender.stdout.setEncoding('utf8');
  appender.stdout.on('data', (text: string) => {
    told += text;
    if (isDoomed || told.split('\n').length <= lines || !told.includes(word)) return;
    isDoomed = true;
    setTimeout(() => appender.kill('SIGKILL'), afterMs);
  });
  await once(appender, 'close');
  expect(appender.signalCode).toBe('SIGKILL');
  return told.split('\n').slice(0, -1);
}

interface Row {
  seq: number;
  tag: string;
}

/** Opens the database as the next start does and returns what it holds after `after`. */
function reopen(directory: string, after: number): { rows: Row[]; last: number } {
  // The kernel took the lock back with the process.
  lockDirectory(directory).release();
  const file = join(directory, 'vmpulse.db');
  const writer = new Writer(file);
  const { lastSeq } = writer.bounds();
  const db = new DatabaseSync(file, { readOnly: true });
  const rows = db
    .prepare("SELECT seq, data ->> 'reason' AS tag FROM events WHERE seq > ? ORDER BY seq")
    .all(after);
  const count = Number(db.prepare('SELECT count(*) AS n FROM events').get()?.['n']);
  expect(count).toBe(lastSeq);
  db.close();
  writer.close();
  return { rows: rows as unknown as Row[], last: lastSeq };
}

async function killRounds(mode: string, rounds: number): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), 'vmpulse-kill-'));
  try {
    let last = 0;
    for (let round = 0; round < rounds; round += 1) {
      // Irregular, from soon to some dozens of commits; on a slow disk after the second at least.
      const told = await appendAndKill(mode, directory, round, (round * 7919) % 41, { lines: 3 });
      const found = reopen(directory, last);
      expect(found.rows.map(({ seq }) => seq)).toEqual(found.rows.map((_, index) => last + 1 + index));
      const stored = new Map(found.rows.map(({ seq, tag }) => [seq, tag]));
      expect(told.length).toBeGreaterThan(0);
      for (const line of told) {
        const [seq, tag] = line.split(' ');
        expect(stored.get(Number(seq))).toBe(tag);
      }
      last = found.last;
    }
    const db = new DatabaseSync(join(directory, 'vmpulse.db'));
    expect(db.prepare('PRAGMA integrity_check').get()).toEqual({ integrity_check: 'ok' });
    db.close();
    return last;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test('kill -9 of the writer in 30 rounds loses and doubles nothing it called durable', async () => {
  expect(await killRounds('writer', 30)).toBeGreaterThan(40);
});

test('kill -9 of the whole store in 10 rounds loses and doubles nothing either', async () => {
  expect(await killRounds('store', 10)).toBeGreaterThan(25);
});

/** Reasons of the holds that `events` leave open, by machine. */
function openHolds(events: readonly VmEvent[]): Map<string | null, string> {
  const open = new Map<string | null, string>();
  for (const event of events) {
    const vmId = event.data.vm?.id ?? null;
    if (isEvent(event, 'holdStarted')) open.set(vmId, event.data.reason);
    if (!isEvent(event, 'holdEnded')) continue;
    // Each end is that of the hold that was on.
    expect(event.data.reason).toBe(open.get(vmId));
    open.delete(vmId);
  }
  return open;
}

async function readAll(store: SqliteStore): Promise<VmEvent[]> {
  const events: VmEvent[] = [];
  for (let after = 0; after < store.state().lastSeq;) {
    const page = await store.read({ after, limit: 1_000 });
    events.push(...page.events);
    after = page.next;
  }
  return events;
}

test('kill -9 of a server that begins and ends holds, 10 times: what is stored is what the events say', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'vmpulse-kill-'));
  try {
    let left = 0;
    for (let round = 0; round < 10; round += 1) {
      const told = await appendAndKill('holds', directory, round, (round * 7919) % 97);
      const store = await SqliteStore.open(directory, { clock: new SystemClock() });
      const events = await readAll(store);
      const holds = await store.loadHolds();
      await store.close();
      expect(new Map(holds.map(({ vmId, reason }) => [vmId, reason]))).toEqual(openHolds(events));
      left += holds.length;
      const durable = events.flatMap((event) => {
        if (isEvent(event, 'holdStarted')) return [`told hold ${event.data.reason}`];
        return isEvent(event, 'holdEnded') ? [`told release ${event.data.reason}`] : [];
      });
      expect(told.filter((line) => !durable.includes(line))).toEqual([]);
    }
    expect(left).toBeGreaterThan(0);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('a subscription whose service is killed passes over nothing that was not told or set aside', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'vmpulse-store-'));
  const delivered = new Set<number>();
  try {
    for (const [round, afterMs] of [150, 320, 510, 240].entries()) {
      for (const line of await appendAndKill('subscription', directory, round, afterMs, { word: 'moved' })) {
        const [seq, what] = line.split(' ');
        if (what === 'delivered') delivered.add(Number(seq));
      }
      const store = await SqliteStore.open(directory, { clock: new SystemClock() });
      const [pager] = await store.loadDocuments('subscription');
      const letters = await store.loadDocuments('subscription.deadLetter');
      const { cursor } = (pager?.value ?? { cursor: 0 }) as { cursor: number };
      const { events } = await store.read({ after: 0, limit: 1_000, types: ['serviceStopped'] });
      await store.close();
      // The cursor is never ahead of what a consumer was told.
      const passed = events.filter(({ seq }) => seq <= cursor);
      expect(passed.filter(({ seq }) => !delivered.has(seq))).toEqual([]);
      expect(cursor).toBeGreaterThan(0);
      const dead = letters.map(({ value }) => (value as { seq: number }).seq);
      // Older ones have made room.
      const kept = Math.min(...dead);
      const refused = passed.map(({ seq }) => seq).filter((seq) => seq % 10 === 0 && seq >= kept);
      expect(refused.filter((seq) => !dead.includes(seq))).toEqual([]);
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});
