import { describe, expect, test } from 'vitest';
import { watchedGuests } from '../../../../test/support/watched-guests.ts';

const guest = watchedGuests();
const idle = { run: 0.003, runDelay: 0 };
const spinning = { run: 1, runDelay: 0 };

describe('a watch that is held', () => {
  test('judges no silence, and counts from zero when it is released', async () => {
    const it = guest();
    await it.live();
    it.watch.setHeld(true);
    it.process.setLoad(idle);
    await it.pass(600_000);
    expect(it.told).toEqual(['heartbeatStarted']);
    it.watch.setHeld(false);
    await it.pass(1_000);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(1_500);
    expect(it.told.slice(1)).toEqual(['heartbeatStopped']);
    expect(it.dataOf(1)).not.toHaveProperty('held');
  });

  test('tells facts all the same, tagged', async () => {
    const it = guest();
    await it.live();
    it.watch.setHeld(true);
    it.process.panic();
    await it.pass(10);
    expect(it.told.slice(1)).toEqual(['heartbeatStopped']);
    expect(it.dataOf(1)).toMatchObject({ verdict: 'panicked', held: true });
  });

  test('gives a suspicion up, and shows a guest that ticks as alive', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(spinning);
    await it.pass(5_000);
    it.watch.setHeld(true);
    it.watch.setHeld(true);
    await it.pass(60_000);
    expect(it.told).toEqual(['heartbeatStarted']);
    it.process.setLoad({ run: 0.02, runDelay: 0 });
    await it.beat(3);
    expect(it.watch.info()).toMatchObject({ verdict: 'alive', isHeartbeating: true });
  });
});
