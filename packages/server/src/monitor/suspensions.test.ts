import { describe, expect, test } from 'vitest';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { Suspensions } from './suspensions.ts';

describe('suspensions', () => {
  test('that overlap count from the first to the last', () => {
    const clock = new SimulatedClock();
    const suspensions = new Suspensions(clock);
    suspensions.add('pausing');
    clock.advance(1_000);
    suspensions.add('qemu');
    clock.advance(1_000);
    expect(suspensions.endOperations()).toBeUndefined();
    clock.advance(1_000);
    expect(suspensions.remove('qemu')).toBe(3_000);
    expect(suspensions.any).toBe(false);
  });

  test('that were not there end nothing', () => {
    const suspensions = new Suspensions(new SimulatedClock());
    expect(suspensions.remove('qemu', 'sleep')).toBeUndefined();
    expect(suspensions.endOperations()).toBeUndefined();
    suspensions.add('qemu');
    expect(suspensions.remove('sleep')).toBeUndefined();
    expect(suspensions.any).toBe(true);
  });

  test('that begin again count from there', () => {
    const clock = new SimulatedClock();
    const suspensions = new Suspensions(clock);
    suspensions.add('qemu');
    clock.advance(5_000);
    suspensions.add('qemu');
    expect(suspensions.remove('qemu')).toBe(5_000);
    clock.advance(5_000);
    suspensions.add('sleep');
    const { startedMs } = suspensions;
    clock.advance(2_000);
    expect(suspensions.remove('qemu', 'sleep')).toBe(2_000);
    expect(clock.monotonicMs() - startedMs).toBe(2_000);
  });

  test('are cleared without a word', () => {
    const suspensions = new Suspensions(new SimulatedClock());
    suspensions.add('qemu');
    suspensions.clear();
    expect(suspensions.any).toBe(false);
    expect(suspensions.has('qemu')).toBe(false);
  });

  test.each([
    ['guestShutdown', true],
    ['turningOff', true],
    ['saving', true],
    ['pausing', false],
    ['resetting', false],
    ['shuttingDown', false],
    ['qemu', false],
    ['sleep', false],
  ] as const)('for %s expect an exit: %s', (reason, expected) => {
    const suspensions = new Suspensions(new SimulatedClock());
    expect(suspensions.exitExpected).toBe(false);
    suspensions.add(reason);
    expect(suspensions.exitExpected).toBe(expected);
  });
});
