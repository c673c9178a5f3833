import { describe, expect, test } from 'vitest';
import { latenessWindowTicks } from './deadline.ts';
import { attentive, ownTimes, Registry } from './registry.ts';

/** A registry whose loop always runs, with one guest at an interval of a second. */
function one(intervalMs = 1_000, beginMs = 0): { registry: Registry; slot: number; beat: Beat } {
  const registry = new Registry(4);
  registry.expectLoop(Number.POSITIVE_INFINITY);
  const slot = registry.allocate();
  registry.begin(slot, intervalMs, beginMs);
  let nowMs = beginMs;
  const beat = (count: number, everyMs = intervalMs): number => {
    for (let each = 0; each < count; each += 1) {
      nowMs += everyMs;
      registry.tick(slot, nowMs);
    }
    return nowMs;
  };
  return { registry, slot, beat };
}
type Beat = (count: number, everyMs?: number) => number;

describe('the margin', () => {
  test('is a cold guest’s until twenty gaps were seen', () => {
    const { registry, slot, beat } = one();
    beat(20);
    expect(registry.marginMs(slot)).toBe(500);
    beat(1);
    expect(registry.marginMs(slot)).toBe(50);
  });

  test('follows the greatest lateness of two windows and forgets what is older', () => {
    const { registry, slot, beat } = one();
    beat(30);
    beat(1, 1_400);
    expect(registry.marginMs(slot)).toBeCloseTo(400, 2);
    beat(latenessWindowTicks);
    expect(registry.marginMs(slot)).toBeCloseTo(400, 2);
    beat(latenessWindowTicks);
    expect(registry.marginMs(slot)).toBe(50);
  });

  test('is never above the interval', () => {
    const { registry, slot, beat } = one();
    beat(30);
    beat(1, 30_000);
    expect(registry.marginMs(slot)).toBe(1_000);
  });

  test('learns nothing from a tick that this service read late', () => {
    const { registry, slot, beat } = one();
    const nowMs = beat(30);
    registry.expectLoop(nowMs + 1_000);
    beat(1, 1_051);
    expect(registry.marginMs(slot)).toBe(50);
    registry.expectLoop(nowMs + 2_051);
    beat(1, 1_049);
    expect(registry.marginMs(slot)).toBe(50);
    registry.expectLoop(Number.POSITIVE_INFINITY);
    beat(1, 1_060);
    expect(registry.marginMs(slot)).toBeCloseTo(60, 2);
  });

  test('learns nothing while nobody is looked at', () => {
    const { registry, slot, beat } = one();
    registry.expectLoop(Number.NEGATIVE_INFINITY);
    beat(100, 1_700);
    expect(registry.marginMs(slot)).toBe(500);
  });

  test.each(['setPace', 'skipGap', 'excuse', 'reboot', 'forgive'] as const)(
    'learns nothing from the gap after %s',
    (what) => {
      const { registry, slot, beat } = one();
      const nowMs = beat(30);
      if (what === 'setPace') registry.setPace(slot, 1_000, nowMs);
      else if (what === 'skipGap') registry.skipGap(slot);
      else if (what === 'excuse') registry.excuse(slot, 10, nowMs + 10);
      else if (what === 'reboot') registry.reboot(slot, nowMs);
      else registry.forgive(slot, { startedMs: nowMs, endedMs: nowMs + 10, long: false });
      beat(1, 1_900);
      beat(25);
      expect(registry.marginMs(slot)).toBe(50);
    },
  );
});

