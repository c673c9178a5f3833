import { isEvent } from '@vmpulse/wire';
import { describe, expect, test } from 'vitest';
import { type WatchedGuest } from '../../../../test/support/watched-guest.ts';
import { watchedGuests } from '../../../../test/support/watched-guests.ts';
import type { ProcessSample, RunState } from '../hypervisor/hypervisor.ts';

const guest = watchedGuests();

const idle = { run: 0.003, runDelay: 0 };
const spinning = { run: 1, runDelay: 0 };

async function liveWith(it: WatchedGuest, change: Parameters<WatchedGuest['boot']>[2]): Promise<void> {
  await it.boot('booted', 'running', change);
  it.hello();
  await it.beat(25);
}

describe('witnesses that fail', () => {
  test('by throwing at once are silent, not a stop and not an end of the watch', async () => {
    const it = guest();
    let broken = true;
    const runState = (): Promise<RunState> => {
      if (broken) throw new Error('no monitor');
      return Promise.resolve('running');
    };
    await liveWith(it, { runState });
    it.process.setLoad(idle);
    await it.pass(10_000);
    expect(it.told).toEqual(['heartbeatStarted', 'visibilityLost']);
    broken = false;
    await it.pass(2_000);
    expect(it.told.slice(2)).toEqual(['visibilityRegained', 'heartbeatStopped']);
  });

  test('by rejecting are silent', async () => {
    const it = guest();
    await liveWith(it, { runState: () => Promise.reject(new Error('no monitor')) });
    it.process.setLoad(idle);
    await it.pass(10_000);
    expect(it.told).toEqual(['heartbeatStarted', 'visibilityLost']);
  });

  test('by never answering have one question out, for minutes, and are believed when they answer', async () => {
    const it = guest();
    let asked = 0;
    let answer: (state: RunState) => void = () => undefined;
    const runState = (): Promise<RunState> => {
      asked += 1;
      if (asked > 1) return Promise.resolve('running');
      return new Promise((resolve) => {
        answer = resolve;
      });
    };
    await liveWith(it, { runState });
    it.process.setLoad(idle);
    await it.pass(600_000);
    expect(asked).toBe(1);
    expect(it.told).toEqual(['heartbeatStarted', 'visibilityLost']);
    // Too late for the round that asked, in time for the next one. It was out of sight: it has a deadline's time.
    answer('running');
    await it.pass(2_500);
    expect(it.told.slice(2)).toEqual(['visibilityRegained', 'heartbeatStopped']);
  });

  test('by answering slower than a round waits are heard all the same', async () => {
    const it = guest();
    const runState = async (): Promise<RunState> => {
      await it.clock.sleep(400);
      return 'running';
    };
    await liveWith(it, { runState });
    it.process.setLoad(idle);
    await it.pass(4_000);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });

  test('by answering about a time before a reset are not heard after it', async () => {
    const it = guest();
    let state: RunState = 'panicked';
    let asked = 0;
    const runState = async (): Promise<RunState> => {
      asked += 1;
      const answer = state;
      await it.clock.sleep(400);
      return answer;
    };
    await liveWith(it, { runState });
    it.process.setLoad(spinning);
    // Asked at the end of the wait between two samples, 430 ms from now; the answer is out for 400 ms more.
    await it.pass(700);
    expect(asked).toBe(1);
    expect(it.told).toEqual(['heartbeatStarted']);
    state = 'running';
    it.process.guestReset();
    await it.beat(3);
    await it.pass(3_000);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStarted']);
  });

  test('a guest whose processor time cannot be sampled is never called hung', async () => {
    const it = guest();
    await liveWith(it, { sample: () => Promise.reject(new Error('not on this host')) });
    it.process.setLoad(idle);
    await it.pass(3_600_000);
    expect(it.told).toEqual(['heartbeatStarted', 'visibilityLost']);
    await it.beat(2);
    expect(it.told.at(-1)).toBe('visibilityRegained');
  });

  test('a sample that never comes holds a round up no longer than its deadline', async () => {
    const it = guest();
    const never = new Promise<ProcessSample>(() => {
      // Nobody answers.
    });
    await liveWith(it, { sample: () => never });
    await it.pass(5_000);
    expect(it.told).toEqual(['heartbeatStarted', 'visibilityLost']);
  });

  test('by answering nonsense are reported, and the guest is looked at again', async () => {
    const it = guest();
    let nonsense = true;
    const sample = (): Promise<ProcessSample> => {
      return Promise.resolve(
        nonsense ? ({ atMs: it.clock.monotonicMs() } as ProcessSample) : it.process.sample(),
      );
    };
    await liveWith(it, { sample });
    it.process.setLoad(idle);
    await it.pass(2_000);
    expect(it.failures.length).toBeGreaterThan(0);
    it.failures.length = 0;
    nonsense = false;
    await it.pass(4_000);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });

  test('a process found gone whose exit nobody tells is told after a while', async () => {
    const it = guest();
    await it.live();
    it.process.setSample({ atMs: 0, processState: null, vcpus: [], mainLoop: null, frozen: false });
    await it.pass(2_500);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(2_500);
    expect(it.log.events[1]?.data).toMatchObject({ verdict: 'exited', cause: 'processExit' });
    it.process.kill();
    await it.pass(100);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });
});

