import { describe, expect, test } from 'vitest';
import { watchedGuests } from '../../../../test/support/watched-guests.ts';

const guest = watchedGuests();

describe('what a watch remembers of a guest’s lateness', () => {
  test('holds for the next service: it is not cold', async () => {
    const it = guest();
    await it.live(60);
    const memory = it.watch.memory();
    expect(memory.latenessMs).toBe(0);
    const next = guest({ beside: it, vmId: 'next', memory: { ...memory, latenessMs: 230 } });
    await next.boot('adopted');
    next.process.setLoad({ run: 0.003, runDelay: 0 });
    await next.pass(13_000);
    const stop = next.log.events.at(-1)?.data as { evidence?: { marginMs: number } } | undefined;
    expect(next.told).toEqual(['heartbeatStopped']);
    expect(stop?.evidence?.marginMs).toBe(230);
  });

  test('is nothing while too few ticks were seen, nor for another boot', async () => {
    const it = guest({
      memory: { armed: false, intervalMs: null, lastTickWallMs: null, bootMs: [], latenessMs: 400 },
    });
    await it.live(5);
    expect(it.watch.memory().latenessMs).toBeNull();
  });
});

describe('a guest found again', () => {
  const idle = { run: 0.003, runDelay: 0 };
  const memory = {
    armed: true,
    intervalMs: 1_000,
    lastTickWallMs: null,
    bootMs: [],
    source: 'ticker' as const,
  };

  test('whose pace the service before did not get to know may tick slowly', async () => {
    const it = guest({ memory: { ...memory, intervalMs: null } });
    await it.boot('adopted');
    it.process.setLoad(idle);
    await it.pass(59_000);
    expect(it.told).toEqual([]);
    it.intervalMs = 30_000;
    await it.beat(6);
    expect(it.told).toEqual([]);
    expect(it.watch.info().intervalMs).toBe(30_000);
    await it.pass(3_000);
    expect(it.told).toEqual(['heartbeatStopped']);
  });

  test('with the port of its heartbeat closed may have been reset unseen: it has a boot’s time', async () => {
    const it = guest({ memory });
    await it.boot('adoptedSilent');
    it.process.setLoad(idle);
    await it.pass(100_000);
    expect(it.told).toEqual([]);
    expect(it.watch.info().verdict).toBe('booting');
    it.hello();
    await it.beat(3);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('with that port closed for good is told when that time is over', async () => {
    const it = guest({ memory });
    await it.boot('adoptedSilent');
    it.process.setLoad(idle);
    await it.pass(135_000);
    // Closed it was found, and nothing says that it booted: a ticker that was ended is no stop.
    expect(it.told).toEqual(['additionsStopped']);
    expect(it.dataOf(0)).toMatchObject({ cause: 'portClosed' });
  });

  test('whose ticker began anew at a slower pace meanwhile is not told as stopped at every tick', async () => {
    const it = guest({ memory: { ...memory, intervalMs: 100 } });
    await it.boot('adopted');
    it.process.setLoad(idle);
    it.intervalMs = 1_000;
    await it.beat(60);
    expect(it.told).toEqual([]);
    expect(it.watch.info().intervalMs).toBe(1_000);
    await it.pass(1_500);
    expect(it.told).toEqual(['heartbeatStopped']);
  });

  test('whose ticker goes on as before is judged by its own pace again after some ticks', async () => {
    const it = guest({ memory: { ...memory, intervalMs: 100 } });
    await it.boot('adopted');
    it.process.setLoad(idle);
    it.intervalMs = 100;
    await it.beat(40);
    expect(it.watch.info().intervalMs).toBe(100);
    await it.pass(300);
    expect(it.told).toEqual(['heartbeatStopped']);
  });
});
