import { describe, expect, test } from 'vitest';
import { watchedGuests } from '../../../../test/support/watched-guests.ts';

const guest = watchedGuests();
const idle = { run: 0.003, runDelay: 0 };
const spinning = { run: 1, runDelay: 0 };

describe('a guest that the host held back', () => {
  test('by a frozen cgroup is starved, and has a deadline’s time to tick when it is thawed', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    it.process.setFrozen(true);
    await it.pass(60_000);
    expect(it.told).toEqual(['heartbeatStarted', 'visibilityLost']);
    expect(it.dataOf(1)).toMatchObject({ verdict: 'starved' });
    it.process.setFrozen(false);
    // Idle for now: its ticker has not had its turn yet.
    await it.pass(1_000);
    await it.beat(3);
    expect(it.told.slice(2)).toEqual(['visibilityRegained']);
  });

  test('and that never ticks again has stopped, a deadline after it could', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    it.process.setFrozen(true);
    await it.pass(60_000);
    it.process.setFrozen(false);
    await it.pass(3_500);
    expect(it.told.slice(2)).toEqual(['visibilityRegained', 'heartbeatStopped']);
    expect(it.dataOf(3)).toMatchObject({ verdict: 'hung' });
    expect(it.dataOf(3).evidence?.subtracted.suspendedMs).toBeGreaterThan(55_000);
  });

  test('while it span: the time it was held back is no patience', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(spinning);
    await it.pass(5_000);
    it.process.setFrozen(true);
    await it.pass(60_000);
    it.process.setFrozen(false);
    await it.pass(3_000);
    expect(it.told.filter((type) => type === 'heartbeatStopped')).toEqual([]);
    await it.pass(4_000);
    expect(it.told.filter((type) => type === 'heartbeatStopped')).toHaveLength(1);
  });

  test('by a QEMU that was stuck when it was first asked has a deadline’s time to tick', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    it.process.hang({ processState: 'S', noticeMs: 3_600_000 });
    await it.pass(450);
    it.process.unhang();
    await it.pass(900);
    await it.beat(2);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('by a stopped QEMU has a deadline’s time to tick when that goes on', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    it.process.hang({ processState: 'T', noticeMs: 3_600_000 });
    await it.pass(30_000);
    expect(it.told).toEqual(['heartbeatStarted', 'visibilityLost']);
    it.process.unhang();
    await it.pass(900);
    await it.beat(2);
    expect(it.told.slice(2)).toEqual(['visibilityRegained']);
  });
});
