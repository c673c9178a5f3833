import { describe, expect, test } from 'vitest';
import { blankMemory } from '../../../../test/support/watched-guest.ts';
import { watchedGuests } from '../../../../test/support/watched-guests.ts';

const guest = watchedGuests();

const idle = { run: 0.003, runDelay: 0 };
const spinning = { run: 1, runDelay: 0 };

describe('a hello', () => {
  test('during a suspicion gives the ticker the time of its first tick', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(spinning);
    // Just after a round: the next one, a second later, would find it idle all the time.
    await it.pass(7_450);
    it.process.setLoad(idle);
    it.hello();
    await it.pass(1_100);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.beat(2);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('at the end of a boot window gives the ticker the time of its first tick', async () => {
    const it = guest();
    await it.live();
    it.process.guestReset();
    it.process.setLoad(idle);
    await it.pass(119_900);
    it.hello();
    await it.pass(900);
    await it.beat(2);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStarted']);
  });

  test('alone, without ticks, does not put a stop off for ever', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    it.hello();
    await it.pass(4_000);
    expect(it.told).toContain('heartbeatStopped');
  });

  test('does not revive a guest that was told as stopped; a tick does', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    await it.pass(3_000);
    it.hello();
    await it.pass(1_000);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
    await it.beat(1);
    expect(it.told.at(-1)).toBe('heartbeatResumed');
  });

  test('with another interval is gone by at once, and is no loss of ticks', async () => {
    const it = guest();
    await it.live(70);
    it.hello(100);
    await it.beat(5);
    expect(it.watch.info()).toMatchObject({ intervalMs: 100, heartbeatPercentage: 100 });
    it.hello(10_000);
    it.process.setLoad(idle);
    await it.beat(2);
    expect(it.told).toEqual(['heartbeatStarted']);
    expect(it.watch.info().intervalMs).toBe(10_000);
  });

  test.each([0, 99, 60_001, Number.NaN, null])(
    'with an interval of %s changes nothing',
    async (intervalMs) => {
      const it = guest();
      await it.live();
      const hello = { protocol: 1, version: '1.0.0', intervalMs, os: null, host: null };
      it.watch.listener.onHello(hello);
      expect(it.watch.info().intervalMs).toBe(1_000);
    },
  );
});

describe('a bye', () => {
  test('to shut down, with no shutdown after it, lets silence count again after three minutes', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    it.watch.listener.onBye('shutdown');
    await it.pass(179_000);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(3_000);
    expect(it.log.events[1]?.data).toMatchObject({ verdict: 'hung', cause: 'silence' });
  });

  test('that is taken back by a hello is forgotten', async () => {
    const it = guest();
    await it.live();
    it.watch.listener.onBye('reboot');
    expect(it.watch.memory().armed).toBe(false);
    await it.pass(2_000);
    it.hello();
    await it.beat(25);
    expect(it.watch.memory().armed).toBe(true);
    it.process.setLoad(idle);
    await it.pass(450);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });

  test('said again and again puts the end of the window off no further', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    for (let each = 0; each < 17; each += 1) {
      it.watch.listener.onBye('shutdown');
      await it.pass(10_000);
    }
    await it.pass(13_000);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });

  test('of a ticker that is stopped is told as such', async () => {
    const it = guest();
    await it.live();
    it.watch.listener.onBye('stop');
    it.process.setPort('heartbeat', false);
    await it.pass(12_000);
    expect(it.log.events[1]?.data).toMatchObject({ cause: 'bye' });
  });

  test('of a ticker that is stopped within a boot is no hang', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    it.process.guestReset();
    await it.pass(20_000);
    it.hello();
    it.watch.listener.onBye('stop');
    await it.pass(120_000);
    expect(it.told).toEqual(['heartbeatStarted', 'additionsStopped']);
  });
});

