import { describe, expect, it } from 'vitest';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { Attempts, retryDelayMs } from './retry.ts';

const policy = { firstDelayMs: 100, longestDelayMs: 1_000, maxAttempts: 3 };

describe('the pause before another attempt', () => {
  it('doubles up to the longest, and a random half of it is taken off', () => {
    const pauses = [1, 2, 3, 4, 5, 5_000].map((failures) => retryDelayMs(failures, policy, 0));
    expect(pauses).toEqual([100, 200, 400, 800, 1_000, 1_000]);
    expect(retryDelayMs(3, policy, 0.5)).toBe(300);
    expect(retryDelayMs(3, policy, 1 - Number.EPSILON)).toBeCloseTo(200);
  });
});

describe('attempts', () => {
  it('wait, and end after the last one', () => {
    const clock = new SimulatedClock();
    const attempts = new Attempts(
      clock,
      () => policy,
      () => 0,
    );
    expect([attempts.waitMs(7), attempts.failures(7)]).toEqual([0, 0]);
    expect([attempts.failed(7), attempts.waitMs(7)]).toEqual(['again', 100]);
    clock.advance(60);
    expect([attempts.waitMs(7), attempts.waitMs(8)]).toEqual([40, 0]);
    clock.advance(60);
    expect([attempts.waitMs(7), attempts.failed(7), attempts.waitMs(7)]).toEqual([0, 'again', 200]);
    expect(attempts.failed(7)).toBe('last');
    attempts.forget(7);
    expect([attempts.failures(7), attempts.waitMs(7), attempts.failed(7)]).toEqual([0, 0, 'again']);
  });

  it('are taken up again with their counts, each pause anew', () => {
    const clock = new SimulatedClock();
    const attempts = new Attempts(
      clock,
      () => policy,
      () => 0,
    );
    attempts.failed(7);
    attempts.failed(7);
    const again = new Attempts(
      clock,
      () => policy,
      () => 0,
    );
    again.restore(attempts.snapshot());
    expect([again.failures(7), again.waitMs(7), again.failed(7)]).toEqual([2, 200, 'last']);
  });
});