describe('several vCPUs', () => {
  const sampleOf = (it: WatchedGuest, shares: readonly (readonly [run: number, delay: number])[]) => {
    const beganMs = it.clock.monotonicMs();
    return (): Promise<ProcessSample> => {
      const atMs = it.clock.monotonicMs();
      const ns = (atMs - beganMs) * 1e6;
      const vcpus = shares.map(([run, delay], tid) => {
        return { tid, state: 'S', runNs: ns * run, runDelayNs: ns * delay };
      });
      return Promise.resolve({ atMs, processState: 'S', vcpus, mainLoop: null, frozen: false });
    };
  };

  test.each([
    [
      'one of them at full speed',
      [
        [0, 0],
        [0, 0],
        [0, 0],
        [1, 0],
      ],
      'spinning',
    ],
    [
      'all of them idle',
      [
        [0.01, 0],
        [0, 0],
        [0.02, 0],
        [0.03, 0],
      ],
      'hung',
    ],
    [
      'none of them idle, none at full speed',
      [
        [0.3, 0],
        [0.2, 0],
      ],
      'busy',
    ],
    [
      'one of them kept waiting by the host',
      [
        [0, 0],
        [0, 0.9],
      ],
      undefined,
    ],
  ] as const)('%s', async (_name, shares, verdict) => {
    const it = guest();
    await liveWith(it, { sample: sampleOf(it, shares) });
    await it.pass(70_000);
    const stop = it.log.events.findLast((event) => isEvent(event, 'heartbeatStopped'));
    expect(stop === undefined ? undefined : stop.data).toEqual(
      verdict === undefined ? undefined : expect.objectContaining({ verdict }),
    );
  });
});

