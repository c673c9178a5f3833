import { describe, expect, test } from 'vitest';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { TickTrust } from './trust.ts';

const never = (): boolean => false;

describe('trust in ticks', () => {
  test('comes back when the lane was drained once', () => {
    const clock = new SimulatedClock({ autoPoll: false });
    const trust = new TickTrust(clock);
    expect(trust.trusted).toBe(true);
    trust.untilDrained(never);
    expect(trust.trusted).toBe(false);
    clock.poll();
    expect(trust.trusted).toBe(true);
  });

  test('waits for a flooded port as long as it takes', () => {
    const clock = new SimulatedClock();
    const trust = new TickTrust(clock);
    let backlogged = true;
    trust.untilDrained(() => backlogged);
    clock.advance(60_000);
    expect(trust.trusted).toBe(false);
    backlogged = false;
    clock.advance(300);
    expect(trust.trusted).toBe(true);
    expect(clock.pendingTimers).toBe(0);
  });

  test('of one moment does not come back with the end of an earlier one', () => {
    const clock = new SimulatedClock({ autoPoll: false });
    const trust = new TickTrust(clock);
    trust.untilDrained(never);
    trust.revoke();
    clock.poll();
    expect(trust.trusted).toBe(false);
    trust.untilDrained(never);
    trust.restore();
    trust.untilDrained(never);
    expect(trust.trusted).toBe(false);
    clock.poll();
    expect(trust.trusted).toBe(true);
  });

  test('revoked ends the waiting for a flooded port', () => {
    const clock = new SimulatedClock();
    const trust = new TickTrust(clock);
    trust.untilDrained(() => true);
    clock.advance(1_000);
    trust.revoke();
    clock.advance(1_000);
    expect(clock.pendingTimers).toBe(0);
    expect(trust.trusted).toBe(false);
  });
});