describe('ticks', () => {
  test('that lay in the socket when the guest was reset, panicked or exited are not its return', async () => {
    const it = guest();
    await it.live();
    it.process.guestReset();
    it.tick();
    expect(it.watch.info().verdict).toBe('booting');
    await it.pass(10);
    it.process.panic();
    it.tick();
    expect(it.watch.info().verdict).toBe('panicked');
    await it.pass(10);
    it.process.kill();
    it.tick();
    await it.pass(10);
    it.tick();
    expect(it.watch.info().verdict).toBe('panicked');
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });

  test('are not trusted while a flooded port is still being drained after a reset', async () => {
    const it = guest();
    let backlogged = true;
    it.watch.setBacklogProbe(() => backlogged);
    await it.live();
    it.process.guestReset();
    await it.pass(2_000);
    it.tick();
    expect(it.watch.info().verdict).toBe('booting');
    backlogged = false;
    await it.pass(300);
    it.tick();
    expect(it.watch.info().verdict).toBe('alive');
  });

  test('of a stopped guest return it, of one whose additions stopped too', async () => {
    const it = guest();
    await it.live();
    it.watch.listener.onBye('stop');
    await it.pass(12_000);
    await it.beat(1);
    expect(it.told).toEqual(['heartbeatStarted', 'additionsStopped', 'additionsResumed']);
  });

  test('after an outage teach nothing of lateness', async () => {
    const it = guest();
    // Lateness is learned only while the loop runs, and it runs only while there is someone to look at.
    const other = guest({ beside: it, vmId: 'other' });
    await other.live(3);
    other.watch.listener.onBye('shutdown');
    await it.live();
    it.process.setLoad(idle);
    await it.pass(60_000);
    await it.beat(3);
    await it.pass(450);
    expect(it.log.events.at(-1)?.data).toMatchObject({ evidence: { marginMs: 50 } });
  });

  test('after a reboot without a hello teach nothing of lateness', async () => {
    const it = guest();
    await it.live();
    it.process.guestReset();
    await it.pass(30_000);
    await it.beat(25);
    it.process.setLoad(idle);
    await it.pass(450);
    expect(it.log.events.at(-1)?.data).toMatchObject({ evidence: { marginMs: 50 } });
  });

  test('that are late are learned: the next one as late is no suspicion', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(spinning);
    await it.pass(300);
    expect(it.suspicions).toBe(1);
    await it.beat(2);
    it.process.setLoad(idle);
    await it.pass(280);
    expect(it.watch.info().verdict).toBe('alive');
    expect(it.suspicions).toBe(1);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(290);
    expect(it.dataOf(1).evidence?.marginMs).toBeGreaterThanOrEqual(299);
  });

  test('of a ticker whose rhythm is measured by two that came close together do not make it a fast one', async () => {
    const it = guest();
    await it.boot('adopted');
    it.process.setLoad(idle);
    const ticksAtMs = [0, 1_900, 2_000, 3_000, 4_000, 5_000, 6_000];
    let atMs = 0;
    for (const [seq, tickMs] of ticksAtMs.entries()) {
      await it.pass(tickMs - atMs);
      atMs = tickMs;
      it.watch.listener.onTick(seq, 50_000 + tickMs);
    }
    expect(it.watch.info().intervalMs).toBe(1_900);
    expect(it.told).toEqual(['heartbeatStarted']);
  });
});

describe('what is remembered over a restart of the service', () => {
  test('in a boot window is that silence does not count yet', async () => {
    const before = guest();
    await before.live();
    before.process.guestReset();
    await before.pass(5_000);
    const changes = before.memoryChanges;
    expect(changes).toBeGreaterThan(1);
    const after = guest({ memory: before.watch.memory() });
    await after.boot('adopted');
    after.process.setLoad(idle);
    await after.pass(60_000);
    expect(after.told).toEqual([]);
    expect(after.watch.info().verdict).toBe('booting');
    await after.beat(1);
    expect(after.told).toEqual(['heartbeatStarted']);
  });

  test('in a boot window is that the guest is awaited: one that never comes back is told', async () => {
    const before = guest();
    await before.live();
    before.process.guestReset();
    const after = guest({ memory: before.watch.memory() });
    await after.boot('adopted');
    after.process.setLoad(idle);
    await after.pass(125_000);
    expect(after.log.events[0]?.data).toMatchObject({ cause: 'bootWindowEnded' });
  });

  test('while it shuts down is that silence does not count', async () => {
    const before = guest();
    await before.live();
    before.watch.listener.onBye('shutdown');
    const after = guest({ memory: before.watch.memory() });
    await after.boot('adopted');
    after.process.setLoad(idle);
    await after.pass(60_000);
    expect(after.told).toEqual([]);
  });

  test('of a machine that was off is nothing: started without additions it is not awaited', async () => {
    const before = guest();
    await before.live();
    before.watch.suspend('turningOff');
    await before.machine?.quit();
    before.watch.end('ended');
    expect(before.watch.memory()).toMatchObject({ armed: false, intervalMs: null });
    const after = guest({ memory: before.watch.memory() });
    await after.boot('adopted');
    after.process.setLoad(idle);
    await after.pass(3_600_000);
    expect(after.told).toEqual([]);
  });

  test('of a saved machine is that it goes on being watched', async () => {
    const before = guest();
    await before.live();
    before.watch.suspend('saving');
    before.watch.end('ended');
    const after = guest({ memory: before.watch.memory() });
    await after.boot('restored');
    after.process.setLoad(idle);
    await after.pass(12_000);
    expect(after.told).toEqual(['heartbeatStopped']);
  });

  test('of a saved machine is not how fast it ticks: its ticker may have begun anew when nobody listened', async () => {
    const it = guest({ memory: { ...blankMemory, armed: true, intervalMs: 100 } });
    await it.boot('restored');
    it.process.setLoad(idle);
    for (let seq = 1; seq <= 10; seq += 1) {
      await it.pass(1_000);
      it.watch.listener.onTick(seq, 50_000 + seq * 1_000);
    }
    expect(it.told).toEqual([]);
    expect(it.watch.info().intervalMs).toBe(1_000);
  });

  test('of a guest found again is not judged before its port is connected', async () => {
    const it = guest({ memory: { ...blankMemory, armed: true, intervalMs: 1_000 } });
    await it.boot('adopted');
    it.watch.listener.onConnection(false);
    it.process.setLoad(idle);
    await it.pass(2_500);
    expect(it.told).toEqual([]);
    it.watch.listener.onConnection(true);
    await it.pass(400);
    await it.beat(2);
    expect(it.told).toEqual([]);
  });
});