describe('rounds', () => {
  test('come as often as the guest ticks: one busy look does not cost a fast ticker a second', async () => {
    const it = guest();
    it.intervalMs = 100;
    await it.live();
    it.process.setLoad({ run: 0.5, runDelay: 0 });
    await it.pass(75);
    expect(it.watch.info().verdict).toBe('suspected');
    it.process.setLoad(idle);
    await it.pass(225);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
  });

  test('give way to a tick that comes while they are out', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    // Deadline at 50 ms, witnesses until about 430 ms.
    await it.pass(61);
    expect(it.watch.info().verdict).toBe('suspected');
    await it.beat(3);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('give way to a tick that is read when all witnesses have answered', async () => {
    const it = guest();
    let suspected = 0;
    const sample = (): Promise<ProcessSample> => {
      // What the socket holds at this moment is read with the next poll.
      if (it.watch.info().verdict === 'suspected') {
        suspected += 1;
        it.clock.afterPoll(() => it.tick());
      }
      return Promise.resolve(it.process.sample());
    };
    await liveWith(it, { sample });
    it.process.setLoad(idle);
    await it.pass(500);
    expect(suspected).toBeGreaterThan(0);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('give way to a pause, a reset and an end that come while they are out', async () => {
    for (const happen of ['pause', 'reset', 'close', 'monitorClose'] as const) {
      const it = guest();
      await it.live();
      it.process.setLoad(idle);
      await it.pass(61);
      if (happen === 'pause') it.process.emit({ kind: 'stopped' });
      else if (happen === 'reset') it.process.guestReset();
      else if (happen === 'close') it.watch.close();
      else it.monitor.close();
      await it.pass(30_000);
      expect(it.told).toEqual(['heartbeatStarted']);
    }
  });

  test('across which the whole host stood still compare nothing', async () => {
    const it = guest();
    let frozen = false;
    // In the middle of a round everything stands still, the guest too: it runs for next to nothing of that time.
    const runState = (): Promise<RunState> => {
      if (frozen) {
        frozen = false;
        it.process.setLoad({ run: 0, runDelay: 0 });
        it.clock.stall(30_000);
        it.process.setLoad(spinning);
      }
      return Promise.resolve('running');
    };
    await liveWith(it, { runState });
    it.process.setLoad(spinning);
    await it.pass(3_500);
    frozen = true;
    await it.pass(1_000);
    expect(frozen).toBe(false);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(4_000);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(3_000);
    expect(it.log.events[1]?.data).toMatchObject({ verdict: 'spinning' });
  });

  test('between which the whole host stood still compare nothing', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(spinning);
    await it.pass(3_300);
    it.process.setLoad({ run: 0, runDelay: 0 });
    it.clock.stall(30_000);
    it.process.setLoad(spinning);
    await it.pass(2_000);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('are not settled while the port has unread input', async () => {
    const it = guest();
    let backlogged = false;
    it.watch.setBacklogProbe(() => backlogged);
    await it.live();
    it.process.setLoad(idle);
    await it.pass(61);
    expect(it.watch.info().verdict).toBe('suspected');
    backlogged = true;
    await it.pass(10_000);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('find a guest paused without an event, and do not count that time', async () => {
    const it = guest();
    await it.live();
    it.process.setRunState('paused');
    await it.pass(120_000);
    expect(it.told).toEqual(['heartbeatStarted']);
    it.process.setRunState('running');
    it.process.setLoad(idle);
    // At least one more round.
    await it.pass(600);
    await it.beat(3);
    expect(it.told).toEqual(['heartbeatStarted']);
  });

  test('of a guest that was spinning and falls idle tell it at once', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(spinning);
    await it.pass(5_000);
    it.process.setLoad(idle);
    await it.pass(2_100);
    expect(it.log.events[1]?.data).toMatchObject({ verdict: 'hung' });
  });

  test('take waiting for a host processor off the patience', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad({ run: 0.5, runDelay: 0.3 });
    await it.pass(80_000);
    expect(it.told).toEqual(['heartbeatStarted']);
    await it.pass(10_000);
    expect(it.log.events[1]?.data).toMatchObject({ verdict: 'busy' });
    expect(it.dataOf(1).evidence?.silenceMs).toBeLessThan(62_000);
  });
});

describe('a service that stalls for a moment all the time', () => {
  test('tells a hang all the same', async () => {
    const it = guest();
    await it.live();
    it.process.setLoad(idle);
    for (let each = 0; each < 20; each += 1) {
      await it.pass(200);
      it.clock.stall(90);
    }
    await it.pass(10);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
    expect(it.dataOf(1)).toMatchObject({ verdict: 'hung' });
  });
});
