import { setImmediate } from 'node:timers/promises';
import { VmError } from '@vmpulse/wire';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { MemoryEventLog } from '../../../../test/support/memory-event-log.ts';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { Journal } from './journal.ts';

const vm = { id: '00000000-0000-4000-8000-00000000000a', name: 'web-1' };

let clock: SimulatedClock;
let memory: MemoryEventLog;
let journal: Journal;
let errors: string[];
let unhandled: unknown[];
const note = (reason: unknown): void => void unhandled.push(reason);

beforeEach(() => {
  clock = new SimulatedClock();
  memory = new MemoryEventLog({ maxPending: 1 });
  errors = [];
  unhandled = [];
  const silent = (): void => undefined;
  const error = (_details: object, message: string): void => void errors.push(message);
  journal = new Journal(memory, memory, clock, { info: silent, warn: silent, error });
  process.on('unhandledRejection', note);
});

afterEach(() => void process.off('unhandledRejection', note));

/** Node tells of unhandled rejections after the microtasks of a turn. */
const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 3; turn += 1) await setImmediate();
};

it('swallows writes that the log drops, tells who asks, and logs one of a thousand', async () => {
  memory.failWrites('disk full');
  void journal.append('shutdownRequested', vm, { by: 'acpi' });
  const dropped = Array.from({ length: 1_500 }, () =>
    journal.append('shutdownRequested', vm, { by: 'acpi' }),
  );
  await turns();
  expect(unhandled).toEqual([]);
  expect(new Set(await Promise.all(dropped))).toEqual(new Set([false]));
  expect(errors).toEqual(['could not write shutdownRequested', 'could not write shutdownRequested']);
  expect(memory.state().lost).toBe(1_500);
});

it('an append that is lost after its deadline is nobody any more who must handle it', async () => {
  memory.failWrites('disk full');
  const appended = journal.appendDurably('shutdownRequested', vm, { by: 'acpi' });
  const late = appended.catch((error: unknown) => VmError.from(error).code);
  await clock.advanceAsync(5_001);
  expect(await late).toBe('VMPULSE_E_LOG_UNAVAILABLE');
  await memory.close();
  await turns();
  expect(unhandled).toEqual([]);
});
