import { describe, expect, test } from 'vitest';
import { Boots } from './boots.ts';

describe('boots', () => {
  test('are learned, the last eight of them', () => {
    const boots = new Boots([1, 2, 3, 4, 5, 6, 7]);
    boots.started(1_000);
    boots.ticked(4_000.4);
    expect(boots.learnedMs).toEqual([1, 2, 3, 4, 5, 6, 7, 3_000]);
    boots.started(5_000);
    boots.ticked(6_000);
    expect(boots.learnedMs).toEqual([2, 3, 4, 5, 6, 7, 3_000, 1_000]);
  });

  test('end with the first tick: the next ones teach nothing', () => {
    const boots = new Boots([]);
    boots.started(1_000);
    boots.ticked(2_000);
    boots.ticked(9_000);
    expect(boots.learnedMs).toEqual([1_000]);
  });

  test('of a guest found running are not known', () => {
    const boots = new Boots([]);
    boots.ticked(9_000);
    expect(boots.learnedMs).toEqual([]);
  });

  test('do not count time in which nothing could boot', () => {
    const boots = new Boots([]);
    boots.started(1_000);
    boots.excuse(5_000, 7_000);
    boots.ticked(8_000);
    expect(boots.learnedMs).toEqual([2_000]);
    boots.started(10_000);
    // Began within that time: no more is taken off than there was.
    boots.excuse(5_000, 11_000);
    boots.ticked(12_000);
    expect(boots.learnedMs).toEqual([2_000, 1_000]);
  });

  test('in a row share one end, until a tick or a reset from outside', () => {
    const boots = new Boots([]);
    expect(boots.windowEndMs(0, 300_000, false)).toBe(120_000);
    expect(boots.windowEndMs(250_000, 300_000, false)).toBe(300_000);
    expect(boots.windowEndMs(400_000, 300_000, false)).toBe(300_000);
    expect(boots.windowEndMs(500_000, 300_000, true)).toBe(620_000);
    expect(boots.windowEndMs(750_000, 300_000, false)).toBe(800_000);
    boots.ticked(760_000);
    expect(boots.windowEndMs(900_000, 300_000, false)).toBe(1_020_000);
  });
});
