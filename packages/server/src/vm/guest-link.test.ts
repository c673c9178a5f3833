import { beforeEach, expect, it } from 'vitest';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { GuestLink } from './guest-link.ts';
import type { GuestAgentPort } from './ports.ts';

let clock: SimulatedClock;
/** Answers of pings under way, by the test. */
let pings: ((answered: boolean) => void)[];
let names: string[];
let told: number;
let link: GuestLink;

beforeEach(() => {
  clock = new SimulatedClock();
  pings = [];
  names = [];
  told = 0;
  const agent: GuestAgentPort = {
    ping: () =>
      new Promise((resolve) => {
        pings.push((answered) => resolve({ answered }));
      }),
    info: () => Promise.resolve({ version: '7.2.0' }),
    osInfo: () => Promise.resolve({ prettyName: 'Debian 12' }),
    hostName: () => Promise.resolve(names.shift() ?? 'guest-1'),
    shutdown: () => Promise.resolve(),
    close: () => undefined,
  };
  const onAdditions = (): void => {
    told += 1;
  };
  link = new GuestLink({ address: '/agent.sock', connect: () => agent, clock, onAdditions });
});

async function answer(answered: boolean): Promise<void> {
  pings.shift()?.(answered);
  await clock.settle();
}

it('an answer from before a reboot says nothing of the guest that boots', async () => {
  link.wake();
  link.rebooted();
  await answer(true);
  expect(link.canShutdown).toBe(false);
  expect(link.said).toBeNull();
  expect(told).toBe(0);
  // So it is asked anew.
  await answer(true);
  expect(link.canShutdown).toBe(true);
});

it('what a guest was called before a reboot is asked anew after it', async () => {
  names = ['old', 'new'];
  link.wake();
  await answer(true);
  expect(link.said?.computerName).toBe('old');
  link.rebooted();
  expect(link.said).toBeNull();
  link.wake();
  await answer(true);
  expect(link.said?.computerName).toBe('new');
});

it('an agent that comes while the one before the reboot is still asked is asked too', async () => {
  link.wake();
  link.rebooted();
  link.wake();
  await answer(true);
  expect(pings).toHaveLength(1);
  await answer(true);
  expect(link.canShutdown).toBe(true);
  expect(link.said?.computerName).toBe('guest-1');
  expect(pings).toHaveLength(0);
});

it('a guest that opens its port while an earlier question is out is asked when that is over', async () => {
  link.wake();
  link.wake();
  link.wake();
  await clock.advanceAsync(5_001);
  expect(link.canShutdown).toBe(false);
  expect(pings).toHaveLength(2);
  pings.shift();
  await answer(true);
  expect(link.canShutdown).toBe(true);
  await clock.advanceAsync(60_000);
  expect(pings).toHaveLength(0);
});

it('nobody is asked once it was closed', async () => {
  link.wake();
  link.wake();
  link.close();
  await answer(true);
  expect(pings).toHaveLength(0);
  expect(link.canShutdown).toBe(false);
});
