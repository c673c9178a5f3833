import { describe, expect, test } from 'vitest';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { Pacer, startsPerTurn } from './pacer.ts';

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
});
