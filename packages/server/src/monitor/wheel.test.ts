import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bucketMs, maxVisitsPerTurn, Wheel } from './wheel.ts';

const horizonMs = 8192 * bucketMs;

type Step =
  | { readonly do: 'put'; readonly slot: number; readonly inMs: number }
  | { readonly do: 'remove'; readonly slot: number }
  | { readonly do: 'advance'; readonly byMs: number }
  | { readonly do: 'grow' };

const slots = fc.integer({ min: 0, max: 11 });
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    fc.record({
      do: fc.constant('put' as const),
      slot: slots,
      inMs: fc.oneof(
        // Often into the same bucket.
        fc.constantFrom(0, 40, 40, 90),
        fc.double({ min: -500, max: 5_000, noNaN: true }),
        fc.double({ min: 0, max: 3 * horizonMs, noNaN: true }),
      ),
    }),
    fc.record({ do: fc.constant('remove' as const), slot: slots }),
    fc.record({
      do: fc.constant('advance' as const),
      byMs: fc.oneof(
        fc.double({ min: 0, max: 300, noNaN: true }),
        fc.double({ min: 0, max: 2 * horizonMs, noNaN: true }),
      ),
    }),
    fc.record({ do: fc.constant('grow' as const) }),
  ),
  { maxLength: 120, size: 'max' },
);

describe('the wheel', () => {
  test('visits everyone not before they are due and at most one bucket late, whatever is done to it', () => {
    fc.assert(
      fc.property(steps, fc.double({ min: 0, max: 1e9, noNaN: true }), (script, startMs) => {
        let nowMs = startMs;
        let capacity = 12;
        const wheel = new Wheel(capacity, nowMs);
        const due = new Map<number, number>();
        const visit = (slot: number): number => {
          const dueMs = due.get(slot);
          if (dueMs === undefined) throw new Error(`slot ${slot} is not in`);
          // Beyond the horizon it is looked at early, as the monitor does, and laid in again.
          if (nowMs < dueMs) return dueMs;
          due.delete(slot);
          return -1;
        };
        for (const step of script) {
          if (step.do === 'put') {
            wheel.put(step.slot, nowMs + step.inMs);
            // What is past when it is laid in is due at once.
            due.set(step.slot, nowMs + Math.max(0, step.inMs));
          } else if (step.do === 'remove') {
            wheel.remove(step.slot);
            due.delete(step.slot);
          } else if (step.do === 'grow') {
            capacity += 7;
            wheel.grow(capacity);
          } else {
            nowMs += step.byMs;
            wheel.advance(nowMs, visit);
            for (const [slot, dueMs] of due) {
              if (nowMs - dueMs > bucketMs) throw new Error(`slot ${slot} is ${nowMs - dueMs} ms late`);
            }
          }
          expect(wheel.size).toBe(due.size);
        }
      }),
      { numRuns: 300 },
    );
  });

  test('visits in the bucket after the due, not before', () => {
    const wheel = new Wheel(2, 0);
    const seen: number[] = [];
    const visit = (slot: number): number => {
      seen.push(slot);
      return -1;
    };
    wheel.put(0, 100);
    wheel.put(1, 100.1);
    wheel.advance(99.9, visit);
    expect(seen).toEqual([]);
    wheel.advance(100, visit);
    expect(seen).toEqual([0]);
    wheel.advance(109.9, visit);
    expect(seen).toEqual([0]);
    wheel.advance(110, visit);
    expect(seen).toEqual([0, 1]);
  });

  test('says when the next bucket ends that has anyone in it', () => {
    const wheel = new Wheel(2, 5);
    expect(wheel.nextDueMs()).toBeUndefined();
    wheel.put(0, 1_234);
    expect(wheel.nextDueMs()).toBe(1_240);
    wheel.put(1, 0);
    expect(wheel.nextDueMs()).toBe(10);
    wheel.remove(1);
    wheel.put(0, 10 * horizonMs);
    expect(wheel.nextDueMs()).toBe(8191 * bucketMs);
  });

  test('lays in again where the visit says, also who lays in or takes out others meanwhile', () => {
    const wheel = new Wheel(4, 0);
    const seen: [slot: number, atMs: number][] = [];
    let nowMs = 0;
    const visit = (slot: number): number => {
      seen.push([slot, nowMs]);
      if (slot === 0 && nowMs === 100) {
        wheel.remove(3);
        wheel.put(2, 200);
        return 300;
      }
      return -1;
    };
    wheel.put(0, 100);
    wheel.put(3, 150);
    for (nowMs = 0; nowMs <= 400; nowMs += 10) wheel.advance(nowMs, visit);
    expect(seen).toEqual([
      [0, 100],
      [2, 200],
      [0, 300],
    ]);
  });

  test('after a stall of many turns visits everyone once', () => {
    const wheel = new Wheel(100, 0);
    for (let slot = 0; slot < 100; slot += 1) wheel.put(slot, slot * 997);
    const seen: number[] = [];
    wheel.advance(50 * horizonMs, (slot) => {
      seen.push(slot);
      return -1;
    });
    expect(seen.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_unused, slot) => slot));
  });

  test('visits so many in one go and no more, and each of them once', () => {
    const total = 2 * maxVisitsPerTurn + 10;
    const wheel = new Wheel(total, 0);
    for (let slot = 0; slot < total; slot += 1) wheel.put(slot, slot < 20 ? 100 : 200);
    const seen: number[] = [];
    const visit = (slot: number): number => {
      seen.push(slot);
      return -1;
    };
    const turns: number[] = [];
    do {
      wheel.advance(1_000, visit);
      turns.push(seen.length);
      // More wait: the next turn is due at once.
      if (seen.length < total) expect(wheel.nextDueMs()).toBe(200);
    } while (seen.length < total && turns.length < 9);
    expect(turns).toEqual([maxVisitsPerTurn, 2 * maxVisitsPerTurn, total]);
    expect(new Set(seen).size).toBe(total);
    expect(wheel.nextDueMs()).toBeUndefined();
  });
});
