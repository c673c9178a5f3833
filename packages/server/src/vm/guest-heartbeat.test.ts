import { eventTypeOf, isEvent } from '@vmpulse/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ScriptedAgent, ServedMachines } from '../../../../test/support/served-machines.ts';
import { serveWatched, tickerOf } from '../../../../test/support/watched-service.ts';
import type { Monitor } from '../monitor/monitor.ts';
import type { AgentPing, TickListener } from '../tick/source.ts';

const idle = { run: 0.003, runDelay: 0 };

let served: ServedMachines;
let monitor: Monitor;
let vm: string;
let agent: ScriptedAgent;
/** The agent answers. */
let answers: boolean;

/** A service with a real monitor; the one before is killed. */
async function serve(): Promise<void> {
  monitor = await serveWatched(served, monitor);
}

/** The agent of the machine, which answers within the deadline or not at all, as a real one. */
function listen(): void {
  agent = served.agent(vm);
  agent.ping = async (timeoutMs): Promise<AgentPing> => {
    agent.asked.push('ping');
    if (answers) return { answered: true, latencyMs: 1 };
    await served.clock.sleep(timeoutMs);
    return { answered: false, reason: agent.busy ? 'busy' : 'silent' };
  };
}

const ticker = (): TickListener => tickerOf(served);

/** Heartbeat events after `seq`. */
async function told(after = 0): Promise<string[]> {
  const types = (await served.events(after)).map(eventTypeOf);
  return types.filter((type) => type.startsWith('heartbeat') || type.startsWith('additions'));
}

const pass = (ms: number): Promise<void> => served.clock.advanceAsync(ms);

beforeEach(async () => {
  served = new ServedMachines();
  await serve();
  vm = await served.create();
  answers = true;
  listen();
  await served.bring(vm, 'running');
  served.host.machine(vm).setLoad(idle);
});

afterEach(() => monitor.close());

/** A guest with the agent alone, which is its heartbeat by now. */
async function live(): Promise<void> {
  served.host.machine(vm).setPort('agent', true);
  await pass(20_000);
}

