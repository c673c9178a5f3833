import { describe, expect, test } from 'vitest';
import { type WatchedGuest } from '../../../../test/support/watched-guest.ts';
import { watchedGuests } from '../../../../test/support/watched-guests.ts';

const guest = watchedGuests();

const idle = { run: 0.003, runDelay: 0 };
const spinning = { run: 1, runDelay: 0 };
const stops = (it: WatchedGuest): number => it.told.filter((type) => type === 'heartbeatStopped').length;

describe('every stop is told, once', () => {
  test('a guest without additions that is killed, started and killed again is told twice', async () => {
    const it = guest();
    for (let life = 1; life <= 3; life += 1) {
      await it.boot();
      it.process.kill();
      it.watch.end('ended');
      await it.pass(1_000);
      expect(stops(it)).toBe(life);
    }
  });

  test('a guest without additions that panics after a reset is told of again', async () => {
    const it = guest();
    await it.boot();
    it.process.panic();
    await it.pass(1_000);
    await it.machine?.reset();
    await it.pass(1_000);
    expect(stops(it)).toBe(1);
    it.process.panic();
    await it.pass(1_000);
    expect(stops(it)).toBe(2);
  });

  test('a hung guest that does not come back from a reset from outside is told of again', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    await it.pass(5_000);
    expect(stops(it)).toBe(1);
    await it.machine?.reset();
    await it.pass(119_000);
    expect(stops(it)).toBe(1);
    expect(it.watch.info().verdict).toBe('booting');
    await it.pass(2_000);
    expect(stops(it)).toBe(2);
    expect(it.log.events.at(-1)?.data).toMatchObject({ cause: 'bootWindowEnded' });
    // One outage: it ends once, counted from its beginning.
    await it.beat(1);
    expect(it.told.slice(-1)).toEqual(['heartbeatResumed']);
    expect(it.log.events.at(-1)?.data).toMatchObject({ stoppedSeq: 2 });
  });

  test('a second reset from outside gets a boot window of its own', async () => {
    const it = guest({ configuration: { heartbeat: { bootWindowMaxMs: 120_000 } } });
    await it.live();
    it.process.setLoad(idle);
    await it.machine?.reset();
    await it.pass(125_000);
    expect(stops(it)).toBe(1);
    await it.machine?.reset();
    await it.pass(100_000);
    expect(it.watch.info().verdict).toBe('booting');
    expect(stops(it)).toBe(1);
  });

  test('a hung guest whose process then ends is one stop', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    await it.pass(5_000);
    it.process.kill();
    await it.pass(1_000);
    expect(stops(it)).toBe(1);
  });

  test('a watchdog that resets is a stop and a return', async () => {
    const it = guest();
    await it.live();
    it.process.fireWatchdog('reset');
    await it.pass(20_000);
    it.hello();
    await it.beat(2);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped', 'heartbeatResumed']);
  });
});

describe('a crash dump', () => {
  test('is waited for, and the crash told when the guest resets itself', async () => {
    const it = guest();
    await it.live();
    it.process.crashLoad();
    it.process.setLoad(spinning);
    await it.pass(120_000);
    expect(it.told).toEqual(['heartbeatStarted']);
    it.process.guestReset();
    await it.pass(10_000);
    expect(it.log.events[1]?.data).toMatchObject({ verdict: 'panicked', cause: 'guestPanicked' });
    it.hello();
    await it.beat(2);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped', 'heartbeatResumed']);
  });

  test('after which the guest powers itself off is told as a crash', async () => {
    const it = guest();
    await it.live();
    it.process.crashLoad();
    await it.pass(30_000);
    it.process.guestShutdown();
    await it.pass(1_000);
    expect(it.log.events[1]?.data).toMatchObject({ verdict: 'panicked' });
  });

  test('that never ends is told when its window does', async () => {
    const it = guest({ configuration: { heartbeat: { bootWindowMaxMs: 60_000 } } });
    await it.live();
    it.process.crashLoad();
    it.process.setLoad(spinning);
    await it.pass(59_000);
    // The dump kernel's ticker, if it has one, is no return of the guest.
    it.hello();
    it.tick();
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(4_000);
    expect(it.log.events[1]?.data).toMatchObject({ verdict: 'spinning', cause: 'guestPanicked' });
  });
});

