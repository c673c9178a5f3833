import { describe, expect, test } from 'vitest';
import { plainConfiguration } from '../../../../test/support/plain-configuration.ts';
import { classicKeys, patienceMs, watchPolicy } from './policy.ts';

const policyOf = (change: Parameters<typeof plainConfiguration>[0]) =>
  watchPolicy(plainConfiguration(change));

describe('a policy', () => {
  test('is the documented one where nothing is set', () => {
    expect(policyOf({})).toEqual({
      watch: true,
      intervalMs: 1_000,
      patience: { spinningMs: 10_000, busyMs: 60_000, additionsStoppedMs: 10_000 },
      bootWindowMaxMs: 600_000,
      classic: null,
    });
  });

  test('is what is set', () => {
    const heartbeat = { watch: false, intervalMs: 250, patience: { busyMs: 0 }, bootWindowMaxMs: 5_000 };
    expect(policyOf({ heartbeat })).toMatchObject({
      watch: false,
      intervalMs: 250,
      patience: { spinningMs: 10_000, busyMs: 0, additionsStoppedMs: 10_000 },
      bootWindowMaxMs: 5_000,
    });
  });

  test.each(Object.values(classicKeys).map(([key]) => key))('is classic as soon as %s is set', (key) => {
    const policy = policyOf({ values: { [key]: classicKeys.rate[1] }, heartbeat: { intervalMs: 100 } });
    expect(policy.classic).not.toBeNull();
  });

  test.each([
    ['time', 120, { intervalMs: 12_000, attemptEveryMs: 10_000, attempts: 12 }],
    ['rate', 60, { intervalMs: 1_000, attemptEveryMs: 10_000, attempts: 12 }],
    ['failureInterval', 5, { intervalMs: 6_000, attemptEveryMs: 5_000, attempts: 12 }],
    ['failureAttempts', 3, { intervalMs: 6_000, attemptEveryMs: 10_000, attempts: 3 }],
    ['rate', 0, { intervalMs: 6_000, attemptEveryMs: 10_000, attempts: 12 }],
    ['rate', 'ten', { intervalMs: 6_000, attemptEveryMs: 10_000, attempts: 12 }],
    ['rate', 1e9, { intervalMs: 100, attemptEveryMs: 10_000, attempts: 12 }],
  ] as const)('with the classic %s of %s', (key, value, { intervalMs, ...classic }) => {
    expect(policyOf({ values: { [classicKeys[key][0]]: value } })).toMatchObject({ intervalMs, classic });
  });
});

describe('patience', () => {
  test.each([
    ['hung', 0],
    ['exited', 0],
    ['panicked', 0],
    ['watchdog', 0],
    ['internalError', 0],
    ['tripleFault', 0],
    ['spinning', 10_000],
    ['busy', 60_000],
    ['additionsStopped', 10_000],
  ] as const)('with a guest that is %s is %d ms', (verdict, expected) => {
    expect(patienceMs(policyOf({}), verdict, 1_000)).toBe(expected);
  });

  test('in classic mode is an interval and all attempts, whatever the verdict', () => {
    const policy = policyOf({ values: { [classicKeys.time[0]]: 60 } });
    for (const verdict of ['hung', 'busy', 'additionsStopped'] as const) {
      expect(patienceMs(policy, verdict, 6_000)).toBe(126_000);
    }
  });
});
