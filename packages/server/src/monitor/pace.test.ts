import { describe, expect, test } from 'vitest';
import { plainConfiguration } from '../../../../test/support/plain-configuration.ts';
import { Pace } from './pace.ts';
import { watchPolicy } from './policy.ts';

const policy = watchPolicy(plainConfiguration());
const hello = (intervalMs: number | null) => ({
  protocol: 1,
  version: null,
  intervalMs,
  os: null,
  host: null,
});

function measured(ticks: readonly (readonly [seq: number, uptimeMs: number])[]): number {
  const pace = new Pace(null);
  for (const [seq, uptimeMs] of ticks) pace.measure(seq, uptimeMs);
  return pace.intervalMs(policy);
}

describe('the pace', () => {
  test('is the configured one where nothing is known', () => {
    expect(new Pace(null).intervalMs(policy)).toBe(1_000);
  });

  test('is the remembered one, then what a hello says, then nothing that a tick says', () => {
    const pace = new Pace(2_000);
    expect(pace.intervalMs(policy)).toBe(2_000);
    pace.hear(hello(500));
    expect(pace.intervalMs(policy)).toBe(500);
    expect(pace.measure(0, 0)).toBe(false);
    expect(pace.measuring).toBe(false);
    pace.forget();
    expect(pace.learnedMs).toBeNull();
  });

  test.each([99, 60_001, null, Number.NaN, -1])('is not what a hello may not say: %s', (intervalMs) => {
    const pace = new Pace(2_000);
    pace.hear(hello(intervalMs));
    expect(pace.intervalMs(policy)).toBe(2_000);
  });

  test.each([
    ['not known after one tick', [[0, 0]], 60_000],
    [
      'not known after three',
      [
        [0, 0],
        [1, 1_000],
        [2, 2_000],
      ],
      60_000,
    ],
    [
      'known after four',
      [
        [0, 0],
        [1, 1_000],
        [2, 2_000],
        [3, 3_000],
      ],
      1_000,
    ],
    [
      'the longest gap',
      [
        [0, 0],
        [1, 1_900],
        [2, 2_000],
        [3, 3_000],
      ],
      1_900,
    ],
    [
      'by the guest’s count of ticks',
      [
        [10, 0],
        [20, 10_000],
        [21, 11_000],
        [22, 12_000],
      ],
      1_000,
    ],
    [
      'begun anew with a ticker that begins anew',
      [
        [10, 0],
        [11, 1_000],
        [0, 1_100],
        [1, 3_100],
        [2, 5_100],
        [3, 7_100],
      ],
      2_000,
    ],
    [
      'begun anew with a clock that runs backwards',
      [
        [10, 99_000],
        [11, 1_000],
        [12, 3_000],
        [13, 5_000],
        [14, 7_000],
      ],
      2_000,
    ],
    [
      'not below the least',
      [
        [0, 0],
        [1, 1],
        [2, 2],
        [3, 3],
      ],
      100,
    ],
    [
      'not above the greatest',
      [
        [0, 0],
        [1, 1e9],
        [2, 2e9],
        [3, 3e9],
      ],
      60_000,
    ],
  ] as const)('measured is %s', (_name, ticks, expected) => {
    expect(measured(ticks)).toBe(expected);
  });

  test('in classic mode is the classic one, but never faster than the ticker', () => {
    const classic = watchPolicy(
      plainConfiguration({ values: { 'integration/microsoft/heartbeat/time': 60 } }),
    );
    expect(new Pace(null).intervalMs(classic)).toBe(6_000);
    expect(new Pace(1_000).intervalMs(classic)).toBe(6_000);
    expect(new Pace(60_000).intervalMs(classic)).toBe(60_000);
  });

  test('measured leaves out a pause of the whole host', () => {
    expect(
      measured([
        [0, 0],
        [1, 100],
        [2, 13_200],
        [3, 13_300],
      ]),
    ).toBe(100);
  });

  test('remembered is ten seconds at least until one gap agrees with it', () => {
    const pace = new Pace(200);
    pace.recall();
    expect(pace.intervalMs(policy)).toBe(10_000);
    expect(pace.measure(5, 5_000)).toBe(true);
    expect(pace.intervalMs(policy)).toBe(10_000);
    expect(pace.measure(6, 5_210)).toBe(true);
    expect(pace.intervalMs(policy)).toBe(200);
    expect(pace.listening).toBe(false);
  });

  test('remembered is restored by one gap that agrees with it after one that did not', () => {
    const pace = new Pace(200);
    pace.recall();
    pace.measure(5, 5_000);
    expect(pace.measure(6, 18_000)).toBe(true);
    expect(pace.intervalMs(policy)).toBe(60_000);
    expect(pace.measure(7, 18_200)).toBe(true);
    expect(pace.intervalMs(policy)).toBe(200);
  });

  test('remembered gives way to another that three gaps show', () => {
    const pace = new Pace(200);
    pace.recall();
    for (const seq of [0, 1, 2, 3]) pace.measure(seq, 1_000 * seq);
    expect(pace.learnedMs).toBe(1_000);
  });
});
