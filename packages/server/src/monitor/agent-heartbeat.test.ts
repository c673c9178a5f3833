import { describe, expect, test } from 'vitest';
import { ScriptedAgentWitness, type WatchedGuest } from '../../../../test/support/watched-guest.ts';
import { watchedGuests } from '../../../../test/support/watched-guests.ts';

const guest = watchedGuests();
const idle = { run: 0.003, runDelay: 0 };

/** Pings as often as the watch wants, for so long: what the agent's pulse does. */
async function pulse(it: WatchedGuest, seconds: number): Promise<void> {
  for (let each = 0; each < seconds; each += 1) {
    if (it.watch.pulses.wantedEveryMs() !== null && it.agent?.answers === true) it.watch.pulses.onPulse();
    await it.pass(1_000);
  }
}

async function withAgent(options: Parameters<typeof guest>[0] = {}): Promise<{
  it: WatchedGuest;
  agent: ScriptedAgentWitness;
}> {
  const it = guest(options);
  const agent = new ScriptedAgentWitness();
  it.agent = agent;
  await it.boot();
  return { it, agent };
}

describe('a guest without a ticker', () => {
  test('is watched by its agent once a ticker had time to come', async () => {
    const { it } = await withAgent();
    await pulse(it, 10);
    expect(it.told).toEqual([]);
    await pulse(it, 2);
    expect(it.told).toEqual(['heartbeatStarted']);
    expect(it.dataOf(0)).toMatchObject({ source: 'agent', intervalMs: 1_000 });
    expect(it.watch.info()).toMatchObject({ source: 'agent', verdict: 'alive', isHeartbeating: true });
  });

  test('that hangs has stopped, within the bound of one that ticks', async () => {
    const { it, agent } = await withAgent();
    await pulse(it, 40);
    agent.answers = false;
    it.process.setLoad(idle);
    await it.pass(600);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
    expect(it.dataOf(1)).toMatchObject({ verdict: 'hung', cause: 'silence' });
    agent.answers = true;
    await pulse(it, 1);
    expect(it.told.slice(2)).toEqual(['heartbeatResumed']);
  });

  test('whose agent answers the witnesses though a ping was lost is alive', async () => {
    const { it, agent } = await withAgent();
    await pulse(it, 40);
    it.process.setLoad(idle);
    const before = agent.pings;
    await it.pass(600_000);
    expect(agent.pings).toBeGreaterThan(before);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('whose agent’s port is closed by the guest runs: its additions stopped', async () => {
    const { it, agent } = await withAgent();
    await pulse(it, 40);
    it.process.setLoad(idle);
    agent.answers = false;
    agent.present = false;
    it.process.setPort('agent', false);
    await it.pass(8_500);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(3_000);
    expect(it.told.slice(1)).toEqual(['additionsStopped']);
    expect(it.dataOf(1)).toMatchObject({ cause: 'portClosed' });
    agent.answers = true;
    agent.present = true;
    it.process.setPort('agent', true);
    await pulse(it, 15);
    expect(it.told.slice(2)).toEqual(['additionsResumed']);
    expect(it.watch.info().verdict).toBe('alive');
  });

  test('is not pinged while it is paused, nor judged', async () => {
    const { it, agent } = await withAgent();
    await pulse(it, 40);
    it.process.setRunState('paused');
    it.process.emit({ kind: 'stopped' });
    expect(it.watch.pulses.wantedEveryMs()).toBeNull();
    agent.answers = false;
    await it.pass(120_000);
    it.process.setRunState('running');
    it.process.emit({ kind: 'resumed' });
    agent.answers = true;
    await pulse(it, 3);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('that is found by the next service goes on being watched by its agent', async () => {
    const { it } = await withAgent();
    await pulse(it, 40);
    const memory = it.watch.memory();
    expect(memory).toMatchObject({ armed: true, source: 'agent' });
    const next = guest({ beside: it, vmId: 'next', memory });
    next.agent = new ScriptedAgentWitness();
    await next.boot('adopted');
    expect(next.watch.pulses.wantedEveryMs()).toBe(1_000);
    next.agent.answers = false;
    next.agent.present = false;
    next.process.setLoad(idle);
    // It may still be at work for the service before.
    await next.pass(5_000);
    expect(next.told).toEqual([]);
    await next.pass(3_000);
    expect(next.told).toEqual(['heartbeatStopped']);
  });

  test('is pinged each second at most, however short the interval', async () => {
    const { it } = await withAgent({ configuration: { heartbeat: { intervalMs: 100 } } });
    expect(it.watch.pulses.wantedEveryMs()).toBe(1_000);
  });
});

describe('a guest with both', () => {
  test('ticks, and its agent is not pinged', async () => {
    const { it } = await withAgent();
    it.watch.pulses.onPulse();
    it.hello();
    await it.beat(3);
    expect(it.dataOf(0)).toMatchObject({ source: 'ticker' });
    expect(it.watch.pulses.wantedEveryMs()).toBeNull();
  });

  test('whose ticker comes late: it takes the place of the agent without a word', async () => {
    const { it, agent } = await withAgent();
    await pulse(it, 30);
    it.hello(500);
    await it.beat(30);
    expect(it.told).toEqual(['heartbeatStarted']);
    expect(it.watch.info()).toMatchObject({ source: 'ticker', intervalMs: 500 });
    agent.answers = false;
    it.process.setLoad(idle);
    await it.pass(1_000);
    expect(it.told.slice(1)).toEqual(['heartbeatStopped']);
  });

  test('whose ticker dies: told after its patience, and from then on its agent is the heartbeat', async () => {
    const { it, agent } = await withAgent();
    it.hello();
    await it.beat(25);
    it.process.setLoad(idle);
    await it.pass(8_500);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(1_500);
    expect(it.told.slice(1)).toEqual(['additionsStopped']);
    expect(it.dataOf(1).evidence?.witnesses).toContainEqual(
      expect.objectContaining({ witness: 'agent', answer: 'answers' }),
    );
    await pulse(it, 60);
    expect(it.watch.info()).toMatchObject({ source: 'agent', verdict: 'additionsStopped' });
    agent.answers = false;
    await it.pass(2_000);
    expect(it.told.slice(2)).toEqual(['heartbeatStopped']);
    agent.answers = true;
    await pulse(it, 2);
    expect(it.told.slice(3)).toEqual(['heartbeatResumed']);
    it.hello();
    await it.beat(2);
    expect(it.told.slice(4)).toEqual(['additionsResumed']);
    expect(it.watch.info()).toMatchObject({ source: 'ticker', verdict: 'alive' });
  });

  test('whose file systems are frozen is held, however long', async () => {
    const { it, agent } = await withAgent();
    it.hello();
    await it.beat(25);
    agent.frozen = true;
    it.process.setLoad(idle);
    await it.pass(3_600_000);
    expect(it.told).toEqual(['heartbeatStarted']);
    expect(it.watch.info().verdict).toBe('suspended');
    agent.frozen = false;
    agent.answers = false;
    await it.pass(4_000);
    expect(it.told.slice(1)).toEqual(['heartbeatStopped']);
  });

  test('that was reset may come back with either', async () => {
    const { it } = await withAgent();
    it.hello();
    await it.beat(25);
    it.process.guestReset();
    await it.pass(5_000);
    await pulse(it, 12);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStarted']);
    expect(it.watch.info().source).toBe('agent');
  });
});
