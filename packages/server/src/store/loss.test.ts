import { expect, test } from 'vitest';
import { machineReference } from '../../../../test/support/machines.ts';
import { encodeEvent } from './encoding.ts';
import { Loss } from './loss.ts';

test('what dropped events meant for a machine is kept: its state, and that its guest began another life', () => {
  const loss = new Loss();
  const vm = machineReference(1);
  const reset = { reason: 'guest-reset', byGuest: true };
  loss.add(encodeEvent({ type: 'guestReset', vm, timeMs: 0, data: reset }));
  const paused = { state: 'paused', stateCode: 6, previousState: 'running' } as const;
  loss.add(encodeEvent({ type: 'stateChanged', vm, timeMs: 0, data: paused }));
  const { draft, effects } = loss.take(5, 'full');
  expect(draft).toMatchObject({ type: 'eventsLost', data: { lost: 2 } });
  expect(effects).toEqual([
    { op: 'keep', vmId: vm.id, record: undefined, state: 'paused' },
    { op: 'forgetVerdict', vmId: vm.id },
  ]);
  expect(loss.isEmpty).toBe(true);
});
