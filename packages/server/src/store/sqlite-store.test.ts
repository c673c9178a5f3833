import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import type { VmError, VmEvent } from '@vmpulse/wire';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import {
  holdDraft,
  machineRecord,
  machineReference,
  stoppedDraft,
} from '../../../../test/support/machines.ts';
import { SystemClock } from '../clock.ts';
import { migrations } from './schema.ts';
import { SqliteStore, type SqliteStoreOptions } from './sqlite-store.ts';
import { ThreadClient } from './thread-client.ts';

let directory = '';
const stores: SqliteStore[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmpulse-store-'));
});

afterEach(async () => {
  vi.restoreAllMocks();
  await Promise.all(stores.splice(0).map((store) => store.close()));
  rmSync(directory, { recursive: true });
});

async function open(
  options: Partial<SqliteStoreOptions> = {},
  path: string = directory,
): Promise<SqliteStore> {
  const store = await SqliteStore.open(path, { clock: new SystemClock(), ...options });
  stores.push(store);
  return store;
}

async function failure(promise: Promise<unknown>): Promise<VmError> {
  try {
    await promise;
  } catch (error) {
    return error as VmError;
  }
  throw new Error('it succeeded');
}

const now = (n: number): ReturnType<typeof stoppedDraft> => stoppedDraft(n, Date.now());
const appendMany = (store: SqliteStore, count: number): Promise<{ seq: number }[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => store.append(now(index % 100))));

function checkIntegrity(path: string): void {
  const db = new DatabaseSync(join(path, 'vmpulse.db'));
  expect(db.prepare('PRAGMA integrity_check').get()).toEqual({ integrity_check: 'ok' });
  expect(db.prepare('SELECT count(*) AS n, max(seq) AS last FROM events').get()).toSatisfy(
    (row: { n: number; last: number | null }) => row.n === (row.last ?? 0),
  );
  db.close();
}

test('events, machines, values and the id of the log outlive a restart', async () => {
  const first = await open();
  const event = await first.append(now(1), { put: machineRecord(1) });
  await first.setValue('cleanStop', 'yes');
  await first.append(holdDraft(1, 'backup', 60_000));
  await first.close();
  expect(readdirSync(directory).toSorted()).toEqual(['vmpulse.db', 'vmpulse.lock', 'vmpulse.pid']);
  const second = await open();
  expect(second.serverId).toBe(first.serverId);
  expect((await second.read({ after: 0, limit: 1 })).events).toEqual([event]);
  const conditions = [{ condition: 'heartbeatStopped', seq: 1, verdict: 'hung' }];
  expect(await second.loadMachines()).toMatchObject([{ record: machineRecord(1), conditions }]);
  expect(await second.loadHolds()).toMatchObject([{ vmId: machineReference(1).id, reason: 'backup' }]);
  expect(await second.getValue('cleanStop')).toBe('yes');
});

test('a directory in use is refused, with the process that uses it', async () => {
  await open();
  const error = await failure(open());
  expect(error.code).toBe('VMPULSE_E_DATA_DIRECTORY_IN_USE');
  expect(error.message).toContain(`process ${process.pid}`);
});

