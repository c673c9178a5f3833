import { describe, expect, test } from 'vitest';
import { watchedGuests } from '../../../../test/support/watched-guests.ts';

const guest = watchedGuests();

const idle = { run: 0.003, runDelay: 0 };
const spinning = { run: 1, runDelay: 0 };
const halfBusy = { run: 0.5, runDelay: 0 };

describe('a guest that ticks', () => {
  test('is told once when its first tick comes, and never again while it ticks', async () => {
    const it = guest();
    await it.live(200);
    expect(it.told).toEqual(['heartbeatStarted']);
    expect(it.watch.info()).toMatchObject({
      verdict: 'alive',
      isHeartbeating: true,
      heartbeatPercentage: 100,
    });
  });

  test('without additions is not observed and never stopped', async () => {
    const it = guest();
    await it.boot();
    it.process.setLoad(idle);
    await it.pass(3_600_000);
    expect(it.told).toEqual([]);
    expect(it.watch.info().verdict).toBe('notObserved');
  });
});

describe('silence', () => {
  test('with idle vCPUs is hung, told within interval, margin and one round of witnesses', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    await it.pass(50);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(500);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
    const data = it.dataOf(1);
    expect(data).toMatchObject({ verdict: 'hung', cause: 'silence', eventType: 8, vm: { name: 'guest' } });
    expect(data.evidence).toMatchObject({ intervalMs: 1_000, marginMs: 50 });
    expect(data.evidence?.sinceLastTickMs).toBeGreaterThanOrEqual(1_050);
    expect(data.evidence?.sinceLastTickMs).toBeLessThanOrEqual(1_550);
  });

  test('is told of samples far enough apart, the first of them taken before the deadline', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    await it.pass(280);
    expect(it.watch.info().verdict).toBe('suspected');
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(60);
    const vcpus = it.dataOf(1).evidence?.witnesses.find((each) => each.witness === 'vcpus');
    expect(vcpus?.answer).toMatch(/of 30\d ms$/);
  });

  test.each([100, 250])(
    'that a tick ends %d ms after the deadline of an idle guest tells nothing',
    async (lateMs) => {
      const it = guest();
      await it.live();
      it.process.setLoad(idle);
      await it.pass(50 + lateMs);
      expect(it.watch.info().verdict).toBe('suspected');
      await it.beat(3);
      expect(it.told).toEqual(['heartbeatStarted']);
      expect(it.suspicions).toBe(1);
    },
  );

  test('of a cold guest is judged half a second after its interval', async () => {
    const it = guest();
    await it.live(3);
    it.process.setLoad(idle);
    await it.pass(450);
    expect(it.told).not.toContain('heartbeatStopped');
    await it.pass(200);
    expect(it.told).toContain('heartbeatStopped');
  });

  test.each([
    ['spinning', spinning, 10_000],
    ['busy', halfBusy, 60_000],
  ])('with %s vCPUs waits out its patience and not longer', async (verdict, load, patienceMs) => {
    const it = guest();
    await it.live();
    it.process.setLoad(load);
    await it.pass(patienceMs - 1_000 - 20);
    expect(it.told).toEqual(['heartbeatStarted']);
    expect(it.watch.info().verdict).toBe('suspected');
    await it.pass(620);
    expect(it.log.events[1]?.data).toMatchObject({ verdict });
  });

  test('that ends within the patience tells nothing', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(spinning);
    await it.pass(8_000);
    await it.beat(30);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('of a guest that waits for a host processor is starved, never stopped', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad({ run: 0.01, runDelay: 0.95 });
    await it.pass(10_000);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(300_000);
    expect(it.told).toEqual(['heartbeatStarted', 'visibilityLost']);
    expect(it.dataOf(1)).toMatchObject({ verdict: 'starved' });
    expect(it.watch.info().verdict).toBe('starved');
    it.process.setLoad({ run: 0.02, runDelay: 0 });
    await it.beat(2);
    expect(it.told.slice(2)).toEqual(['visibilityRegained']);
  });

  test('is told once, and its end once with the length of the outage', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    await it.pass(9_000);
    it.process.setLoad({ run: 0.02, runDelay: 0 });
    await it.beat(30);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped', 'heartbeatResumed']);
    expect(it.log.events[2]?.data).toMatchObject({ outageMs: 10_000, stoppedSeq: 2 });
    it.process.setLoad(idle);
    await it.pass(2_000);
    expect(it.told.slice(3)).toEqual(['heartbeatStopped']);
  });

  test('is not judged while the tick port has unread input', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    let backlogged = true;
    it.watch.setBacklogProbe(() => backlogged);
    await it.pass(30_000);
    expect(it.told).toEqual(['heartbeatStarted']);
    expect(it.watch.info().verdict).toBe('alive');
    backlogged = false;
    await it.pass(500);
    expect(it.told).toContain('heartbeatStopped');
  });
});