describe('a guest with the agent alone', () => {
  it('is watched by ping once a ticker had its head start', async () => {
    served.host.machine(vm).setPort('agent', true);
    await pass(9_000);
    expect(await told()).toEqual([]);
    await pass(3_000);
    const started = (await served.events()).find((event) => isEvent(event, 'heartbeatStarted'));
    expect(started?.data).toMatchObject({ source: 'agent', intervalMs: 1_000 });
    await pass(600_000);
    expect(await told()).toEqual(['heartbeatStarted']);
    expect(served.server.guest(vm)).toMatchObject({
      source: 'agent',
      isHeartbeating: true,
      heartbeatPercentage: 100,
    });
  });

  it('that hangs is told within the bound, and told as resumed when its agent answers again', async () => {
    await live();
    answers = false;
    await pass(2_600);
    expect(await told()).toEqual(['heartbeatStarted', 'heartbeatStopped']);
    answers = true;
    await pass(2_000);
    expect(await told()).toEqual(['heartbeatStarted', 'heartbeatStopped', 'heartbeatResumed']);
  });

  it('that works for an operator is not told, however long its command takes', async () => {
    await live();
    answers = false;
    agent.busy = true;
    await pass(60_000);
    expect(await told()).toEqual(['heartbeatStarted']);
    expect(served.server.guest(vm).verdict).not.toBe('hung');
    agent.busy = false;
    await pass(2_600);
    expect(await told()).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });

  it('is not told for a pause, and is watched at once when it goes on', async () => {
    await live();
    await served.run(vm, 'pause');
    const before = agent.asked.length;
    await pass(3_600_000);
    expect(agent.asked).toHaveLength(before);
    await served.run(vm, 'resume');
    await pass(100);
    expect(agent.asked.length).toBeGreaterThan(before);
    await pass(60_000);
    expect(await told()).toEqual(['heartbeatStarted']);
    await served.run(vm, 'pause');
    await pass(10_000);
    await served.run(vm, 'resume');
    answers = false;
    await pass(3_500);
    expect(await told()).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });

  it('is watched by ping after the service was killed, though its agent does not answer at first', async () => {
    await live();
    await pass(10_000);
    const { seq } = served;
    await serve();
    await pass(5_000);
    expect(served.server.guest(vm)).toMatchObject({ source: 'agent', isHeartbeating: true });
    expect(await told(seq)).toEqual([]);
    answers = false;
    await serve();
    await pass(10_000);
    expect(await told(seq)).toEqual(['heartbeatStopped']);
    answers = true;
    await pass(3_000);
    expect(await told(seq)).toEqual(['heartbeatStopped', 'heartbeatResumed']);
  });

  it('is saved and restored without a stop, and watched from then on', async () => {
    await live();
    await served.run(vm, 'save');
    await pass(60_000);
    await served.run(vm, 'startup');
    served.host.machine(vm).setLoad(idle);
    await pass(60_000);
    expect(await told()).toEqual(['heartbeatStarted']);
    expect(served.server.guest(vm)).toMatchObject({ source: 'agent', isHeartbeating: true });
    answers = false;
    await pass(2_600);
    expect(await told()).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });

  it('whose file systems are frozen is no stopped guest', async () => {
    await live();
    await served.server.guests.freeze(vm, { timeoutMs: 600_000 });
    expect(served.server.guest(vm).fileSystems).toBe('frozen');
    await pass(300_000);
    expect(await told()).toEqual(['heartbeatStarted']);
    await pass(300_001);
    expect(served.server.guest(vm).fileSystems).toBe('thawed');
    expect(await told()).toEqual(['heartbeatStarted']);
  });

  it('whose file systems are frozen when the service is killed has them thawed by the next one', async () => {
    await live();
    await served.server.guests.freeze(vm, { timeoutMs: 600_000 });
    await serve();
    await pass(5_000);
    expect(served.server.guest(vm).fileSystems).toBe('frozen');
    await pass(60_000);
    expect([agent.frozen, served.server.guest(vm).fileSystems]).toEqual([false, 'thawed']);
  });

  it('that closes the port of its agent is not told as stopped', async () => {
    await live();
    answers = false;
    served.host.machine(vm).setPort('agent', false);
    await pass(30_000);
    expect(await told()).toEqual(['heartbeatStarted', 'additionsStopped']);
    answers = true;
    served.host.machine(vm).setPort('agent', true);
    await pass(5_000);
    expect(served.server.guest(vm)).toMatchObject({ source: 'agent', isHeartbeating: true });
    expect(await told()).not.toContain('heartbeatStopped');
  });
});

describe('a guest with ticker and agent', () => {
  let seq = 0;

  async function beat(count: number): Promise<void> {
    for (let each = 0; each < count; each += 1) {
      ticker().onTick(seq, Math.round(served.clock.monotonicMs()));
      seq += 1;
      await pass(1_000);
    }
  }

  beforeEach(async () => {
    seq = 0;
    served.host.machine(vm).setPort('agent', true);
    await pass(2_000);
    ticker().onConnection(true);
    ticker().onHello({ protocol: 1, version: '1.0.0', intervalMs: 1_000, os: 'Test OS', host: 'guest-1' });
    await beat(30);
  });

  it('is watched by its ticker, and its agent is left alone', async () => {
    const before = agent.asked.length;
    await beat(60);
    expect(agent.asked).toHaveLength(before);
    expect(served.server.guest(vm)).toMatchObject({ source: 'ticker', isHeartbeating: true });
  });

  it('whose ticker ends is told so, and watched by its agent until the ticker is back', async () => {
    await pass(15_000);
    expect(await told()).toEqual(['heartbeatStarted', 'additionsStopped']);
    expect(served.server.guest(vm).source).toBe('agent');
    answers = false;
    await pass(2_600);
    expect(await told()).toEqual(['heartbeatStarted', 'additionsStopped', 'heartbeatStopped']);
    answers = true;
    await pass(3_000);
    ticker().onHello({ protocol: 1, version: '1.0.0', intervalMs: 1_000, os: 'Test OS', host: 'guest-1' });
    seq = 0;
    await beat(5);
    const { source, isHeartbeating } = served.server.guest(vm);
    expect({ source, isHeartbeating }).toEqual({ source: 'ticker', isHeartbeating: true });
    expect((await told()).toSorted()).toEqual([
      'additionsResumed',
      'additionsStopped',
      'heartbeatResumed',
      'heartbeatStarted',
      'heartbeatStopped',
    ]);
  });
});
