import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { SqliteStore } from '../../packages/server/src/store/sqlite-store.ts';
import { testTimeMs } from '../support/machines.ts';
import { MemoryEventLog } from '../support/memory-event-log.ts';
import { SimulatedClock } from '../support/simulated-clock.ts';
import { type EventLogFixture, type FixtureOptions, describeEventLog } from './event-log.ts';

const dayMs = 86_400_000;

/** Simulated time passes quickly, real time for the store's threads with it. */
async function passTimeUntil(clock: SimulatedClock, condition: () => boolean): Promise<void> {
  for (let round = 0; !condition(); round += 1) {
    if (round > 60_000) throw new Error('the condition did not come true');
    await clock.advanceAsync(5);
    await delay(1);
  }
}

async function openSqlite(options: FixtureOptions, tailEvents?: number): Promise<EventLogFixture> {
  const directory = mkdtempSync(join(tmpdir(), 'vmpulse-contract-'));
  const clock = new SimulatedClock({ wallMs: testTimeMs });
  const storeOptions = {
    clock,
    retention: { maxAgeMs: dayMs },
    ...options,
    ...(tailEvents === undefined ? {} : { tailEvents }),
  };
  let log = await SqliteStore.open(directory, storeOptions);
  return {
    log,
    async expireBefore(timeMs) {
      // Ten minutes early: looking takes some of them.
      clock.stepWall(timeMs + dayMs - 600_000 - clock.wallMs());
      const deleted = log.state().oldestSeq;
      await clock.advanceAsync(60_000);
      await passTimeUntil(clock, () => log.state().oldestSeq > deleted);
      // More than one look's worth may be old: done when nothing more goes for a while.
      for (let still = 0, oldest = 0; still < 50; still += 1) {
        if (oldest !== log.state().oldestSeq) still = 0;
        oldest = log.state().oldestSeq;
        await clock.advanceAsync(10);
        await delay(5);
      }
    },
    failWrites: () => log.setMaxPages(1),
    async mendWrites() {
      await log.setMaxPages(1_000_000);
      await passTimeUntil(clock, () => log.state().writable);
    },
    async reopen() {
      await log.close();
      log = await SqliteStore.open(directory, storeOptions);
      return log;
    },
    async dispose() {
      await log.close();
      rmSync(directory, { recursive: true });
    },
  };
}

describeEventLog('SQLite', (options) => openSqlite(options));

describeEventLog('SQLite, nothing served from memory', (options) => openSqlite(options, 0));

describeEventLog('in memory', async (options) => {
  const log = new MemoryEventLog(options);
  return {
    log,
    async expireBefore(timeMs) {
      const { events } = await log.read({ after: log.state().oldestSeq - 1, limit: 1_000 });
      const last = events.findLast((event) => Date.parse(event.time) < timeMs);
      if (last !== undefined) log.deleteThrough(last.seq);
    },
    failWrites: () => {
      log.failWrites('the disk is full');
      return Promise.resolve();
    },
    mendWrites: () => {
      log.mendWrites();
      return Promise.resolve();
    },
    reopen: null,
    dispose: () => log.close(),
  };
});