test('a directory is free again the moment the process that used it was killed', async () => {
  const child = fileURLToPath(new URL('../../../../test/support/append-until-killed.ts', import.meta.url));
  const holder = spawn(process.execPath, [child, 'store', directory, '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(holder.stdout, 'data');
  const error = await failure(open());
  expect(error.code).toBe('VMPULSE_E_DATA_DIRECTORY_IN_USE');
  expect(error.message).toContain(`process ${holder.pid}`);
  holder.kill('SIGKILL');
  await once(holder, 'close');
  const store = await open();
  expect(store.state().lastSeq).toBeGreaterThan(0);
});

test('a directory that cannot be made is refused', async () => {
  writeFileSync(join(directory, 'file'), '');
  const error = await failure(open({}, join(directory, 'file', 'data')));
  expect(error.code).toBe('VMPULSE_E_DATA_DIRECTORY');
  expect(error.message).toContain('--data');
});

test.each([
  ['garbage', (file: string) => writeFileSync(file, 'this is no database at all'.repeat(1_000))],
  [
    'the database of another program',
    (file: string) => {
      const db = new DatabaseSync(file);
      db.exec('CREATE TABLE theirs (a)');
      db.close();
    },
  ],
])('%s in place of the database is refused and left as it is', async (_what, make) => {
  const file = join(directory, 'vmpulse.db');
  make(file);
  const before = readFileSync(file);
  const error = await failure(open());
  expect(error.code).toBe('VMPULSE_E_DATABASE_UNREADABLE');
  expect(error.message).toMatch(/backup.*move it away/);
  expect(readFileSync(file).equals(before)).toBe(true);
  // The directory was let go.
  rmSync(file);
  await open();
});

test('a database cut short is refused and left as it is', async () => {
  const store = await open();
  await appendMany(store, 500);
  await store.close();
  const file = join(directory, 'vmpulse.db');
  const whole = readFileSync(file);
  for (const length of [50, 5_000, 20_000]) {
    writeFileSync(file, whole.subarray(0, length));
    expect((await failure(open())).code).toBe('VMPULSE_E_DATABASE_UNREADABLE');
    expect(readFileSync(file).equals(whole.subarray(0, length))).toBe(true);
  }
});

test('a database of a newer vmpulse is refused and left as it is', async () => {
  await (await open()).close();
  const file = join(directory, 'vmpulse.db');
  const db = new DatabaseSync(file);
  db.exec(`PRAGMA user_version = ${migrations.length + 1}`);
  db.close();
  const before = readFileSync(file);
  const error = await failure(open());
  expect(error.code).toBe('VMPULSE_E_DATABASE_NEWER');
  expect(error.message).toContain('newer');
  expect(readFileSync(file).equals(before)).toBe(true);
});

test('a full disk stops writing, corrupts nothing, and close gives up what it cannot write', async () => {
  const store = await open({ maxPages: 60 });
  const appended = Array.from({ length: 2_000 }, (_, n) =>
    store.append(now(n)).then(
      () => 1,
      () => 0,
    ),
  );
  await vi.waitFor(() => expect(store.state().writable).toBe(false), 120_000);
  expect(store.state().error).toContain('full');
  expect(store.state().error).toContain('Free disk space');
  expect(store.state().pending).toBeGreaterThan(0);
  await store.setMaxPages(100_000);
  await vi.waitFor(
    () => expect(store.state()).toMatchObject({ writable: true, pending: 0, lastSeq: 2_000 }),
    120_000,
  );
  expect(await Promise.all(appended)).not.toContain(0);
  await store.close();
  checkIntegrity(directory);
});

const isRoot = process.getuid?.() === 0;
const mounts = isRoot && spawnSync('unshare', ['-m', 'true']).status === 0;

test.skipIf(!mounts)(
  'a small file system that fills up: writing goes on when there is room (needs root)',
  async () => {
    const path = join(directory, 'small');
    mkdirSync(path);
    expect(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', path]).status).toBe(0);
    try {
      writeFileSync(join(path, 'ballast'), Buffer.alloc(400_000));
      const store = await open({}, path);
      await store.append(now(0));
      const appended = Array.from({ length: 1_000 }, (_, n) =>
        store.append(now(n)).then(
          () => 1,
          () => 0,
        ),
      );
      await vi.waitFor(() => expect(store.state().writable).toBe(false), 120_000);
      expect(store.state().error).toMatch(/full|I\/O/);
      const atFull = join(directory, 'copy');
      cpSync(path, atFull, { recursive: true });
      checkIntegrity(atFull);
      // Remounting larger is what an operator who frees space does, only quicker.
      expect(spawnSync('mount', ['-o', 'remount,size=16m', path]).status).toBe(0);
      await Promise.all(appended);
      expect(store.state()).toMatchObject({ writable: true, lastSeq: 1_001, lost: 0 });
      await store.close();
      checkIntegrity(path);
    } finally {
      await Promise.all(stores.splice(0).map((store) => store.close()));
      spawnSync('umount', [path]);
    }
  },
);

test('the death of the writing thread in the middle of commits loses and doubles nothing', async () => {
  const store = await open();
  const tags = new Map<number, string>();
  let sent = 0;
  const killed = new AbortController();
  const pump = async (): Promise<void> => {
    while (!killed.signal.aborted) {
      sent += 1;
      const reason = `tag ${sent}`;
      const event = await store.append({
        type: 'serviceStopped',
        timeMs: Date.now(),
        data: { messageId: 2, reason },
      });
      expect(tags.has(event.seq)).toBe(false);
      tags.set(event.seq, reason);
    }
  };
  const pumps = Promise.all([pump(), pump(), pump()]);
  let deaths = 0;
  while (deaths < 3) {
    const at = store.state().lastSeq;
    await vi.waitFor(() => expect(store.state().lastSeq).toBeGreaterThan(at), 120_000);
    await store.killThread('writer');
    deaths += 1;
    await vi.waitFor(() => expect(store.state().writable).toBe(true), 120_000);
  }
  killed.abort();
  await pumps;
  expect(store.state()).toMatchObject({ lastSeq: sent, lost: 0, writable: true });
  const events: VmEvent[] = [];
  while (events.length < sent) {
    const page = await store.read({ after: events.length, limit: 1_000 });
    expect(page.events.length).toBeGreaterThan(0);
    events.push(...page.events);
  }
  expect(events.map(({ seq }) => seq)).toEqual(Array.from({ length: sent }, (_, index) => index + 1));
  for (const event of events) expect((event.data as { reason: string }).reason).toBe(tags.get(event.seq));
});

test('the death of the writing thread is told, and nothing is left waiting at close', async () => {
  const store = await open();
  await store.append(now(1));
  const lost = store.append(now(2));
  await store.killThread('writer');
  await expect(lost).resolves.toMatchObject({ seq: 2 });
  expect(store.state()).toMatchObject({ writable: true, pending: 0 });
});

test('the death of the reading thread fails the reads under way; the next ones work', async () => {
  const store = await open({ tailEvents: 0 });
  await appendMany(store, 500);
  const reads = Array.from({ length: 50 }, () =>
    store.read({ after: 0, limit: 500 }).then(
      () => 'read',
      (error: VmError) => error.code,
    ),
  );
  await store.killThread('reader');
  for (const outcome of await Promise.all(reads))
    expect(['read', 'VMPULSE_E_LOG_UNAVAILABLE']).toContain(outcome);
  expect((await store.read({ after: 0, limit: 500 })).events).toHaveLength(500);
});

test('events in memory are read without asking the database, older ones with it', async () => {
  const store = await open({ tailEvents: 100 });
  await appendMany(store, 300);
  const call = vi.spyOn(ThreadClient.prototype, 'call');
  expect((await store.read({ after: 200, limit: 10 })).events).toHaveLength(10);
  expect((await store.read({ after: 290, limit: 1_000, vmId: machineReference(95).id })).next).toBe(300);
  expect(await store.read({ after: 300, limit: 10 })).toEqual({ events: [], next: 300 });
  expect(call).not.toHaveBeenCalled();
  expect((await store.read({ after: 199, limit: 10 })).events[0]?.seq).toBe(200);
  expect(call).toHaveBeenCalledTimes(1);
});

test('appends of one turn go out in one transaction, those that come meanwhile in the next', async () => {
  const store = await open();
  const call = vi.spyOn(ThreadClient.prototype, 'call');
  await appendMany(store, 900);
  expect(call.mock.calls.filter(([name]) => name === 'write')).toHaveLength(1);
});

test('a listener that throws disturbs nobody', async () => {
  const warn = vi.fn<(message: string, error: unknown) => void>();
  const store = await open({ warn });
  const seen: number[] = [];
  store.onCommit(() => {
    throw new Error('listener');
  });
  store.onCommit((seq) => seen.push(seq));
  await store.append(now(1));
  await vi.waitFor(() => expect(seen).toEqual([1]), 120_000);
  expect(warn).toHaveBeenCalledTimes(1);
});

test('retention by size keeps the database within its bound while events come', async () => {
  const maxBytes = 400_000;
  const store = await open({ retention: { maxBytes } });
  for (let round = 0; round < 12; round += 1) await appendMany(store, 2_000);
  await vi.waitFor(() => expect(store.state().oldestSeq).toBeGreaterThan(21_000), 120_000);
  const { oldestSeq, lastSeq } = store.state();
  expect(lastSeq).toBe(24_000);
  expect((await store.read({ after: oldestSeq - 1, limit: 1 })).events[0]?.seq).toBe(oldestSeq);
  await store.close();
  const db = new DatabaseSync(join(directory, 'vmpulse.db'), { readOnly: true });
  const number = (name: string): number => Number(Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0]);
  const usedBytes = (number('page_count') - number('freelist_count')) * number('page_size');
  // It also leaves something: not more was deleted than had to be.
  expect(usedBytes).toBeGreaterThan(maxBytes / 3);
  db.close();
});

test('the write-ahead log stays bounded under load, and is copied when nothing comes', async () => {
  const store = await open();
  const wal = join(directory, 'vmpulse.db-wal');
  let largest = 0;
  for (let round = 0; round < 60; round += 1) {
    await appendMany(store, 1_000);
    largest = Math.max(largest, statSync(wal).size);
  }
  // 16 MiB, plus what is written while it is being copied.
  expect(largest).toBeLessThan(40 * 1024 * 1024);
  await vi.waitFor(
    () => expect(statSync(join(directory, 'vmpulse.db')).size).toBeGreaterThan(30 * 1024 * 1024),
    120_000,
  );
});