describe('time taken off', () => {
  test('moves the last tick, at most to now, and says how far', () => {
    const { registry, slot, beat } = one();
    const nowMs = beat(30);
    expect(registry.excuse(slot, 300, nowMs + 1_000)).toBe(300);
    expect(registry.lastMs(slot)).toBe(nowMs + 300);
    expect(registry.excuse(slot, 9_000, nowMs + 1_000)).toBe(700);
    expect(registry.excuse(slot, 9_000, nowMs + 1_000)).toBe(0);
    expect(registry.excuse(slot, -5, nowMs + 1_000)).toBe(0);
    expect(registry.marginMs(slot)).toBe(500);
  });

  test.each([
    ['a guest that ticked before the stall', 900, 1_500],
    ['a guest that ticked when it began', 1_000, 1_600],
    ['a guest that ticked in it, or just before', 1_200, 1_600],
    ['a guest that ticked after it', 1_700, 1_700],
  ])('for a stall from 1,000 to 1,600: %s', (_name, lastMs, expected) => {
    const { registry, slot } = one();
    registry.tick(slot, lastMs);
    registry.forgive(slot, { startedMs: 1_000, endedMs: 1_600, long: false });
    expect(registry.lastMs(slot)).toBe(expected);
  });

  test('for a long stall makes the guest cold, for a short one not', () => {
    const { registry, slot, beat } = one();
    const nowMs = beat(30);
    registry.forgive(slot, { startedMs: nowMs, endedMs: nowMs + 60, long: false });
    expect(registry.marginMs(slot)).toBe(50);
    registry.forgive(slot, { startedMs: nowMs, endedMs: nowMs + 600, long: true });
    expect(registry.marginMs(slot)).toBe(500);
  });

  test('is known until the next tick, and no longer', () => {
    const { registry, slot, beat } = one();
    const nowMs = beat(30);
    registry.excuse(slot, 300, nowMs + 1_000);
    registry.forgive(slot, { startedMs: nowMs + 1_000, endedMs: nowMs + 1_200, long: false });
    expect(registry.takenMs(slot)).toBe(500);
    expect(registry.lastMs(slot) - registry.takenMs(slot)).toBe(nowMs);
    registry.tick(slot, nowMs + 1_500);
    expect(registry.takenMs(slot)).toBe(0);
  });

  test('for a stall from everyone at once, but from those with times of their own', () => {
    const registry = new Registry(4);
    const slots = Array.from({ length: 4 }, () => registry.allocate());
    for (const slot of slots) registry.begin(slot, 1_000, 500);
    registry.set(2, ownTimes, true);
    registry.tick(3, 1_300);
    const told: number[] = [];
    registry.forgiveAll({ startedMs: 1_000, endedMs: 1_600, long: false }, (slot) => told.push(slot));
    expect(told).toEqual([2]);
    expect(slots.map((slot) => registry.lastMs(slot))).toEqual([1_100, 1_100, 500, 1_600]);
    expect(slots.map((slot) => registry.takenMs(slot))).toEqual([600, 600, 0, 300]);
    expect(registry.slotsWith(ownTimes)).toBe(1);
  });
});

