import { isEvent } from '@vmpulse/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ServedMachines } from '../../../../test/support/served-machines.ts';
import { serveWatched, tickerOf } from '../../../../test/support/watched-service.ts';
import type { Monitor } from '../monitor/monitor.ts';
import type { TickListener } from '../tick/source.ts';

const idle = { run: 0.003, runDelay: 0 };

let served: ServedMachines;
let monitor: Monitor;

/** A service with a real monitor; the one before is killed. */
async function serve(): Promise<void> {
  monitor = await serveWatched(served, monitor);
}

beforeEach(async () => {
  served = new ServedMachines();
  await serve();
});

afterEach(() => monitor.close());

const ticker = (): TickListener => tickerOf(served);

/** A machine that runs and ticks. */
async function live(): Promise<string> {
  const id = await served.create();
  // An agent that answers would be a sign of life.
  served.agent(id).answers = false;
  await served.bring(id, 'running');
  ticker().onConnection(true);
  ticker().onHello({ protocol: 1, version: '1.0.0', intervalMs: 1_000, os: 'Test OS', host: 'guest-1' });
  await beat(30);
  return id;
}

async function beat(count: number): Promise<void> {
  for (let seq = 0; seq < count; seq += 1) {
    ticker().onTick(seq, Math.round(served.clock.monotonicMs()));
    await served.clock.advanceAsync(1_000);
  }
}

async function stops(): Promise<string[]> {
  const { oldestSeq } = served.memory.state();
  return (await served.events(oldestSeq - 1)).flatMap((event) =>
    isEvent(event, 'heartbeatStopped') ? [event.data.verdict] : [],
  );
}

describe('a guest told as hung', () => {
  it('is shown as hung after the restart of the service, also when its event is no longer kept', async () => {
    const id = await live();
    served.host.machine(id).setLoad(idle);
    await served.clock.advanceAsync(3_000);
    expect(await stops()).toEqual(['hung']);
    const { stoppedSeq } = served.server.guest(id);
    expect(served.server.guest(id)).toMatchObject({ verdict: 'hung' });
    expect(stoppedSeq).not.toBeNull();
    served.memory.deleteThrough(served.seq);
    await serve();
    expect(served.server.guest(id)).toMatchObject({ verdict: 'hung', stoppedSeq });
    await served.clock.advanceAsync(60_000);
    expect(served.server.guest(id)).toMatchObject({ verdict: 'hung', stoppedSeq });
    expect(await stops()).toEqual([]);
  });
});

describe('a held guest', () => {
  it('that falls silent is not told until its hold is over, and then within the bound', async () => {
    const id = await live();
    await served.server.holds.hold('web-1', { seconds: 600, reason: 'kernel upgrade' });
    served.host.machine(id).setLoad(idle);
    await served.clock.advanceAsync(599_900);
    expect(await stops()).toEqual([]);
    expect(served.server.guest(id)).toMatchObject({ verdict: 'suspended', isHeartbeating: false });
    await served.clock.advanceAsync(1_000);
    expect(await stops()).toEqual([]);
    await served.clock.advanceAsync(1_500);
    expect(await stops()).toEqual(['hung']);
    expect(served.server.guest(id).verdict).toBe('hung');
  });

  it('stays held over a restart, and its ticks are heard on', async () => {
    const id = await live();
    await served.server.holds.hold(null, { seconds: 600, reason: 'storage move' });
    await serve();
    ticker().onConnection(true);
    await beat(5);
    expect(served.server.guest(id)).toMatchObject({ verdict: 'alive', isHeartbeating: true });
    expect(served.server.guest(id).hold?.reason).toBe('storage move');
    served.host.machine(id).setLoad(idle);
    await served.clock.advanceAsync(300_000);
    expect(await stops()).toEqual([]);
    await served.server.holds.release(null);
    await served.clock.advanceAsync(3_000);
    expect(await stops()).toEqual(['hung']);
  });

  it('whose process dies is told at once', async () => {
    const id = await live();
    await served.server.holds.hold('web-1', { seconds: 600, reason: 'kernel upgrade' });
    served.host.machine(id).kill();
    await served.settle();
    expect(await stops()).toEqual(['exited']);
  });
});
