import { VmError } from '@vmpulse/wire';
import { beforeEach, describe, expect, it } from 'vitest';
import { ScriptedAgent } from '../../../../test/support/served-machines.ts';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import type { AgentPing } from '../tick/source.ts';
import { GuestLink } from './guest-link.ts';

let clock: SimulatedClock;
/** Answers of pings under way, by the test. */
let pings: ((answered: boolean) => void)[];
let names: string[];
let told: number;
let pulses: number;
let everyMs: number | null;
let agent: ScriptedAgent;
let link: GuestLink;

beforeEach(() => {
  clock = new SimulatedClock();
  pings = [];
  names = [];
  told = 0;
  pulses = 0;
  everyMs = null;
  agent = new ScriptedAgent();
  agent.ping = () =>
    new Promise((resolve) => {
      pings.push((answered) =>
        resolve(answered ? { answered, latencyMs: 1 } : { answered, reason: agent.busy ? 'busy' : 'silent' }),
      );
    });
  agent.hostName = () => Promise.resolve(names.shift() ?? 'guest-1');
  const logger = { info: () => undefined, warn: () => undefined, error: () => undefined };
  link = new GuestLink({
    address: '/agent.sock',
    connect: () => agent,
    clock,
    pulses: {
      wantedEveryMs: () => everyMs,
      onPulse: () => {
        pulses += 1;
      },
    },
    onAdditions: () => {
      told += 1;
    },
    logger,
    vm: () => ({ id: 'a', name: 'web-1' }),
  });
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

/** Answers every ping from here on, or leaves it unanswered until its deadline. */
function answerAll(answers: () => boolean): void {
  agent.ping = async (timeoutMs: number): Promise<AgentPing> => {
    agent.asked.push('ping');
    if (answers()) return { answered: true, latencyMs: 1 };
    await clock.sleep(timeoutMs);
    return { answered: false, reason: 'silent' };
  };
}

const pinged = (): number => agent.asked.filter((word) => word === 'ping').length;

describe('the agent as heartbeat', () => {
  it('is pinged from its first answer on, every answer telling that the guest lives', async () => {
    everyMs = 1_000;
    answerAll(() => true);
    await clock.advanceAsync(5_000);
    expect(pinged()).toBe(0);
    link.portOpened();
    await clock.advanceAsync(10_000);
    expect(pinged()).toBe(11);
    expect(pulses).toBe(11);
    expect(link.present).toBe(true);
  });

  it('is not pinged by itself while a ticker is the heartbeat', async () => {
    answerAll(() => true);
    link.wake();
    await clock.advanceAsync(60_000);
    expect(pinged()).toBe(1);
    everyMs = 1_000;
    await clock.advanceAsync(2_000);
    expect(pinged()).toBeGreaterThan(1);
  });

  it('is no longer pinged when the guest closed its port or boots anew, and is again when it answers', async () => {
    everyMs = 1_000;
    answerAll(() => true);
    for (const end of [() => link.portClosed(), () => link.rebooted()]) {
      link.portOpened();
      await clock.advanceAsync(3_000);
      end();
      expect(link.present).toBe(false);
      const before = pinged();
      await clock.advanceAsync(60_000);
      expect(pinged()).toBe(before);
    }
    link.portOpened();
    await clock.advanceAsync(3_000);
    expect(link.present).toBe(true);
    link.close();
    const before = pinged();
    await clock.advanceAsync(60_000);
    expect(pinged()).toBe(before);
  });

  it('is awaited after a restart of the service though it does not answer at first', async () => {
    everyMs = 1_000;
    let answers = false;
    answerAll(() => answers);
    link.expect();
    await clock.advanceAsync(30_000);
    expect([link.present, pulses]).toEqual([false, 0]);
    answers = true;
    await clock.advanceAsync(2_000);
    expect(link.present).toBe(true);
    expect(link.said?.computerName).toBe('guest-1');
    expect(pulses).toBeGreaterThan(1);
  });

  it('that opened its port and is slow to answer is asked again, less and less often, and not for ever', async () => {
    everyMs = 1_000;
    let answers = false;
    answerAll(() => answers);
    link.portOpened();
    await clock.advanceAsync(600_000);
    expect(pinged()).toBe(6);
    await clock.advanceAsync(600_000);
    expect(pinged()).toBe(6);
    link.portClosed();
    link.portOpened();
    await clock.advanceAsync(20_000);
    answers = true;
    await clock.advanceAsync(20_000);
    expect(link.present).toBe(true);
  });

  it('never costs a timer where it never answered', async () => {
    everyMs = 1_000;
    answerAll(() => false);
    link.wake();
    await clock.advanceAsync(10_000);
    const before = pinged();
    await clock.advanceAsync(3_600_000);
    expect(pinged()).toBe(before);
  });
});

describe('the agent as witness', () => {
  beforeEach(async () => {
    answerAll(() => true);
    link.wake();
    await clock.advanceAsync(10);
    pulses = 0;
  });

  it('tells that the guest lived, whoever asked', async () => {
    expect(await link.ping(50)).toEqual({ answered: true, latencyMs: 1 });
    expect(pulses).toBe(1);
  });

  it('that falls silent can shut nothing down, and is there all the same', async () => {
    let answers = false;
    answerAll(() => answers);
    const ping = link.ping(50);
    await clock.advanceAsync(50);
    expect(await ping).toEqual({ answered: false, reason: 'silent' });
    expect([link.present, link.canShutdown, pulses]).toEqual([true, false, 0]);
    answers = true;
    await link.ping(50);
    expect(link.canShutdown).toBe(true);
  });

  it('that is busy for an operator says so', async () => {
    agent.busy = true;
    agent.ping = () => Promise.resolve({ answered: false, reason: 'busy' });
    expect(link.busy).toBe(true);
    expect(await link.ping(50)).toEqual({ answered: false, reason: 'busy' });
    expect(link.canShutdown).toBe(true);
  });

  it('says how the file systems are, which is kept until the guest boots anew', async () => {
    expect(link.lastFileSystems).toBe('thawed');
    agent.frozen = true;
    expect(await link.fileSystems(50)).toBe('frozen');
    expect(link.lastFileSystems).toBe('frozen');
    link.rebooted();
    expect(link.lastFileSystems).toBeNull();
    expect(await link.fileSystems(50)).toBeNull();
  });

  it('that knows nothing of file systems is not asked for them again', async () => {
    const missing = new VmError('VM_E_ADDITIONS_FEATURE_NOT_AVAIL', 'not there');
    agent.failures.set('freezeStatus', missing);
    expect(await link.fileSystems(50)).toBeNull();
    agent.asked = [];
    expect(await link.fileSystems(50)).toBeNull();
    expect(agent.asked).toEqual([]);
  });

  it('an answer of before the reboot is none', async () => {
    let resolvePing: (ping: AgentPing) => void = () => undefined;
    agent.ping = () =>
      new Promise((resolve) => {
        resolvePing = resolve;
      });
    const ping = link.ping(50);
    link.rebooted();
    resolvePing({ answered: true, latencyMs: 1 });
    expect((await ping).answered).toBe(false);
    expect([link.present, pulses]).toEqual([false, 0]);
  });
});
