import { VmError, type taskResultCodes, type ErrorCode } from '@vmpulse/wire';
import { expect, it } from 'vitest';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { TaskRegistry, taskResult } from './task.ts';

const vm = { id: '6f1c2f0e-7f0f-4a57-9f5e-0d8c5b1f3a10', name: 'web-1' };
const request = { vm, operation: 'save' as const, description: 'Save web-1', cancelable: true };

it('a task tells its progress, which neither runs backwards nor ends before it has', () => {
  const clock = new SimulatedClock();
  const tasks = new TaskRegistry(clock);
  const task = tasks.begin(request);
  const seen = [40.7, 20, Number.NaN, 100, 1e9].map((percent) => {
    task.progress(percent);
    return task.info().percent;
  });
  expect(seen).toEqual([40, 40, 40, 99, 99]);
  clock.advance(1_500);
  tasks.end(task, null);
  const info = task.info();
  expect(info).toMatchObject({
    percent: 100,
    isComplete: true,
    isCancelable: false,
    result: 'success',
    error: null,
  });
  expect(Date.parse(info.endedAt ?? '') - Date.parse(info.startedAt)).toBe(1_500);
});

it('only the oldest ended tasks are forgotten past the bound, never one under way', () => {
  const tasks = new TaskRegistry(new SimulatedClock(), 3);
  const underWay = tasks.begin(request);
  const ended = Array.from({ length: 5 }, () => tasks.begin(request));
  for (const task of ended) tasks.end(task, null);
  for (const task of ended) tasks.end(task, null);
  expect(tasks.list()).toEqual([underWay, ...ended.slice(2)]);
  expect(() => tasks.get(ended[0]?.id ?? '')).toThrow(
    expect.objectContaining({ code: 'VMPULSE_E_NOT_FOUND' }),
  );
});

it('cancelling aborts the signal; one that has ended or committed refuses', () => {
  const tasks = new TaskRegistry(new SimulatedClock());
  const task = tasks.begin(request);
  task.cancel();
  expect(task.signal.aborted).toBe(true);
  const committed = tasks.begin(request);
  committed.commit();
  expect(() => committed.cancel()).toThrow(expect.objectContaining({ code: 'E_FAIL' }));
  tasks.end(task, new VmError('E_ABORT', 'Cancelled.'));
  expect(() => task.cancel()).toThrow(expect.objectContaining({ code: 'E_FAIL' }));
  expect(task.info()).toMatchObject({
    result: 'cancelled',
    error: { code: 'E_ABORT', hresult: '0x80004004' },
  });
});

it.each<[ErrorCode, keyof typeof taskResultCodes]>([
  ['E_ABORT', 'cancelled'],
  ['VM_E_TIMED_OUT', 'timeOutError'],
  ['E_OUTOFMEMORY', 'outOfMemoryError'],
  ['E_FILE_NOT_FOUND', 'diskRelatedError'],
  ['VM_E_PREF_SAVED_STATE_BAD_VERSION', 'incompatibleSavedStateError'],
  ['VM_E_PREF_ILLEGAL_VALUE', 'illegalValueError'],
  ['VMPULSE_E_HYPERVISOR', 'unexpectedError'],
])('%s ends a task with %s', (code, result) => {
  expect(taskResult(code)).toBe(result);
});
