import { toCloudEvent } from '@vmpulse/wire';
import { expect, test } from 'vitest';
import { machineReference, stoppedDraft } from '../../../../test/support/machines.ts';
import { Tail } from './tail.ts';

const event = (seq: number): ReturnType<typeof toCloudEvent> =>
  toCloudEvent(stoppedDraft(seq % 3), seq, 'server');
const seqs = (slice: ReturnType<Tail['read']>): number[] | undefined => slice?.events.map(({ seq }) => seq);

test('serves the newest events and says where it does not reach', () => {
  const tail = new Tail(10, 1e6);
  expect(tail.read({ after: 0, limit: 1 })).toBeNull();
  for (let seq = 1; seq <= 1_000; seq += 1) tail.push(event(seq), 100);
  expect(tail.read({ after: 989, limit: 1 })).toBeNull();
  expect(seqs(tail.read({ after: 990, limit: 3 }))).toEqual([991, 992, 993]);
  expect(seqs(tail.read({ after: 999, limit: 9 }))).toEqual([1_000]);
  expect(tail.read({ after: 1_000, limit: 9 })).toEqual({ events: [], next: 1_000 });
  expect(tail.read({ after: 1_001, limit: 9 })).toBeNull();
});

test('is bounded by bytes too, also where one event is over the bound', () => {
  const tail = new Tail(100, 1_000);
  for (let seq = 1; seq <= 50; seq += 1) tail.push(event(seq), 300);
  expect(seqs(tail.read({ after: 47, limit: 9 }))).toEqual([48, 49, 50]);
  expect(tail.read({ after: 46, limit: 9 })).toBeNull();
  tail.push(event(51), 5_000);
  expect(tail.read({ after: 50, limit: 9 })).toBeNull();
  tail.push(event(52), 10);
  expect(seqs(tail.read({ after: 51, limit: 9 }))).toEqual([52]);
});

test('filters, and goes on behind what it looked at', () => {
  const tail = new Tail();
  for (let seq = 1; seq <= 9; seq += 1) tail.push(event(seq), 1);
  const vmId = machineReference(1).id;
  expect(tail.read({ after: 0, limit: 2, vmId })).toMatchObject({
    events: [{ seq: 1 }, { seq: 4 }],
    next: 4,
  });
  expect(tail.read({ after: 7, limit: 2, vmId })).toEqual({ events: [], next: 9 });
  expect(tail.read({ after: 0, limit: 9, types: ['guestReset'] })).toEqual({ events: [], next: 9 });
});

test('begins anew when a number is missing: what it holds is without gap', () => {
  const tail = new Tail();
  tail.push(event(1), 1);
  tail.push(event(5), 1);
  expect(tail.read({ after: 0, limit: 9 })).toBeNull();
  expect(seqs(tail.read({ after: 4, limit: 9 }))).toEqual([5]);
});
