import { beforeEach, describe, expect, it } from 'vitest';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { AgentPulse } from './agent-pulse.ts';
import type { AgentPing } from './source.ts';

let clock: SimulatedClock;
let everyMs: number | null;
/** When each ping went out and how long it might take. */
let pings: { atMs: number; timeoutMs: number }[];
let pulsesMs: number[];
/** How long the agent takes for an answer; null: it gives none, and the ping ends by its own deadline. */
let tookMs: number | null;
let startMs: number;
let pulse: AgentPulse;

const now = (): number => clock.monotonicMs() - startMs;

async function answer(timeoutMs: number): Promise<AgentPing> {
  pings.push({ atMs: now(), timeoutMs });
  const answersIn = tookMs;
  await clock.sleep(answersIn ?? timeoutMs);
  return answersIn === null
    ? { answered: false, reason: 'silent' }
    : { answered: true, latencyMs: answersIn };
}

function pulseOf(key: string, wanted: () => number | null = () => everyMs): AgentPulse {
  const pulses = { wantedEveryMs: wanted, onPulse: () => void pulsesMs.push(now()) };
  return new AgentPulse({ clock, key, pulses, ping: answer });
}

beforeEach(() => {
  clock = new SimulatedClock();
  startMs = clock.monotonicMs();
  everyMs = 1_000;
  pings = [];
  pulsesMs = [];
  tookMs = 5;
  pulse = pulseOf('guest');
});

/** Differences of neighbours. */
const gaps = (times: readonly number[]): number[] => times.slice(1).map((at, i) => at - (times[i] ?? 0));

describe('a pulse', () => {
  it('pings once an interval, the first time within one, and tells each answer', async () => {
    pulse.start();
    pulse.start();
    await clock.advanceAsync(10_000);
    expect(pings).toHaveLength(10);
    expect(pings[0]?.atMs).toBeLessThan(1_000);
    expect(new Set(gaps(pings.map(({ atMs }) => atMs)))).toEqual(new Set([1_000]));
    expect(pulsesMs).toEqual(pings.map(({ atMs }) => atMs + 5));
  });

  it('has only one ping out, which ends by the interval, and keeps its beat when answers are slow', async () => {
    pulse.start();
    await clock.advanceAsync(3_000);
    tookMs = 1_300;
    await clock.advanceAsync(1_000);
    tookMs = 5;
    await clock.advanceAsync(4_000);
    const sent = pings.map(({ atMs }) => atMs);
    const phase = sent[0] ?? 0;
    expect(sent.map((at) => at - phase)).toEqual([0, 1_000, 2_000, 3_000, 4_300, 5_000, 6_000, 7_000]);
    tookMs = null;
    pings = [];
    await clock.advanceAsync(5_000);
    expect(pings.map(({ timeoutMs }) => timeoutMs)).toEqual([1_000, 1_000, 1_000, 1_000, 1_000]);
  });

  it('gives a ping a second at least, and as long as the interval where that is longer', async () => {
    everyMs = 200;
    pulse.start();
    await clock.advanceAsync(200);
    everyMs = 30_000;
    await clock.advanceAsync(60_000);
    expect(pings.map(({ timeoutMs }) => timeoutMs)).toEqual([1_000, 30_000, 30_000]);
  });

  it('pings at once after the service stood still, and then in its own phase again', async () => {
    pulse.start();
    await clock.advanceAsync(2_000);
    const [phase = 0] = pings.map(({ atMs }) => atMs);
    clock.stall(3_700);
    await clock.advanceAsync(4_000);
    const after = pings.map(({ atMs }) => atMs).filter((at) => at > 2_000);
    expect(after).toEqual([5_700, phase + 5_000, phase + 6_000, phase + 7_000, phase + 8_000]);
  });

  it('differs in phase between machines, so that they are not pinged all at once', async () => {
    const all = Array.from({ length: 1_000 }, (_, i) => pulseOf(`/var/lib/vmpulse/vms/${i}/agent.sock`));
    for (const one of all) one.start();
    await clock.advanceAsync(999.9);
    const perTenth = Array.from(
      { length: 10 },
      (_, tenth) => pings.filter(({ atMs }) => Math.floor(atMs / 100) === tenth).length,
    );
    expect(perTenth.every((count) => count > 50 && count < 200)).toBe(true);
  });
});

