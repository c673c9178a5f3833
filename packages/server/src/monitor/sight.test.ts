import { describe, expect, test } from 'vitest';
import { clearSight, missingSightMs, nextSight } from './sight.ts';

const bounds = { gapMs: 300, deadlineMs: 1_500 };
const lost = (nowMs: number, lostSinceMs: number) => ({ nowMs, lostSinceMs, ...bounds });
const seen = (nowMs: number) => ({ nowMs, lostSinceMs: null, ...bounds });

describe('a guest', () => {
  test('that was in sight all along is judged at once', () => {
    expect(missingSightMs(nextSight(clearSight, seen(5_000)), 5_000)).toBe(0);
  });

  test('that is out of sight is not judged', () => {
    expect(missingSightMs(nextSight(clearSight, lost(5_000, 4_950)), 9_000_000)).toBe(
      Number.POSITIVE_INFINITY,
    );
  });

  test.each([
    ['for a moment: two samples lie between', 4_950, 300],
    ['for a while: as long again', 4_300, 700],
    ['for long: a whole deadline', -60_000, 1_500],
  ])('that was out of sight %s', (_name, lostSinceMs, neededMs) => {
    const back = nextSight(nextSight(clearSight, lost(4_990, lostSinceMs)), seen(5_000));
    expect(missingSightMs(back, 5_000)).toBe(neededMs);
    expect(missingSightMs(nextSight(back, seen(5_100)), 5_100)).toBe(neededMs - 100);
    expect(missingSightMs(back, 5_000 + neededMs)).toBe(0);
  });

  test('that is lost again begins anew, from when it was first lost this time', () => {
    const back = nextSight(nextSight(clearSight, lost(5_000, 4_000)), seen(5_500));
    const again = nextSight(nextSight(back, lost(5_600, 5_550)), lost(6_000, 5_950));
    expect(again.lostSinceMs).toBe(5_550);
    expect(missingSightMs(nextSight(again, seen(6_050)), 6_050)).toBe(500);
  });
});
