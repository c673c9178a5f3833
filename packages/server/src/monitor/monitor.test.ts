import { describe, expect, test } from 'vitest';
import { RecordingLog } from '../../../../test/support/watched-guest.ts';
import { watchedGuests } from '../../../../test/support/watched-guests.ts';

const guest = watchedGuests();

const idle = { run: 0.003, runDelay: 0 };

describe('stalls', () => {
  test('of the whole host are nobody’s silence, although no tick lies in any socket', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    it.tick();
    await it.pass(990);
    it.clock.stall(30_000);
    // Everything goes on where it was; the guest needs a moment.
    await it.pass(450);
    expect(it.suspicions).toBe(0);
    expect(it.told).toEqual(['heartbeatStarted']);
    expect(it.stallsMs).toHaveLength(1);
    await it.beat(3);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test.each([
    [60, 0],
    [120, 0],
    [190, 0],
  ])('of %d ms around a tick’s time are forgiven', async (lengthMs, suspicions) => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    it.clock.stall(lengthMs);
    await it.pass(10);
    expect(it.suspicions).toBe(suspicions);
    await it.pass(10);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.beat(3);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('do not hide a guest that hung before them', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    await it.pass(20);
    it.clock.stall(10_000);
    await it.pass(2_000);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });

  test('are not seen where there are none: a guest that is due since long wakes the loop at once', async () => {
    const it = guest();
    it.intervalMs = 30_000;
    await it.live(3);
    const other = guest({ beside: it, vmId: 'other', configuration: { heartbeat: { watch: false } } });
    await other.live(3);
    other.process.setLoad(idle);
    for (let each = 0; each < 20; each += 1) {
      it.tick();
      await it.clock.advanceAsync(10_000 + 37 * each);
      other.watch.setConfiguration({ ...other.configuration, heartbeat: {} });
      await it.clock.advanceAsync(2);
      other.watch.setConfiguration(other.configuration);
    }
    expect(it.stallsMs).toEqual([]);
  });

  test('that are noticed only when another guest is laid in are noticed', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    it.tick();
    await it.pass(900);
    it.clock.stall(20_000);
    // Before any timer runs, what came over QMP is read: it lays a guest in that is due at once.
    it.process.emit({ kind: 'stopped' });
    it.process.emit({ kind: 'resumed' });
    await it.pass(400);
    expect(it.stallsMs).toHaveLength(1);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('longer than the wheel’s horizon are forgiven, and real stops found after them', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    it.tick();
    it.clock.stall(600_000);
    await it.pass(450);
    expect(it.suspicions).toBe(0);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(2_000);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });

  test('teach no lateness', async () => {
    const it = guest();
    await it.live();
    for (const lengthMs of [300, 150, 650]) {
      await it.beat(21);
      it.clock.stall(lengthMs);
      it.tick();
      await it.pass(1_000);
    }
    await it.beat(21);
    it.process.setLoad(idle);
    await it.pass(450);
    expect(it.log.events.at(-1)?.data).toMatchObject({ evidence: { marginMs: 50 } });
  });

  test('in a suspension are taken off once', async () => {
    const it = guest();
    await it.live();
    it.watch.suspend('resetting');
    await it.pass(600);
    it.clock.stall(30_000);
    await it.pass(600);
    it.watch.unsuspend();
    it.process.setLoad(idle);
    await it.pass(2_500);
    const { evidence } = it.dataOf(1);
    expect(evidence?.subtracted.suspendedMs).toBeLessThanOrEqual(31_300);
    expect(evidence?.sinceLastTickMs).toBeLessThan(36_000);
  });

  test('of the whole host leave a suspected guest time to get going', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad({ run: 1, runDelay: 0 });
    await it.pass(3_300);
    it.process.setLoad(idle);
    it.clock.stall(30_000);
    await it.pass(450);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.beat(3);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('in a suspension lengthen a boot window once', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    it.watch.suspend('resetting');
    it.process.guestReset();
    const other = guest({ beside: it, vmId: 'other' });
    await other.live(3);
    it.clock.stall(60_000);
    await it.pass(1_000);
    it.watch.unsuspend();
    other.watch.close();
    await it.pass(119_000);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(3_000);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });

  test('lengthen a boot window', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    it.process.guestReset();
    await it.pass(60_000);
    it.clock.stall(200_000);
    await it.pass(55_000);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(10_000);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });
});

describe('slots', () => {
  test('of a closed watch go to another, and what the old holder still calls changes nothing', async () => {
    const first = guest();
    await first.live();
    first.watch.close();
    const second = guest({ beside: first, vmId: 'second' });
    await second.live();
    second.process.setLoad(idle);
    const { machine } = first;
    if (machine === undefined) throw new Error('not booted');
    first.watch.begin(machine, 'booted', 'running', null);
    first.tick();
    first.watch.suspend('pausing');
    first.watch.unsuspend();
    first.watch.setConfiguration(first.configuration);
    first.watch.hypervisorEvent({ kind: 'panicked', action: 'pause', detail: null, atMs: 0 });
    first.watch.end('foundDead');
    await second.pass(450);
    expect(first.told).toEqual(['heartbeatStarted']);
    expect(second.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });

  test('are given out once, though a watch is closed twice', async () => {
    const first = guest();
    first.watch.close();
    first.watch.close();
    const second = guest({ beside: first, vmId: 'second' });
    const third = guest({ beside: first, vmId: 'third' });
    await second.live();
    await third.boot();
    await third.pass(60_000);
    expect(third.told).toEqual([]);
    expect(second.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
    expect(third.watch.info().verdict).toBe('notObserved');
  });

  test('are closed with what was opened still told', async () => {
    const first = guest();
    await first.boot();
    first.process.kill();
    first.watch.end('ended');
    first.watch.close();
    expect(first.told).toEqual(['heartbeatStopped']);
  });
});

describe('a thousand guests', () => {
  test('that hang at the same moment are each told once, and soon', async () => {
    const first = guest({ vmId: 'guest-0' });
    const all = [first];
    for (let each = 1; each < 1_000; each += 1) all.push(guest({ beside: first, vmId: `guest-${each}` }));
    for (const it of all) {
      await it.boot();
      it.hello();
    }
    for (let each = 0; each < 25; each += 1) {
      for (const it of all) it.tick();
      await first.clock.advanceAsync(1_000);
    }
    for (const it of all) it.process.setLoad(idle);
    await first.clock.advanceAsync(2_000);
    for (const it of all) expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });
});

describe('a log', () => {
  test('that fails ends no guest’s watch', async () => {
    const log = new RecordingLog();
    const it = guest();
    const append = it.log.append.bind(it.log);
    let broken = true;
    it.log.append = (draft) => {
      if (broken) throw new Error('disk full');
      return append(draft);
    };
    await it.live();
    it.process.setLoad(idle);
    broken = false;
    await it.pass(450);
    expect(it.told).toEqual(['heartbeatStopped']);
    expect(it.failures).toHaveLength(1);
    it.failures.length = 0;
    expect(log.events).toEqual([]);
  });
});

describe('closing', () => {
  test('leaves no timer behind, also while a flooded port is being waited for', async () => {
    const it = guest();
    it.watch.setBacklogProbe(() => true);
    await it.live();
    it.process.guestReset();
    await it.pass(300);
    it.monitor.close();
    await it.pass(1_000);
    expect(it.clock.pendingTimers).toBe(0);
  });
});
