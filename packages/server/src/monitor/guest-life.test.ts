import { describe, expect, test } from 'vitest';
import { type WatchedGuest, blankMemory } from '../../../../test/support/watched-guest.ts';
import { watchedGuests } from '../../../../test/support/watched-guests.ts';

const guest = watchedGuests();

const idle = { run: 0.003, runDelay: 0 };
const spinning = { run: 1, runDelay: 0 };

describe('boots', () => {
  test('a reset opens a boot window; a guest that ticks in it starts anew', async () => {
    const it = guest();
    await it.live();
    it.process.guestReset();
    it.tick();
    await it.pass(60_000);
    expect(it.watch.info().verdict).toBe('booting');
    it.hello();
    await it.beat(3);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStarted']);
  });

  test('a guest that never ticks again after a reset is told when the window ends', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    it.process.guestReset();
    await it.pass(119_000);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(2_000);
    expect(it.log.events[1]?.data).toMatchObject({ verdict: 'hung', cause: 'bootWindowEnded' });
  });

  test('one that stopped, reset itself and hangs in its boot shows so, though that is told once', async () => {
    const it = guest();
    await it.live();
    it.process.emit({ kind: 'tripleFault' });
    it.process.setLoad(idle);
    it.process.guestReset();
    await it.pass(400_000);
    expect(it.told.filter((type) => type === 'heartbeatStopped')).toHaveLength(1);
    expect(it.watch.info().verdict).toBe('hung');
  });

  test('resets in a row do not extend the window without end', async () => {
    const it = guest({ configuration: { heartbeat: { bootWindowMaxMs: 120_000 } } });
    await it.live();
    for (let each = 0; each < 30; each += 1) {
      it.process.guestReset();
      await it.pass(10_000);
    }
    expect(it.told.filter((type) => type === 'heartbeatStopped')).toHaveLength(1);
  });

  test('a guest whose ticker ended in order is not awaited after a reset', async () => {
    const it = guest();
    await it.live();
    it.watch.listener.onBye('stop');
    it.process.setLoad(idle);
    await it.pass(15_000);
    expect(it.told).toEqual(['heartbeatStarted', 'additionsStopped']);
    it.process.guestReset();
    await it.pass(3_600_000);
    expect(it.told).toEqual(['heartbeatStarted', 'additionsStopped']);
  });
});

describe('after a restart of the service', () => {
  const memory = { ...blankMemory, armed: true, intervalMs: 1_000 };

  test('a guest that ticks on is told nothing of', async () => {
    const it = guest({ memory });
    await it.boot('adopted');
    await it.pass(900);
    await it.beat(5);
    expect(it.told).toEqual([]);
  });

  test('a guest that hung meanwhile is told, without a tick heard', async () => {
    const it = guest({ memory });
    await it.boot('adopted');
    it.process.setLoad(idle);
    // It may have become a slower one meanwhile: it has ten seconds and the margin.
    await it.pass(9_000);
    expect(it.told).toEqual([]);
    await it.pass(4_000);
    expect(it.told).toEqual(['heartbeatStopped']);
  });

  test('a stop told before is not told again, and its end is', async () => {
    const it = guest({
      memory,
      conditions: [{ condition: 'heartbeatStopped', seq: 7, sinceMs: 0, verdict: 'hung' }],
    });
    await it.boot('adopted');
    it.process.setLoad(idle);
    await it.pass(60_000);
    expect(it.told).toEqual([]);
    expect(it.watch.info().verdict).toBe('hung');
    await it.beat(3);
    expect(it.told).toEqual(['heartbeatResumed']);
    expect(it.log.events[0]?.data).toMatchObject({ stoppedSeq: 7 });
  });

  describe('of a guest that was reset and has not ticked since', () => {
    const reset = { ...blankMemory, intervalMs: 1_000, awaited: true };
    const stopped = { condition: 'heartbeatStopped', seq: 7, sinceMs: 0 } as const;

    test.each(['adopted', 'adoptedSilent'] as const)(
      'a panic told after the reset is not told again, however many services find it (%s)',
      async (how) => {
        const it = guest({ memory: reset, conditions: [{ ...stopped, verdict: 'panicked' }] });
        await it.boot(how, 'panicked');
        await it.pass(200_000);
        expect(it.told).toEqual([]);
        expect(it.watch.info().verdict).toBe('panicked');
      },
    );

    test('a boot that was told to hang is not told again when its window ends once more', async () => {
      const it = guest({ memory: reset, conditions: [{ ...stopped, verdict: 'hung' }] });
      await it.boot('adopted');
      it.process.setLoad(idle);
      await it.pass(200_000);
      expect(it.told).toEqual([]);
      await it.beat(3);
      expect(it.told).toEqual(['heartbeatResumed']);
    });

    test('a boot that hangs before its port is open is told once, however many services find it', async () => {
      const first = guest({ memory });
      await first.boot('adopted');
      await first.beat(3);
      first.process.guestReset();
      first.process.setLoad(idle);
      await first.pass(200_000);
      expect(first.told).toEqual(['heartbeatStopped']);
      let remembered = first.watch.memory();
      for (const _service of [2, 3]) {
        const it = guest({ memory: remembered, conditions: [{ ...stopped, verdict: 'hung' }] });
        await it.boot('adoptedSilent');
        it.process.setLoad(idle);
        await it.pass(200_000);
        expect([it.told, it.watch.info().verdict]).toEqual([[], 'hung']);
        remembered = it.watch.memory();
      }
    });

    test('a port that was open when the stop was told and is not now is another boot’s', async () => {
      const first = guest({ memory });
      await first.boot('adopted');
      await first.beat(3);
      first.process.guestReset();
      first.process.emit({ kind: 'port', port: 'heartbeat', open: true });
      first.process.setLoad(idle);
      await first.pass(200_000);
      const it = guest({ memory: first.watch.memory(), conditions: [{ ...stopped, verdict: 'hung' }] });
      await it.boot('adoptedSilent');
      it.process.setLoad(idle);
      await it.pass(200_000);
      expect([first.told, it.told]).toEqual([['heartbeatStopped'], ['heartbeatStopped']]);
    });

    test('a panic of which nothing was told since the reset is told', async () => {
      const it = guest({ memory: reset, conditions: [stopped] });
      await it.boot('adopted', 'panicked');
      await it.pass(200_000);
      expect(it.told).toEqual(['heartbeatStopped']);
    });

    test('another stop than the one told is told', async () => {
      const it = guest({ memory: reset, conditions: [{ ...stopped, verdict: 'hung' }] });
      await it.boot('adoptedSilent', 'panicked');
      expect(it.told).toEqual(['heartbeatStopped']);
    });

    test('a panic that follows a reset by this service is told, though one before it was told', async () => {
      const it = guest({ memory, conditions: [{ ...stopped, verdict: 'panicked' }] });
      await it.boot('adopted', 'panicked');
      await it.machine?.reset();
      await it.pass(1_000);
      it.watch.found('panicked');
      expect(it.told).toEqual(['heartbeatStopped']);
    });
  });

  test.each([
    ['panicked', async (it: WatchedGuest) => it.boot('adoptedSilent', 'panicked')],
    ['exited', (it: WatchedGuest) => Promise.resolve(it.watch.end('foundDead'))],
  ])('one turned on after its stop was told, and found %s, is told again', async (verdict, begin) => {
    const stopped = { condition: 'heartbeatStopped', seq: 7, sinceMs: 0 } as const;
    const it = guest({ memory: blankMemory, conditions: [stopped] });
    await begin(it);
    expect(it.told).toEqual(['heartbeatStopped']);
    expect(it.log.events[0]?.data).toMatchObject({ verdict });
  });

  test('a machine found dead is told once', () => {
    const it = guest({ memory: { ...memory, lastTickWallMs: 1_000 } });
    it.watch.end('foundDead');
    it.watch.end('foundDead');
    expect(it.told).toEqual(['heartbeatStopped']);
    expect(it.log.events[0]?.data).toMatchObject({
      cause: 'foundDead',
      evidence: { lastTickAt: '1970-01-01T00:00:01.000Z' },
    });
  });

  test('a ticker of unknown interval is not taken for silent before its pace is known', async () => {
    const it = guest();
    await it.boot('adopted');
    it.process.setLoad(idle);
    it.intervalMs = 20_000;
    await it.beat(4);
    expect(it.told).toEqual(['heartbeatStarted']);
    expect(it.watch.info().intervalMs).toBe(20_000);
  });
});

