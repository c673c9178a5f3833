import { describe, expect, test } from 'vitest';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { Pacer, startsPerTurn, turnMs } from './pacer.ts';

describe('the pacer', () => {
  test('starts so many in a turn and no more, all of them in order', () => {
    const clock = new SimulatedClock({ autoPoll: false });
    const pacer = new Pacer(clock);
    const started: number[] = [];
    for (let each = 0; each < 3 * startsPerTurn; each += 1) pacer.run(() => started.push(each) > 0);
    expect(started).toHaveLength(startsPerTurn);
    clock.poll();
    expect(started).toHaveLength(2 * startsPerTurn);
    clock.poll();
    clock.poll();
    expect(started).toEqual(Array.from({ length: 3 * startsPerTurn }, (_unused, each) => each));
    pacer.run(() => started.push(-1) > 0);
    expect(started.at(-1)).toBe(-1);
  });

  test('starts nothing more in a turn once starting took long', () => {
    const clock = new SimulatedClock({ autoPoll: false });
    const pacer = new Pacer(clock);
    let started = 0;
    for (let each = 0; each < 5; each += 1) {
      pacer.run(() => {
        clock.stall(turnMs - 1);
        started += 1;
        return true;
      });
    }
    expect(started).toBe(2);
    clock.poll();
    expect(started).toBe(4);
    clock.poll();
    expect(started).toBe(5);
  });

  test('does not count what had nothing to do any more', () => {
    const clock = new SimulatedClock({ autoPoll: false });
    const pacer = new Pacer(clock);
    let real = 0;
    for (let each = 0; each < 10 * startsPerTurn; each += 1) {
      pacer.run(() => {
        if (each % 2 === 1) return false;
        real += 1;
        return true;
      });
    }
    clock.poll();
    expect(real).toBe(2 * startsPerTurn);
  });

  test('takes work that work brings', () => {
    const clock = new SimulatedClock({ autoPoll: false });
    const pacer = new Pacer(clock);
    let started = 0;
    const twice = (): boolean => {
      started += 1;
      if (started <= 2 * startsPerTurn) pacer.run(twice);
      return true;
    };
    pacer.run(twice);
    for (let turn = 0; turn < 5; turn += 1) clock.poll();
    expect(started).toBe(2 * startsPerTurn + 1);
  });

  test('keeps the order of a long queue', () => {
    const clock = new SimulatedClock({ autoPoll: false });
    const pacer = new Pacer(clock);
    const started: number[] = [];
    const total = 10 * startsPerTurn + 5;
    const work = (each: number) => (): boolean => {
      started.push(each);
      return true;
    };
    for (let each = 0; each < total - 1; each += 1) pacer.run(work(each));
    for (let turn = 0; turn < 7; turn += 1) clock.poll();
    expect(started).toHaveLength(8 * startsPerTurn);
    pacer.run(work(total - 1));
    for (let turn = 0; turn < 5; turn += 1) clock.poll();
    expect(started).toEqual(Array.from({ length: total }, (_none, each) => each));
  });
});
