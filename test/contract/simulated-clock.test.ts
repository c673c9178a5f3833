import { expect, test } from 'vitest';
import { SimulatedClock } from '../support/simulated-clock.ts';

test('timers run in order of due time, then of setting, each at its own time', () => {
  const clock = new SimulatedClock({ monotonicMs: 1000 });
  const seen: [string, number][] = [];
  const note = (name: string) => (): void => void seen.push([name, clock.monotonicMs()]);
  clock.setTimer(note('c'), 30);
  clock.setTimer(note('a'), 10);
  clock.setTimer(note('b'), 10);
  clock.setTimer(() => clock.setTimer(note('nested'), 5), 12);
  const never = clock.setTimer(note('never'), 11);
  never.cancel();
  clock.setTimer(note('later'), 100);
  clock.advance(50);
  expect(seen).toEqual([
    ['a', 1010],
    ['b', 1010],
    ['nested', 1017],
    ['c', 1030],
  ]);
  expect(clock.monotonicMs()).toBe(1050);
  expect(clock.pendingTimers).toBe(1);
  expect(clock.nextTimerMs).toBe(1100);
});

test('many timers, many of them cancelled, come in order', () => {
  const clock = new SimulatedClock();
  const due: number[] = [];
  let random = 7;
  for (let index = 0; index < 10_000; index += 1) {
    random = (random * 1_103_515_245 + 12_345) % 2 ** 31;
    const delayMs = random % 5000;
    const timer = clock.setTimer(() => due.push(delayMs), delayMs);
    if (index % 4 !== 0) timer.cancel();
  }
  expect(clock.pendingTimers).toBe(2500);
  clock.advance(5000);
  expect(due).toHaveLength(2500);
  expect(due).toEqual(due.toSorted((a, b) => a - b));
  expect(clock.pendingTimers).toBe(0);
});

test('a stall lets time pass without running anything; what was due runs late', () => {
  const clock = new SimulatedClock({ monotonicMs: 0 });
  let ranAtMs = -1;
  clock.setTimer(() => (ranAtMs = clock.monotonicMs()), 10);
  clock.stall(500);
  expect(ranAtMs).toBe(-1);
  clock.advance(0);
  expect(ranAtMs).toBe(500);
});

test('a step of the wall clock leaves monotonic time alone', () => {
  const clock = new SimulatedClock({ monotonicMs: 5, wallMs: 1_000 });
  clock.stepWall(-3_600_000);
  clock.advance(10);
  expect([clock.monotonicMs(), clock.wallMs()]).toEqual([15, 1_010 - 3_600_000]);
});

test('afterPoll runs with the next poll, what it queues with the one after', () => {
  const clock = new SimulatedClock({ autoPoll: false });
  const seen: number[] = [];
  clock.afterPoll(() => {
    seen.push(1);
    clock.afterPoll(() => seen.push(2));
  });
  clock.advance(100);
  expect(seen).toEqual([]);
  clock.poll();
  expect(seen).toEqual([1]);
  clock.poll();
  expect(seen).toEqual([1, 2]);
});

test('sleep ends at its time, or at once on abort, and code behind await runs between timers', async () => {
  const clock = new SimulatedClock({ monotonicMs: 0 });
  const seen: number[] = [];
  const loop = (async () => {
    for (let round = 0; round < 3; round += 1) {
      await clock.sleep(10);
      seen.push(clock.monotonicMs());
    }
  })();
  await clock.advanceAsync(100);
  await loop;
  expect(seen).toEqual([10, 20, 30]);
  const abort = new AbortController();
  const sleeping = clock.sleep(1_000_000, abort.signal);
  abort.abort();
  await sleeping;
  expect(clock.pendingTimers).toBe(0);
});
