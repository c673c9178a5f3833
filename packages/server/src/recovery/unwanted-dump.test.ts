import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { RecoveredMachines } from '../../../../test/support/recovered-machines.ts';
import { Incidents } from './evidence.ts';

let directory: string;
let served: RecoveredMachines;
let dumped: string[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmpulse-dump-'));
  served = new RecoveredMachines();
  dumped = [];
  const processOf = (vm: string): object => ({
    dumpMemory: (_stem: string, _most: number, signal: AbortSignal) => {
      dumped.push(served.server.get(vm).name);
      return new Promise<void>((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(new Error('cut off')));
      });
    },
    // A guest whose QEMU is slow to answer: each part has 5 s.
    registers: () => served.clock.sleep(4_000).then(() => 'RIP=0'),
    runState: async () => 'running',
    counters: async () => ({}),
    sample: async () => ({}),
  });
  const evidence = new Incidents({
    clock: served.clock,
    directory,
    machines: { recoverable: (vm: string) => ({ process: processOf(vm) }) as never },
    memoryDumpMiB: () => 16_777_216,
  });
  await served.serve({ evidence });
  await served.see();
});

afterEach(() => rm(directory, { recursive: true }));

async function pass(seconds: number): Promise<void> {
  for (let second = 0; second < seconds; second += 1) {
    for (let turn = 0; turn < 60; turn += 1) await served.clock.settle();
    await served.clock.advanceAsync(1_000);
  }
}

it('no guest whose heartbeat came back as it waited for its turn is halted for a dump', async () => {
  const names = ['web-1', 'web-2', 'web-3', 'web-4', 'web-5'];
  const ids: string[] = [];
  for (const name of names)
    ids.push(await served.running({ action: 'reset', memoryDumpMiB: 16_777_216 }, name));
  for (const id of ids) await served.stopped(id);
  await pass(30);
  // Four are dumped, the fifth waits. It comes back by itself: its recovery is over.
  expect(dumped.toSorted()).toEqual(names.slice(0, 4));
  const [id = ''] = ids.slice(4);
  await served.resumed(id);
  expect(served.recovery.info(id).state).toBe('idle');
  await pass(60);
  expect(dumped).not.toContain('web-5');
});

it('no guest whose heartbeat came back as its registers were read is halted for a dump', async () => {
  const id = await served.running({ action: 'reset', memoryDumpMiB: 16_777_216 });
  await served.stopped(id);
  await pass(1);
  await served.resumed(id);
  expect([served.recovery.info(id).state, dumped]).toEqual(['idle', []]);
  await pass(20);
  expect(dumped).toEqual([]);
});
