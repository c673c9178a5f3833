import { describe, expect, it } from 'vitest';
import { markAfter, nextLevel, nextLookMs, regainedBytes } from './disk-level.ts';

const mb = 1024 ** 2;
const bounds = { warningBytes: 100 * mb, errorBytes: 20 * mb };

describe('the level of a file system', () => {
  it.each([
    ['ok', 100, 'ok'],
    ['ok', 99, 'warning'],
    ['ok', 19, 'error'],
    ['warning', 149, 'warning'],
    ['warning', 150, 'ok'],
    ['warning', 20, 'warning'],
    ['warning', 19, 'error'],
    ['error', 29, 'error'],
    ['error', 30, 'warning'],
    ['error', 149, 'warning'],
    ['error', 150, 'ok'],
  ] as const)('after %s with %i MB free is as the bounds and half of them say', (level, free, next) => {
    expect(nextLevel(level, free * mb, bounds)).toBe(next);
  });

  it('is never low where a bound is 0', () => {
    expect(nextLevel('ok', 0, { warningBytes: 0, errorBytes: 0 })).toBe('ok');
    expect(nextLevel('ok', 0, { warningBytes: mb, errorBytes: 0 })).toBe('warning');
  });

  it('is regained a bounded way above a large bound', () => {
    expect(regainedBytes(100_000 * mb)).toBe(100_256 * mb);
  });
});

describe('the next look', () => {
  it.each([
    ['ok', 20_000 * mb, 10_000],
    ['ok', 100 * mb + 1e9, 1_000],
    ['ok', 101 * mb, 250],
    ['warning', 21 * mb, 250],
    ['warning', 50_000 * mb, 10_000],
    ['error', 5 * mb, 1_000],
  ] as const)('at %s with %i bytes free comes after %i ms', (level, free, expectedMs) => {
    expect(nextLookMs(level, free, bounds)).toBeCloseTo(expectedMs);
  });
});

describe('the mark of a machine', () => {
  it.each([
    ['pausing', 'paused', 'paused'],
    ['pausing', 'running', 'pausing'],
    ['pausing', 'turningOff', null],
    ['paused', 'running', 'exempt'],
    ['paused', 'saving', null],
    ['exempt', 'paused', 'exempt'],
    ['exempt', 'running', 'exempt'],
    ['exempt', 'turnedOff', null],
    [null, 'paused', null],
    [undefined, 'running', null],
  ] as const)('%s that enters %s becomes %s', (mark, state, after) => {
    expect(markAfter(mark, state)).toBe(after);
  });
});
