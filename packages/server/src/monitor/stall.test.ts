import { describe, expect, test } from 'vitest';
import { StallWatch } from './stall.ts';

describe('a stall', () => {
  test.each([
    ['none, on time', 500, null],
    ['none, a little late', 525, null],
    ['short', 526, { startedMs: 500, endedMs: 526, long: false }],
    ['short still', 700, { startedMs: 500, endedMs: 700, long: false }],
    ['long: it may have begun when the loop ran last', 701, { startedMs: 100, endedMs: 701, long: true }],
  ])('%s', (_name, ranMs, expected) => {
    const stalls = new StallWatch(0);
    stalls.expect(500, 100);
    expect(stalls.overdue(ranMs)).toBe(expected !== null);
    expect(stalls.ran(ranMs)).toEqual(expected);
    expect(stalls.overdue(ranMs)).toBe(false);
  });

  test('is not made by a due that is long past', () => {
    const stalls = new StallWatch(0);
    stalls.expect(100, 5_000);
    expect(stalls.ran(5_010)).toBeNull();
  });

  test('is not forgotten when the loop is to run at another time meanwhile', () => {
    const stalls = new StallWatch(0);
    stalls.expect(500, 100);
    stalls.expect(10_000, 9_000);
    expect(stalls.ran(10_000)).toEqual({ startedMs: 100, endedMs: 10_000, long: true });
  });

  test('within the loop’s own run is one too', () => {
    const stalls = new StallWatch(0);
    stalls.expect(500, 100);
    expect(stalls.ran(500)).toBeNull();
    stalls.expect(30_600, 30_500);
    expect(stalls.overdue(30_500)).toBe(true);
    expect(stalls.ran(30_600)).toEqual({ startedMs: 500, endedMs: 30_600, long: true });
  });

  test('is not seen while there is nothing to run for', () => {
    const stalls = new StallWatch(0);
    stalls.expect(Number.POSITIVE_INFINITY, 100);
    stalls.expect(1_000_500, 1_000_000);
    expect(stalls.ran(1_000_500)).toBeNull();
  });
});
