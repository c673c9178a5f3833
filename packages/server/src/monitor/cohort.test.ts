import { describe, expect, test } from 'vitest';
import { isEvent } from '@vmpulse/wire';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import type { WatchedGuest } from '../../../../test/support/watched-guest.ts';
import { watchedGuests } from '../../../../test/support/watched-guests.ts';
import { Cohort, type CohortNotice } from './cohort.ts';

const guest = watchedGuests();
const idle = { run: 0.003, runDelay: 0 };

function rule(watched: number): {
  cohort: Cohort;
  clock: SimulatedClock;
  told: CohortNotice[];
  join: (slot: number) => void;
} {
  const clock = new SimulatedClock();
  const told: CohortNotice[] = [];
  const options = {
    clock,
    watched: () => watched,
    hostState: () => 'load 1',
    tell: (notice: CohortNotice) => told.push(notice),
  };
  const cohort = new Cohort(options);
  const join = (slot: number): void => {
    cohort.joined({ slot, vm: { id: `${slot}`, name: `vm-${slot}` }, deadlineMs: 1_500 });
  };
  return { cohort, clock, told, join };
}

describe('a cohort', () => {
  test.each([
    [10, 3],
    [20, 3],
    [21, 4],
    [100, 15],
    [3, 3],
  ])('of %i watched guests is %i that fall silent within a deadline', (watched, needed) => {
    const { told, join, clock } = rule(watched);
    for (let slot = 0; slot < needed - 1; slot += 1) join(slot);
    clock.advance(1_500);
    expect(told).toEqual([]);
    join(needed - 1);
    expect(told).toMatchObject([{ silent: needed, watched, withinMs: 1_500, host: 'load 1' }]);
    expect(told[0]?.vms[0]).toEqual({ id: '0', name: 'vm-0' });
  });

  test('is told once, and those who follow belong to it', () => {
    const { told, join, clock, cohort } = rule(10);
    for (const slot of [0, 1, 2]) join(slot);
    clock.advance(1_000);
    join(3);
    expect(told).toHaveLength(1);
    expect(cohort.testimony(3)).not.toBeNull();
    expect(cohort.testimony(4)).toBeNull();
  });

  test('is none when they fall silent one after the other, or tick again', () => {
    const { told, join, clock, cohort } = rule(10);
    for (const slot of [0, 1, 2, 3, 4]) {
      join(slot);
      clock.advance(800);
    }
    for (const slot of [5, 6, 7]) {
      join(slot);
      cohort.left(slot);
    }
    expect(told).toEqual([]);
  });

  test('that is over does not keep the next from being told', () => {
    const { told, join, clock } = rule(10);
    for (const slot of [0, 1, 2]) join(slot);
    clock.advance(5_000);
    for (const slot of [3, 4, 5]) join(slot);
    expect(told).toHaveLength(2);
  });

  test('names a hundred of its members', () => {
    const { told, join } = rule(3_000);
    for (let slot = 0; slot < 450; slot += 1) join(slot);
    expect(told[0]?.silent).toBe(450);
    expect(told[0]?.vms).toHaveLength(100);
  });
});

describe('a stop in a cohort', () => {
  test('is held back until the canaries have spoken, at most for a second', () => {
    const { join, clock, cohort } = rule(10);
    for (const slot of [0, 1, 2, 3]) join(slot);
    expect(cohort.waitMs(3)).toBe(100);
    cohort.heard(0, 'hung');
    cohort.heard(1, 'hung');
    expect(cohort.waitMs(3)).toBe(100);
    cohort.left(2);
    expect(cohort.waitMs(3)).toBe(0);
    expect(cohort.testimony(3)).toContainEqual({
      witness: 'canaries',
      answer: 'hung, hung, not silent any more',
      tookMs: 0,
    });
    clock.advance(0);
  });

  test('is told after a second though no canary speaks', () => {
    const { join, clock, cohort } = rule(10);
    for (const slot of [0, 1, 2]) join(slot);
    clock.advance(950);
    expect(cohort.waitMs(0)).toBe(50);
    clock.advance(50);
    expect(cohort.waitMs(0)).toBe(0);
  });

  test('of a guest that fell silent by itself is told at once', () => {
    const { cohort, join } = rule(10);
    expect(cohort.waitMs(9)).toBe(0);
    for (const slot of [0, 1, 2]) join(slot);
    expect(cohort.waitMs(9)).toBe(0);
  });
});

describe('a host whose guests fall silent together', () => {
  async function fleet(count: number): Promise<WatchedGuest[]> {
    const first = guest();
    const all = [first];
    for (let each = 1; each < count; each += 1) all.push(guest({ beside: first, vmId: `guest-${each}` }));
    for (const each of all) {
      await each.boot();
      each.hello();
    }
    for (let beat = 0; beat < 25; beat += 1) {
      for (const each of all) each.tick();
      await first.pass(1_000);
    }
    return all;
  }

  test('is told first, then every one of them within a second, tagged', async () => {
    const all = await fleet(8);
    const [first] = all as [WatchedGuest];
    for (const each of all.slice(0, 5)) each.process.setLoad(idle);
    for (let beat = 0; beat < 3; beat += 1) {
      for (const each of all.slice(5)) each.tick();
      await first.pass(1_000);
    }
    const told = first.log.events.slice(8);
    expect(told.map((event) => event.type.slice(11))).toEqual([
      'cohortSilent',
      ...Array.from({ length: 5 }, () => 'heartbeatStopped'),
    ]);
    expect(told[0]?.data).toMatchObject({ silent: 3, watched: 8 });
    for (const stop of told.slice(1)) {
      expect(stop.data).toMatchObject({ verdict: 'hung', correlated: true });
      const { evidence } = (isEvent(stop, 'heartbeatStopped') ? stop : undefined)?.data ?? {};
      expect(evidence?.witnesses.map(({ witness }) => witness)).toEqual(
        expect.arrayContaining(['host', 'canaries']),
      );
      expect(Date.parse(stop.time) - Date.parse(told[0]?.time ?? '')).toBeLessThanOrEqual(1_400);
    }
  });

  test('and ticks again is told as that, and none of them as stopped', async () => {
    const all = await fleet(6);
    const [first] = all as [WatchedGuest];
    for (const each of all) each.process.setLoad({ run: 0.5, runDelay: 0 });
    await first.pass(2_000);
    for (let beat = 0; beat < 5; beat += 1) {
      for (const each of all) each.tick();
      await first.pass(1_000);
    }
    expect(first.log.events.slice(6).map((event) => event.type.slice(11))).toEqual(['cohortSilent']);
  });

  test('one by one is not', async () => {
    const all = await fleet(8);
    const [first] = all as [WatchedGuest];
    for (let dead = 1; dead <= 4; dead += 1) {
      all[dead - 1]?.process.setLoad(idle);
      for (let beat = 0; beat < 4; beat += 1) {
        for (const each of all.slice(dead)) each.tick();
        await first.pass(1_000);
      }
    }
    const told = first.log.events.slice(8);
    expect(told.map((event) => event.type.slice(11))).toEqual(
      Array.from({ length: 4 }, () => 'heartbeatStopped'),
    );
    expect(told.some((event) => 'correlated' in event.data)).toBe(false);
  });
});