describe('suspensions', () => {
  test('a pause within a boot window lengthens it by the pause, and not by more', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    await it.machine?.pause();
    await it.pass(300_000);
    // Paused, reset by someone else, and resumed a minute later: the window is a minute longer, not six.
    it.process.emit({ kind: 'reset', byGuest: false, reason: 'host-qmp-system-reset' });
    await it.pass(60_000);
    expect(it.watch.info().verdict).toBe('suspended');
    await it.machine?.resume();
    await it.pass(118_000);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(3_000);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });

  test('a long pause within a boot is not learned as part of it', async () => {
    const it = guest();
    await it.boot();
    await it.pass(3_000);
    await it.machine?.pause();
    await it.pass(3_600_000);
    await it.machine?.resume();
    await it.pass(2_000);
    it.hello();
    await it.beat(1);
    expect(it.watch.memory().bootMs).toEqual([5_000]);
  });

  test('a guest paused just after its tick has all of its interval afterwards', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    it.tick();
    await it.machine?.pause();
    await it.pass(60_000);
    await it.machine?.resume();
    await it.pass(980);
    await it.beat(2);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('a guest paused just before its tick has time to give it afterwards', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    await it.pass(40);
    await it.machine?.pause();
    await it.pass(10_000);
    await it.machine?.resume();
    await it.pass(450);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.beat(2);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('a pause in which ticks came is not taken off twice', async () => {
    const it = guest();
    await it.live();
    it.watch.suspend('shuttingDown');
    await it.beat(60);
    it.watch.unsuspend();
    it.process.setLoad(idle);
    await it.pass(3_000);
    expect(it.dataOf(1).evidence?.sinceLastTickMs).toBeLessThan(4_000);
    expect(it.dataOf(1).evidence?.subtracted.suspendedMs).toBeLessThanOrEqual(1_000);
  });

  test('a suspicion of a boot window that is interrupted by a pause is taken up again as what it was', async () => {
    const it = guest();
    await it.live();
    it.process.guestReset();
    it.process.setLoad({ run: 0.01, runDelay: 0.9 });
    await it.pass(125_000);
    expect(it.watch.info().verdict).toBe('starved');
    await it.machine?.pause();
    await it.pass(5_000);
    await it.machine?.resume();
    it.process.setLoad(idle);
    await it.pass(3_000);
    expect(it.log.events.at(-1)?.data).toMatchObject({ cause: 'bootWindowEnded' });
  });

  test('of a guest that ended itself ends with a reset: its next crash is a stop', async () => {
    const it = guest();
    await it.live();
    it.process.guestShutdown();
    await it.pass(1_000);
    it.process.emit({ kind: 'reset', byGuest: false, reason: 'host-qmp-system-reset' });
    it.process.setRunState('running');
    it.process.emit({ kind: 'resumed' });
    it.hello();
    await it.beat(3);
    it.process.kill();
    await it.pass(100);
    expect(it.told.at(-1)).toBe('heartbeatStopped');
  });

  test('of an operation that failed ends, and a crash after it is a stop', async () => {
    const it = guest();
    await it.live();
    it.watch.suspend('saving');
    await it.pass(1_000);
    it.watch.unsuspend();
    it.process.kill();
    await it.pass(100);
    expect(it.told.at(-1)).toBe('heartbeatStopped');
  });

  test('a resume that was missed while QEMU did not answer is made up for', async () => {
    const it = guest();
    await it.live();
    await it.machine?.pause();
    it.process.setRunState('running');
    it.process.emit({ kind: 'connectionRegained', runState: 'running' });
    await it.beat(3);
    it.process.setLoad(idle);
    await it.pass(3_000);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });

  test('a panic that was missed while QEMU did not answer is told, also of a guest without additions', async () => {
    const it = guest();
    await it.boot();
    it.process.setRunState('panicked');
    it.process.emit({ kind: 'connectionRegained', runState: 'panicked' });
    await it.pass(100);
    expect(it.log.events[0]?.data).toMatchObject({ verdict: 'panicked', cause: 'guestPanicked' });
  });

  test('a guest that sleeps is not judged until it wakes', async () => {
    const it = guest();
    await it.live();
    it.process.suspend();
    await it.pass(3_600_000);
    expect(it.told).toEqual(['heartbeatStarted']);
    it.process.wake();
    it.process.setLoad(idle);
    await it.pass(3_000);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });
});

describe('the ticker’s port', () => {
  test.each([
    ['before', ['port', 'reset']],
    ['after', ['reset', 'port']],
  ])('closed by a reset, told %s it, is not believed', async (_when, order) => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    for (const what of order) {
      if (what === 'port') it.process.setPort('heartbeat', false);
      else it.process.guestReset();
    }
    await it.pass(125_000);
    expect(it.log.events[1]?.data).toMatchObject({ verdict: 'hung', cause: 'bootWindowEnded' });
  });

  test('opened and closed again within a boot is closed by the guest', async () => {
    const it = guest();
    await it.live();
    it.process.guestReset();
    await it.pass(10_000);
    it.process.setPort('heartbeat', true);
    it.process.setPort('heartbeat', false);
    await it.pass(120_000);
    expect(it.told.at(-1)).toBe('additionsStopped');
  });

  test('closed by the guest tells additionsStopped, and opened again it is watched', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    it.process.setPort('heartbeat', false);
    await it.pass(12_000);
    expect(it.told).toEqual(['heartbeatStarted', 'additionsStopped']);
    expect(it.log.events[1]?.data).toMatchObject({ cause: 'portClosed' });
    it.process.setPort('heartbeat', true);
    it.hello();
    await it.beat(22);
    expect(it.told.at(-1)).toBe('additionsResumed');
    await it.pass(2_000);
    expect(it.told.at(-1)).toBe('heartbeatStopped');
  });

  test('closed is closed also where its last ticks are read after that', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    it.process.setPort('heartbeat', false);
    it.tick();
    await it.pass(13_000);
    expect(it.told).toEqual(['heartbeatStarted', 'additionsStopped']);
    expect(it.log.events[1]?.data).toMatchObject({ cause: 'portClosed' });
  });

  test('whose opening nobody heard of is open once its guest ticks', async () => {
    const it = guest();
    await it.live();
    it.process.setPort('heartbeat', false);
    await it.pass(10);
    await it.beat(3);
    it.process.setLoad(idle);
    await it.pass(2_000);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });

  test('that is not connected tells nothing of the guest', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    it.watch.listener.onConnection(false);
    await it.pass(60_000);
    expect(it.told).toEqual(['heartbeatStarted', 'visibilityLost']);
    it.watch.listener.onConnection(true);
    await it.beat(2);
    expect(it.told).toEqual(['heartbeatStarted', 'visibilityLost', 'visibilityRegained']);
    await it.pass(3_000);
    expect(it.told.at(-1)).toBe('heartbeatStopped');
  });
});