describe('a pulse that is not wanted', () => {
  it('pings nobody, and soon after they are wanted again it does', async () => {
    everyMs = null;
    pulse.start();
    await clock.advanceAsync(60_000);
    expect(pings).toEqual([]);
    everyMs = 5_000;
    await clock.advanceAsync(1_250);
    expect(pings).toHaveLength(1);
    everyMs = null;
    await clock.advanceAsync(20_000);
    expect(pings).toHaveLength(1);
    everyMs = 5_000;
    await clock.advanceAsync(1_250);
    expect(pings).toHaveLength(2);
  });

  it('pings at once when it is told that the guest goes on', async () => {
    pulse.start();
    await clock.advanceAsync(2_500);
    everyMs = null;
    await clock.advanceAsync(10_000);
    pings = [];
    pulse.nudge();
    expect(pings).toEqual([]);
    everyMs = 1_000;
    const atMs = now();
    pulse.nudge();
    pulse.nudge();
    expect(pings).toEqual([{ atMs, timeoutMs: 1_000 }]);
  });

  it('looks about once a second and not more often', async () => {
    let looks = 0;
    const idle = pulseOf('idle', () => {
      looks += 1;
      return null;
    });
    idle.start();
    await clock.advanceAsync(100_000);
    expect(looks).toBeLessThanOrEqual(102);
  });
});

describe('ten thousand pulses that are not wanted', () => {
  it('have one timer together, and none when they are stopped', async () => {
    everyMs = null;
    let timers = 0;
    const setTimer = clock.setTimer.bind(clock);
    clock.setTimer = (callback, delayMs) => {
      timers += 1;
      return setTimer(callback, delayMs);
    };
    const all = Array.from({ length: 10_000 }, (_, i) => pulseOf(`${i}`));
    for (const one of all) one.start();
    await clock.advanceAsync(10_000);
    expect(timers).toBeLessThanOrEqual(11);
    everyMs = 1_000;
    await clock.advanceAsync(1_250);
    expect(pings).toHaveLength(10_000);
    const perTenth = Array.from(
      { length: 10 },
      (_, tenth) => pings.filter(({ atMs }) => Math.floor((atMs % 1_000) / 25) === tenth).length,
    );
    expect(perTenth.every((count) => count > 500 && count < 2_000)).toBe(true);
    for (const one of all) one.stop();
    await clock.advanceAsync(10_000);
    expect(clock.nextTimerMs).toBeNull();
  });
});

describe('a pulse that was stopped', () => {
  it('asks and tells nothing more, an answer still out included', async () => {
    let asked = 0;
    const wanted = (): number => {
      asked += 1;
      return 1_000;
    };
    const one = pulseOf('one', wanted);
    one.start();
    await clock.advanceAsync(1_000);
    tookMs = 500;
    await clock.advanceAsync(1_000);
    const told = pulsesMs.length;
    const sent = pings.length;
    one.stop();
    one.stop();
    one.nudge();
    asked = 0;
    await clock.advanceAsync(60_000);
    expect([pulsesMs.length, pings.length, asked]).toEqual([told, sent, 0]);
  });

  it('begins anew when it is started again, while the ping of before is still out', async () => {
    tookMs = null;
    pulse.start();
    await clock.advanceAsync(1_000);
    expect(pings).toHaveLength(1);
    pulse.stop();
    tookMs = 5;
    pulse.start();
    await clock.advanceAsync(3_000);
    expect(pings).toHaveLength(4);
    expect(pulsesMs).toHaveLength(3);
  });
});
