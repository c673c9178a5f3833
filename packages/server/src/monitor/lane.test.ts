import { describe, expect, test } from 'vitest';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { Lane } from './lane.ts';
import { Registry } from './registry.ts';
import type { Stall } from './stall.ts';

function lane(visit: (slot: number, upToMs: number) => number, clock = new SimulatedClock()) {
  const registry = new Registry(4);
  const stalls: Stall[] = [];
  const lags: number[] = [];
  const made = new Lane({
    clock,
    registry,
    visit,
    stalled: (stall) => stalls.push(stall),
    drained: (lagMs) => lags.push(lagMs),
  });
  return { lane: made, clock, registry, stalls, lags };
}

describe('the lane', () => {
  test('visits nobody before what had come in by then was read, and no further than that', () => {
    const seen: number[] = [];
    const it = lane(
      (_slot, upToMs) => {
        seen.push(upToMs);
        return -1;
      },
      new SimulatedClock({ autoPoll: false }),
    );
    const beganMs = it.clock.monotonicMs();
    it.lane.schedule(0, beganMs + 100);
    it.lane.schedule(1, beganMs + 130);
    it.clock.advance(100);
    expect(seen).toEqual([]);
    // The loop is held up while it drains: what came in after it began is not known to be read.
    it.clock.advance(40);
    it.clock.poll();
    expect(seen).toEqual([beganMs + 100]);
    expect(it.lags).toEqual([40]);
  });

  test('wakes for the earliest, though it was laid in last', () => {
    const seen: number[] = [];
    const it = lane((slot) => {
      seen.push(slot);
      return -1;
    });
    const nowMs = it.clock.monotonicMs();
    it.lane.schedule(0, nowMs + 300);
    it.lane.schedule(1, nowMs + 100);
    it.clock.advance(110);
    expect(seen).toEqual([1]);
    it.clock.advance(200);
    expect(seen).toEqual([1, 0]);
    expect(it.clock.pendingTimers).toBe(0);
  });

  test('has one timer, whoever is laid in, and wakes at least ten times a second', () => {
    const it = lane(() => -1);
    const nowMs = it.clock.monotonicMs();
    for (let slot = 0; slot < 4; slot += 1) it.lane.schedule(slot, nowMs + 60_000 - 100 * slot);
    expect(it.clock.pendingTimers).toBe(1);
    it.clock.advance(10_000);
    expect(it.lags.length).toBe(100);
  });

  test('notices a stall as the long one that it is, though nobody was to be looked at meanwhile', () => {
    const it = lane(() => -1);
    it.lane.schedule(0, it.clock.monotonicMs() + 60_000);
    it.clock.advance(1_010);
    it.clock.stall(370);
    it.clock.advance(1_000);
    expect(it.stalls.map(({ long }) => long)).toEqual([true]);
  });

  test('that is late teaches nothing of lateness, though a guest is laid in before it runs', () => {
    const it = lane(() => -1);
    const slot = it.registry.allocate();
    it.registry.begin(slot, 1_000, it.clock.monotonicMs());
    // Looked at in the distance, so that the loop is expected each tenth of a second.
    it.lane.schedule(1, it.clock.monotonicMs() + 60_000);
    for (let each = 0; each < 30; each += 1) {
      it.clock.advance(1_000);
      it.registry.tick(slot, it.clock.monotonicMs());
    }
    expect(it.registry.marginMs(slot)).toBe(50);
    const beforeMs = it.clock.monotonicMs();
    it.clock.stall(1_900);
    it.lane.schedule(2, beforeMs);
    it.registry.tick(slot, it.clock.monotonicMs());
    expect(it.registry.marginMs(slot)).toBe(50);
  });

  test('tells a stall before anyone is visited', () => {
    const order: string[] = [];
    const it = lane(() => {
      order.push(`visit after ${it.stalls.length} stalls`);
      return -1;
    });
    it.lane.schedule(0, it.clock.monotonicMs() + 100);
    it.clock.stall(5_000);
    expect(it.lane.overdue(it.clock.monotonicMs())).toBe(true);
    it.clock.advance(10);
    expect(order).toEqual(['visit after 1 stalls']);
    expect(it.lane.overdue(it.clock.monotonicMs())).toBe(false);
  });

  test('goes on after a visit that throws, which it must not', () => {
    const it = lane(() => {
      throw new Error('defect');
    });
    it.lane.schedule(0, it.clock.monotonicMs() + 100);
    it.lane.schedule(1, it.clock.monotonicMs() + 200);
    expect(() => it.clock.advance(150)).toThrow('defect');
    expect(it.clock.pendingTimers).toBe(1);
  });

  test('visits nobody once closed, also if it was draining', () => {
    const seen: number[] = [];
    const it = lane(
      (slot) => {
        seen.push(slot);
        return -1;
      },
      new SimulatedClock({ autoPoll: false }),
    );
    it.lane.schedule(0, it.clock.monotonicMs() + 100);
    it.clock.advance(150);
    it.lane.close();
    it.clock.poll();
    it.lane.schedule(1, it.clock.monotonicMs() + 100);
    it.clock.advance(1_000);
    it.clock.poll();
    expect(seen).toEqual([]);
    expect(it.clock.pendingTimers).toBe(0);
  });

  test('takes slots in that the registry grew by', () => {
    const seen: number[] = [];
    const it = lane((slot) => {
      seen.push(slot);
      return -1;
    });
    for (let each = 0; each < 100; each += 1) it.registry.allocate();
    it.lane.grow();
    for (let slot = 0; slot < 100; slot += 1) it.lane.schedule(slot, it.clock.monotonicMs() + 50);
    it.clock.advance(100);
    expect(seen).toHaveLength(100);
  });
});