describe('what the monitor reports of itself', () => {
  test('is each suspicion once, however many rounds it lasts and however it ends', async () => {
    const it = guest();
    await it.live();
    expect(it.suspicions).toBe(0);
    it.process.setLoad(spinning);
    await it.pass(8_000);
    expect(it.suspicions).toBe(1);
    await it.beat(25);
    expect(it.suspicions).toBe(1);
    it.process.setLoad(idle);
    await it.pass(3_000);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
    expect(it.suspicions).toBe(2);
  });

  test('is each return of a stopped guest once, and no end of a mere suspicion', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(spinning);
    await it.pass(5_000);
    await it.beat(25);
    expect(it.resumptions).toBe(0);
    it.process.setLoad(idle);
    await it.pass(3_000);
    expect(it.told.at(-1)).toBe('heartbeatStopped');
    expect(it.resumptions).toBe(0);
    it.tick();
    expect(it.resumptions).toBe(1);
    it.process.setLoad({ run: 0.02, runDelay: 0 });
    await it.beat(5);
    expect(it.resumptions).toBe(1);
  });

  test('is no return where only the additions had stopped', async () => {
    const it = guest();
    await it.live();
    it.watch.listener.onBye('stop');
    await it.pass(12_000);
    await it.beat(2);
    expect(it.told.at(-1)).toBe('additionsResumed');
    expect(it.suspicions).toBe(1);
    expect(it.resumptions).toBe(0);
  });
});

describe('what cannot be seen', () => {
  test.each(['T', 'D'] as const)(
    'a QEMU in state %s is unknown, told as visibility lost and regained',
    async (state) => {
      const it = guest();
      await it.live();
      it.process.hang({ processState: state, noticeMs: 60_000 });
      await it.pass(20_000);
      expect(it.told).toEqual(['heartbeatStarted', 'visibilityLost']);
      expect(it.watch.info().verdict).toBe('unknown');
      it.process.unhang();
      await it.beat(3);
      expect(it.told).toEqual(['heartbeatStarted', 'visibilityLost', 'visibilityRegained']);
    },
  );

  test('a stall of the service itself raises nothing, however long, and real stops are found after it', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    it.tick();
    it.clock.stall(30_000);
    // The ticks that came meanwhile lie in the socket and are read before anyone is judged.
    it.tick();
    await it.pass(900);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(700);
    expect(it.told).toContain('heartbeatStopped');
  });

  test('a step of the wall clock changes nothing', async () => {
    const it = guest();
    await it.live();
    it.clock.stepWall(86_400_000);
    await it.beat(5);
    it.clock.stepWall(-2 * 86_400_000);
    await it.beat(100);
    expect(it.told).toEqual(['heartbeatStarted']);
    it.process.setLoad(idle);
    await it.pass(450);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });
});

describe('what the hypervisor tells', () => {
  test('a killed process is told at once with its signal', async () => {
    const it = guest();
    await it.live();
    it.process.kill('SIGKILL');
    await it.clock.settle();
    expect(it.log.events[1]?.data).toMatchObject({
      verdict: 'exited',
      cause: 'processExit',
      evidence: { exit: { signal: 'SIGKILL' } },
    });
    it.tick();
    await it.clock.settle();
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });

  test('an exit that was asked for is no stop', async () => {
    const it = guest();
    await it.live();
    it.watch.suspend('turningOff');
    await it.machine?.quit();
    it.watch.end('ended');
    await it.pass(10_000);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('a panic is told at once, without additions too; a tick sent before it does not revive the guest', async () => {
    const it = guest();
    await it.live();
    it.process.panic();
    it.tick();
    await it.pass(5_000);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
    expect(it.log.events[1]?.data).toMatchObject({ verdict: 'panicked', cause: 'guestPanicked' });
    const bare = guest();
    await bare.boot();
    bare.process.panic();
    await bare.clock.settle();
    expect(bare.told).toEqual(['heartbeatStopped']);
  });

  test('an orderly shutdown by the guest is no stop', async () => {
    const it = guest();
    await it.live();
    it.watch.listener.onBye('shutdown');
    await it.pass(5_000);
    it.process.guestShutdown();
    await it.clock.settle();
    it.process.exit(0);
    it.watch.end('ended');
    await it.pass(300_000);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('a pause of a minute is not silence, and the guest is watched again after it', async () => {
    const it = guest();
    await it.live();
    await it.machine?.pause();
    await it.pass(60_000);
    expect(it.watch.info().verdict).toBe('suspended');
    await it.machine?.resume();
    await it.beat(3);
    expect(it.told).toEqual(['heartbeatStarted']);
    it.process.setLoad(idle);
    await it.pass(2_000);
    expect(it.told).toContain('heartbeatStopped');
    expect(it.dataOf(1).evidence?.subtracted).toMatchObject({ suspendedMs: 0 });
  });
});

describe('the heartbeat percentage', () => {
  test('is 100 right after the first ticks of a slow boot', async () => {
    const it = guest();
    await it.boot();
    await it.pass(30_000);
    it.hello();
    for (let ticks = 1; ticks <= 5; ticks += 1) {
      it.tick();
      expect(it.watch.info().heartbeatPercentage).toBe(100);
      await it.pass(1_000);
      expect(it.watch.info().heartbeatPercentage).toBe(100);
    }
  });

  test('is 100 right after the first ticks of a slow boot after a reset', async () => {
    const it = guest();
    await it.live();
    it.process.guestReset();
    await it.pass(30_000);
    it.hello();
    await it.beat(3);
    expect(it.watch.info().heartbeatPercentage).toBe(100);
  });

  test('counts what misses after the first tick of a slow boot', async () => {
    const it = guest();
    await it.boot();
    await it.pass(30_000);
    it.hello();
    await it.beat(5);
    it.process.setLoad(spinning);
    await it.pass(5_000);
    expect(it.watch.info().heartbeatPercentage).toBeGreaterThan(40);
    expect(it.watch.info().heartbeatPercentage).toBeLessThan(70);
  });
});
