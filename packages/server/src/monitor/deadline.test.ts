import { describe, expect, test } from 'vitest';
import {
  bootWindowEndMs,
  bootWindowMs,
  deadlineMs,
  marginMs,
  nextLookMs,
  overdue,
  sampleGapMs,
  silenceMs,
} from './deadline.ts';

describe('the margin', () => {
  test.each([
    ['cold', 1_000, 0, 0, 500],
    ['cold, and punctual so far', 1_000, 19, 300, 500],
    ['cold, but known to be late', 1_000, 0, 900, 900],
    ['cold, and later than an interval', 2_000, 19, 9_000, 2_000],
    ['cold, though longer than the interval', 100, 0, 0, 500],
    ['warm and punctual', 1_000, 20, 0, 50],
    ['warm and late', 1_000, 20, 300, 300],
    ['warm and later than an interval', 1_000, 20, 9_000, 1_000],
    ['warm at the shortest interval', 100, 20, 400, 100],
    ['warm at an interval below the least margin', 40, 20, 400, 50],
  ])('%s', (_name, intervalMs, ticks, latenessMs, expected) => {
    expect(marginMs(intervalMs, ticks, latenessMs)).toBe(expected);
  });
});

describe('the next look', () => {
  test.each([
    [0, 1_025],
    [1_024.9, 1_025],
    [1_025, 1_050],
    [1_049.9, 1_050],
    [1_050, overdue],
    [9_999, overdue],
  ])('with the lane drained to %d is at %d', (upToMs, expected) => {
    expect(deadlineMs(0, 1_000, 50)).toBe(1_050);
    expect(nextLookMs(0, 1_000, 50, upToMs)).toBe(expected);
  });
});

test('silence is never negative', () => {
  expect(silenceMs(5_000, 1_000, 500)).toBe(3_500);
  expect(silenceMs(5_000, 6_000, 0)).toBe(0);
});

describe('two samples of processor time', () => {
  test.each([
    ['never closer than 40 ms', 50, 40],
    ['at the shortest interval', 100, 40],
    ['at an interval just above it', 140, 42],
    ['at half a second', 500, 150],
    ['at a second', 1_000, 300],
    ['never further than 300 ms', 1_001, 300],
    ['at the longest interval', 60_000, 300],
  ])('are apart, %s', (_name, intervalMs, expected) => {
    expect(sampleGapMs(intervalMs)).toBeCloseTo(expected, 9);
  });
});

describe('the boot window', () => {
  test.each([
    ['unknown boots', [], 600_000, 120_000],
    ['two short boots', [3_000, 4_000], 600_000, 120_000],
    ['three short boots', [3_000, 4_000, 3_000], 600_000, 60_000],
    ['three long boots', [30_000, 90_000, 30_000], 600_000, 190_000],
    ['longer than the most allowed', [400_000, 400_000, 400_000], 600_000, 600_000],
    ['less allowed than the least', [], 30_000, 30_000],
  ])('of %s', (_name, bootMs, maxMs, expected) => {
    expect(bootWindowMs(bootMs, maxMs)).toBe(expected);
  });

  test.each([
    [1_000, 1_000, 121_000],
    [400_000, 1_000, 520_000],
    [550_000, 1_000, 601_000],
    [700_000, 1_000, 601_000],
  ])('of a reset at %d, the first at %d, ends at %d', (nowMs, firstMs, endMs) => {
    expect(bootWindowEndMs(nowMs, firstMs, 120_000, 600_000)).toBe(endMs);
  });
});
