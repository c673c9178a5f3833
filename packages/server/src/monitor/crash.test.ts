import { describe, expect, test } from 'vitest';
import { watchedGuests } from '../../../../test/support/watched-guests.ts';

const guest = watchedGuests();

describe('a triple fault', () => {
  test('stops the guest at once, and its next boot resumes it', async () => {
    const it = guest();
    await it.live();
    it.process.emit({ kind: 'tripleFault' });
    it.process.guestReset();
    await it.pass(10);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
    expect(it.dataOf(1)).toMatchObject({ verdict: 'tripleFault', cause: 'tripleFault' });
    await it.pass(20_000);
    it.hello();
    await it.beat(3);
    expect(it.told.slice(2)).toEqual(['heartbeatResumed']);
  });

  test('of a guest that said it reboots is how it reboots', async () => {
    const it = guest();
    await it.live();
    it.watch.listener.onBye('reboot');
    it.process.emit({ kind: 'tripleFault' });
    it.process.guestReset();
    await it.pass(10);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('of a guest that was never heard is no stop', async () => {
    const it = guest();
    await it.boot();
    it.process.emit({ kind: 'tripleFault' });
    it.process.guestReset();
    await it.pass(10);
    expect(it.told).toEqual([]);
  });
});

describe('the end of a process', () => {
  test('whose guest was migrated away is no stop', async () => {
    const it = guest();
    await it.live();
    it.watch.hypervisorEvent({
      kind: 'exited',
      atMs: it.clock.monotonicMs(),
      exitCode: 0,
      signal: null,
      stderr: '',
      migrated: true,
    });
    it.watch.end('ended');
    await it.pass(600_000);
    expect(it.told).toEqual(['heartbeatStarted']);
  });
});
