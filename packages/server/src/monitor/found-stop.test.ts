import { expect, test } from 'vitest';
import { watchedGuests } from '../../../../test/support/watched-guests.ts';

const guest = watchedGuests();

test('a guest that QEMU stopped for an internal error has stopped, though no event says so', async () => {
  const it = guest();
  await it.live();
  it.process.emit({ kind: 'stopped' });
  it.watch.found('internalError');
  await it.pass(10);
  expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  expect(it.dataOf(1)).toMatchObject({ verdict: 'internalError', cause: 'internalError' });
});

test('a panic that was told is not told again when QEMU is asked why it stopped', async () => {
  const it = guest();
  await it.live();
  it.process.panic();
  it.watch.found('panicked');
  await it.pass(10);
  expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
});

test.each(['paused', 'running', 'saving', 'other', 'suspended'] as const)(
  'a guest that is found %s has not, and is judged as before',
  async (runState) => {
    const it = guest();
    await it.live();
    it.watch.found(runState);
    it.process.setLoad({ run: 0.003, runDelay: 0 });
    await it.pass(2_000);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
    expect(it.dataOf(1)).toMatchObject({ verdict: 'hung' });
  },
);