describe('classic mode', () => {
  const values = { 'integration/microsoft/heartbeat/time': 60 };

  test('stops a silent guest after 126 s and not before, whatever its vCPUs do', async () => {
    const it = guest({ configuration: { values } });
    it.intervalMs = 6_000;
    await it.live();
    it.process.setLoad(idle);
    await it.pass(119_000);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(2_000);
    expect(it.log.events[1]?.data).toMatchObject({ verdict: 'hung' });
  });
});

describe('policy', () => {
  test('that says not to watch tells no silence and shows none as a heartbeat, until it is taken back', async () => {
    const it = guest({ configuration: { heartbeat: { watch: false } } });
    await it.live();
    expect(it.watch.info()).toMatchObject({ verdict: 'alive', isHeartbeating: true });
    it.process.setLoad(idle);
    await it.pass(60_000);
    expect(it.told).toEqual(['heartbeatStarted']);
    expect(it.watch.info()).toMatchObject({ verdict: 'notObserved', isHeartbeating: false });
    it.watch.setConfiguration({ ...it.configuration, heartbeat: { watch: true } });
    await it.pass(450);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });

  test('that says not to watch ends a suspicion', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(spinning);
    await it.pass(5_000);
    it.watch.setConfiguration({ ...it.configuration, heartbeat: { watch: false } });
    await it.pass(60_000);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('that changes its patience during a suspicion is gone by', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(spinning);
    await it.pass(5_000);
    it.watch.setConfiguration({ ...it.configuration, heartbeat: { patience: { spinningMs: 2_000 } } });
    await it.pass(450);
    expect(it.log.events[1]?.data).toMatchObject({ verdict: 'spinning' });
  });

  test('the classic one rules a ticker of its own interval, and never undercuts a slower one', async () => {
    const values = { 'integration/microsoft/heartbeat/time': 60 };
    const fast = guest({ configuration: { values } });
    await fast.live();
    expect(fast.watch.info().intervalMs).toBe(6_000);
    fast.process.setLoad(idle);
    await fast.pass(60_000);
    expect(fast.told).toEqual(['heartbeatStarted']);
    const slow = guest({
      configuration: { values: { ...values, 'integration/microsoft/heartbeat/rate': 60 } },
    });
    slow.intervalMs = 20_000;
    await slow.live();
    slow.process.setLoad(idle);
    expect(slow.watch.info().intervalMs).toBe(20_000);
    expect(slow.told).toEqual(['heartbeatStarted']);
  });
});