describe('visibility', () => {
  test('is regained before a stop is told', async () => {
    const it = guest();
    await it.live();
    it.process.hang({ processState: 'T', noticeMs: 60_000 });
    await it.pass(10_000);
    it.process.kill();
    await it.pass(100);
    it.watch.end('ended');
    expect(it.told).toEqual(['heartbeatStarted', 'visibilityLost', 'visibilityRegained', 'heartbeatStopped']);
  });

  test('is regained when the process ends as asked, and a restart begins without it', async () => {
    const it = guest();
    await it.live();
    it.process.hang({ processState: 'D', noticeMs: 60_000 });
    await it.pass(10_000);
    it.watch.suspend('turningOff');
    it.process.kill();
    it.watch.end('ended');
    expect(it.told).toEqual(['heartbeatStarted', 'visibilityLost', 'visibilityRegained']);
    await it.live(3);
    expect(it.told.slice(3)).toEqual(['heartbeatStarted']);
  });

  test('lost before a restart of the service is regained after it', async () => {
    const it = guest({
      memory: { armed: true, intervalMs: 1_000, lastTickWallMs: null, bootMs: [] },
      conditions: [{ condition: 'visibilityLost', seq: 3, sinceMs: 0 }],
    });
    await it.boot('adopted');
    expect(it.watch.info().verdict).toBe('unknown');
    await it.beat(2);
    expect(it.told).toEqual(['visibilityRegained']);
  });
});
