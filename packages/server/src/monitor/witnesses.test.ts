import { describe, expect, test } from 'vitest';
import type { WatchedGuest } from '../../../../test/support/watched-guest.ts';
import { watchedGuests } from '../../../../test/support/watched-guests.ts';

const guest = watchedGuests();
const idle = { run: 0.003, runDelay: 0 };
const spinning = { run: 1, runDelay: 0 };

async function liveWith(it: WatchedGuest, change: Parameters<WatchedGuest['boot']>[2]): Promise<void> {
  await it.boot('booted', 'running', change);
  it.hello();
  await it.beat(25);
}

describe('the serial log', () => {
  const panic = 'Kernel panic - not syncing: Fatal exception\r\n';

  test('that ends with a kernel panic makes a silent guest panicked at its deadline', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(spinning);
    it.process.writeSerial(panic);
    await it.pass(500);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
    expect(it.dataOf(1)).toMatchObject({ verdict: 'panicked', cause: 'guestPanicked' });
    expect(it.dataOf(1).evidence?.witnesses).toContainEqual(
      expect.objectContaining({ witness: 'serialLog', answer: 'kernel panic: Fatal exception' }),
    );
  });

  test('decides nothing of a guest that ticks', async () => {
    const it = guest();
    await it.live();
    it.process.writeSerial(panic);
    await it.beat(100);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('decides nothing of a guest whose disk works', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(spinning);
    it.process.writeSerial(panic);
    for (let each = 0; each < 500; each += 1) {
      it.process.setCounters({ diskOperations: each, packetsSent: null });
      await it.pass(100);
    }
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('that cannot be read is one witness fewer', async () => {
    const it = guest();
    await liveWith(it, { serialTail: () => Promise.reject(new Error('EIO')) });
    it.process.setLoad(spinning);
    await it.pass(12_000);
    expect(it.dataOf(1)).toMatchObject({ verdict: 'spinning' });
  });
});

describe('the counters of its devices', () => {
  test.each([
    ['disk', { diskOperations: 1, packetsSent: null }],
    ['network', { diskOperations: null, packetsSent: 1 }],
  ] as const)('that move make a spinning guest busy: %s', async (_name, step) => {
    const it = guest();
    await it.live();
    it.process.setLoad(spinning);
    for (let each = 0; each < 240; each += 1) {
      const { diskOperations, packetsSent } = step;
      it.process.setCounters({
        diskOperations: diskOperations === null ? null : each,
        packetsSent: packetsSent === null ? null : each,
      });
      await it.pass(250);
      if (each === 225) expect(it.told).toEqual(['heartbeatStarted']);
    }
    await it.pass(2_000);
    expect(it.dataOf(1)).toMatchObject({ verdict: 'busy' });
  });

  test('that move every few seconds keep it busy', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(spinning);
    for (let each = 0; each < 12; each += 1) {
      it.process.setCounters({ diskOperations: each, packetsSent: null });
      await it.pass(4_000);
    }
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(10_000);
    expect(it.dataOf(1)).toMatchObject({ verdict: 'spinning' });
  });

  test('that stand still leave it spinning', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(spinning);
    it.process.setCounters({ diskOperations: 70, packetsSent: 3 });
    await it.pass(11_000);
    expect(it.dataOf(1)).toMatchObject({ verdict: 'spinning' });
    expect(it.dataOf(1).evidence?.witnesses).toContainEqual(
      expect.objectContaining({ witness: 'io', answer: 'stands still' }),
    );
  });

  test('that never come are one witness fewer', async () => {
    const it = guest();
    const never = new Promise<never>(() => {
      // QEMU does not answer.
    });
    await liveWith(it, { counters: () => never });
    it.process.setLoad(idle);
    await it.pass(2_500);
    expect(it.dataOf(1)).toMatchObject({ verdict: 'hung' });
  });
});
