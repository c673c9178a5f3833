import { expect, it } from 'vitest';
import { backoffMs } from './backoff.ts';

const bounds = { minDelayMs: 250, maxDelayMs: 10_000 };

it.each([
  [0, 0, 250],
  [1, 0, 500],
  [1, 0.999, 250.25],
  [5, 0, 8_000],
  [6, 0, 10_000],
  [6, 0.5, 7_500],
  [5_000, 0, 10_000],
])('after %i failures, random %d, the delay is %d ms', (failures, random, delayMs) => {
  expect(backoffMs(failures, bounds, random)).toBeCloseTo(delayMs);
});
