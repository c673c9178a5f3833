import { expect, it } from 'vitest';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { Sight } from './sight.ts';

it('a stall is noticed though nobody tells of it, until it is closed', () => {
  const clock = new SimulatedClock();
  const sight = new Sight(clock);
  sight.start();
  clock.advance(5_500);
  clock.stall(60_000);
  // Before its timer is called.
  expect(sight.sinceMs).toBe(clock.monotonicMs());
  clock.advance(0);
  expect(sight.trouble()).toBe('the service stood still for 60 s, 0 s ago');
  sight.close();
  expect(clock.pendingTimers).toBe(0);
});

it('a stall of two seconds ends what was seen, and troubles the host for a minute; a short one is neither', () => {
  const clock = new SimulatedClock();
  const sight = new Sight(clock);
  const beganMs = clock.monotonicMs();
  clock.advance(5_000);
  sight.stalled(1_999);
  expect([sight.sinceMs, sight.trouble()]).toEqual([beganMs, null]);
  sight.stalled(2_000);
  clock.advance(3_000);
  expect([sight.sinceMs, sight.trouble()]).toEqual([
    beganMs + 5_000,
    'the service stood still for 2 s, 3 s ago',
  ]);
  clock.advance(57_000);
  expect(sight.trouble()).toBeNull();
});