describe('the percentage', () => {
  test.each([
    ['all', 100, 1, 100],
    ['every second', 100, 2, 50],
    ['every fourth', 100, 4, 25],
  ])('of a guest that gives %s of its ticks', (_name, count, each, expected) => {
    const { registry, slot, beat } = one();
    const nowMs = beat(count / each, 1_000 * each);
    expect(Math.abs(registry.percentage(slot, nowMs) - expected)).toBeLessThanOrEqual(4);
  });

  test('falls to nothing within a minute of silence', () => {
    const { registry, slot, beat } = one();
    const nowMs = beat(100);
    expect(registry.percentage(slot, nowMs + 30_000)).toBeLessThan(60);
    expect(registry.percentage(slot, nowMs + 61_000)).toBe(0);
    expect(registry.percentage(slot, nowMs + 1e9)).toBe(0);
  });

  test('is never more than 100, of a flood too', () => {
    const { registry, slot, beat } = one();
    expect(registry.percentage(slot, beat(200_000, 0.1))).toBe(100);
  });

  test.each([100, 1_000, 6_000, 25_000, 40_000, 60_000])(
    'of a punctual guest at an interval of %d ms is 100 at any moment',
    (intervalMs) => {
      const { registry, slot, beat } = one(intervalMs, 123_456);
      let nowMs = beat(30);
      for (let each = 0; each < 200; each += 1) {
        for (const share of [0, 0.3, 0.9, 0.999]) {
          expect(registry.percentage(slot, nowMs + share * intervalMs)).toBe(100);
        }
        nowMs = beat(1);
      }
    },
  );

  test('of a guest that never ticked is 100 until its first tick is overdue, then 0', () => {
    const { registry, slot } = one();
    expect(registry.percentage(slot, 900)).toBe(100);
    expect(registry.percentage(slot, 3_000)).toBe(0);
  });

  test('counts from the moment the clock began, and does not touch a neighbour', () => {
    const registry = new Registry(2);
    const [left, right] = [registry.allocate(), registry.allocate()];
    registry.begin(left, 100, 0);
    registry.begin(right, 100, 0);
    for (let nowMs = 0; nowMs < 70_000; nowMs += 100) {
      registry.tick(left, nowMs);
      if (nowMs >= 60_000) continue;
      expect(registry.percentage(left, nowMs)).toBe(100);
      if (nowMs % 200 === 0) registry.tick(right, nowMs);
      if (nowMs > 10_000) expect(registry.percentage(right, nowMs)).toBeGreaterThan(40);
      if (nowMs > 10_000) expect(registry.percentage(right, nowMs)).toBeLessThan(70);
    }
  });

  test('begins anew with another interval, not with the same', () => {
    const { registry, slot, beat } = one();
    let nowMs = beat(30);
    nowMs = beat(1, 31_000);
    registry.setPace(slot, 1_000, nowMs);
    expect(registry.percentage(slot, nowMs)).toBeLessThan(60);
    registry.setPace(slot, 100, nowMs);
    nowMs = beat(10, 100);
    expect(registry.percentage(slot, nowMs)).toBe(100);
  });
});

describe('slots', () => {
  test('grow, and keep what they hold', () => {
    const registry = new Registry(2);
    registry.expectLoop(Number.POSITIVE_INFINITY);
    const slots = Array.from({ length: 100 }, () => registry.allocate());
    expect(new Set(slots).size).toBe(100);
    expect(registry.size).toBeGreaterThanOrEqual(100);
    for (const slot of slots) registry.begin(slot, 1_000 + slot, 10 * slot);
    for (const slot of slots) registry.tick(slot, 20_000 + slot);
    const more = Array.from({ length: 1_000 }, () => registry.allocate());
    expect(new Set([...slots, ...more]).size).toBe(1_100);
    for (const slot of slots) {
      expect(registry.lastMs(slot)).toBe(20_000 + slot);
      expect(registry.intervalMs(slot)).toBe(1_000 + slot);
    }
    expect(registry.totalTicks).toBe(100);
  });

  test('are given out again with nothing of their old holder, who cannot give them back once more', () => {
    const { registry, slot, beat } = one();
    beat(100, 1_400);
    registry.set(slot, attentive, true);
    const generation = registry.generationOf(slot);
    registry.release(slot, generation);
    expect(registry.generationOf(slot)).toBe(generation + 1);
    expect(registry.allocate()).toBe(slot);
    registry.begin(slot, 1_000, 500_000);
    expect(registry.has(slot, attentive)).toBe(false);
    expect(registry.marginMs(slot)).toBe(500);
    expect(registry.percentage(slot, 500_000)).toBe(100);
    registry.release(slot, generation);
    expect(registry.allocate()).not.toBe(slot);
  });

  test('tell their watch of a tick only while it waits for one', () => {
    const { registry, slot } = one();
    expect(registry.tick(slot, 1_000)).toBe(false);
    registry.set(slot, attentive, true);
    expect(registry.tick(slot, 2_000)).toBe(true);
    registry.set(slot, attentive, false);
    expect(registry.tick(slot, 3_000)).toBe(false);
  });
});
