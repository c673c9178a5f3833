import { describe, expect, test } from 'vitest';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { watchedGuests } from '../../../../test/support/watched-guests.ts';
import { HostSleep } from './host-sleep.ts';

const guest = watchedGuests();

describe('the sleep of the host', () => {
  test('is told once, with the time since the last look to forgive', () => {
    const clock = new SimulatedClock();
    let sleptMs = 3_600_000;
    const sleep = new HostSleep(clock, () => sleptMs);
    const beganMs = clock.monotonicMs();
    clock.advance(500);
    expect(sleep.look()).toBeNull();
    clock.advance(200);
    sleptMs += 60_000;
    expect(sleep.look()).toEqual({
      sleptMs: 60_000,
      stall: { startedMs: beganMs + 500, endedMs: beganMs + 700, long: true },
    });
    expect(sleep.look()).toBeNull();
  });

  test('is not what the coarse clocks differ by', () => {
    let sleptMs = 0;
    const sleep = new HostSleep(new SimulatedClock(), () => sleptMs);
    for (sleptMs of [20, -10, 900]) expect(sleep.look()).toBeNull();
  });

  test.each([0, 600_000])(
    'of %i ms: is nobody’s silence, and guests need a moment when it wakes',
    async (slept) => {
      const it = guest();
      await it.live();
      it.process.setLoad({ run: 0.003, runDelay: 0 });
      it.tick();
      await it.pass(300);
      it.sleptMs += slept;
      // Without it a stop would be told after 1,050 and some 300 ms for its witnesses.
      await it.pass(1_300);
      if (slept === 0) return expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
      expect(it.told).toEqual(['heartbeatStarted']);
      expect(it.log.events.map((event) => event.type)).toContain('io.vmpulse.hostSuspended');
      it.tick();
      await it.beat(10);
      expect(it.told).toEqual(['heartbeatStarted']);
    },
  );

  test('while this service stood still makes the time of a boot longer once', async () => {
    const it = guest({ configuration: { heartbeat: { bootWindowMaxMs: 60_000 } } });
    await it.live();
    it.process.setLoad({ run: 0, runDelay: 0 });
    it.process.guestReset();
    await it.pass(5_000);
    it.sleptMs += 600_000;
    it.clock.stall(30_000);
    await it.pass(50_000);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(8_000);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });
});
