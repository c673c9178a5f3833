import { mkdtemp, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { scriptedVm } from '../../../../test/support/scripted-machine-service.ts';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { freeBytesAfterDump, memoryDumpMarginBytes } from '../limits.ts';
import { Incidents } from './evidence.ts';
import { openIncident } from './record.ts';
import { carryOut } from './step.ts';

let directory: string;
let clock: SimulatedClock;
let dumps: { vm: string; atMs: number }[];
let incidents: Incidents;

const id = (n: number): string => `aaaaaaaa-0000-4000-8000-${String(n).padStart(12, '0')}`;
const incident = (stoppedSeq: number): ReturnType<typeof openIncident> =>
  openIncident({ stoppedSeq, verdict: 'hung', correlated: false, stoppedMs: 0, runningSinceMs: null });

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmpulse-evidence-'));
  clock = new SimulatedClock();
  dumps = [];
  // A dump that takes as long as it may: it ends when it is cut off (60 s).
  const processOf = (vm: string): object => ({
    screenshot: (file: string) => writeFile(file, 'PNG'),
    registers: async () => 'RIP=0',
    runState: async () => 'running',
    counters: async () => ({}),
    sample: async () => ({}),
    dumpMemory: (_stem: string, _most: number, signal: AbortSignal) => {
      dumps.push({ vm, atMs: clock.monotonicMs() });
      return new Promise<void>((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(new Error('cut off')));
      });
    },
  });
  incidents = new Incidents({
    clock,
    directory: join(directory, 'incidents'),
    machines: { recoverable: (vm: string) => ({ process: processOf(vm) }) as never },
    memoryDumpMiB: () => 16_777_216,
  });
  await writeFile(join(directory, 'console'), 'Kernel panic');
});

afterEach(() => rm(directory, { recursive: true }));

function machine(n: number, memoryMiB = 64): ReturnType<typeof scriptedVm> {
  const vm = { ...scriptedVm(`web-${n}`, id(n)), memoryMiB };
  vm.files.serialLog = join(directory, 'console');
  return vm;
}

/** Real files are written beside simulated time. */
async function settle(turns = 300): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) await clock.settle();
}

it('no guest is halted for a dump after its evidence was given up', async () => {
  const given: Map<string, { atMs: number; said: string }> = new Map();
  const vms = Array.from({ length: 13 }, (_, n) => machine(n + 1));
  for (const [n, vm] of vms.entries()) {
    const machines = { get: () => vm, recoverable: () => ({}) as never, perform: () => Promise.resolve() };
    void carryOut(
      { clock, machines, evidence: incidents },
      'evidence',
      vm.id,
      incident(n + 1),
      () => true,
    ).then((said) => given.set(vm.id, { atMs: clock.monotonicMs(), said }));
  }
  for (let second = 0; second < 400; second += 5) {
    await settle();
    await clock.advanceAsync(5_000);
  }
  await settle();
  // What recovery was told: for some that it was not had in time. It resets those now.
  const late = dumps.filter(({ vm, atMs }) => atMs > (given.get(vm)?.atMs ?? Number.POSITIVE_INFINITY));
  expect(
    late.map(
      ({ vm, atMs }) =>
        `${vm.slice(-2)}: ${(atMs - (given.get(vm)?.atMs ?? 0)) / 1_000} s after it was given up`,
    ),
  ).toEqual([]);
});

it('dumps that are written at once together leave the room that each of them must leave', async () => {
  const { bavail, bsize } = await statfs(directory);
  const free = bavail * bsize;
  // One has room, two have not.
  const memoryMiB = Math.floor((free * 0.6) / 1024 ** 2);
  for (const n of [1, 2]) void incidents.gather(machine(n, memoryMiB), incident(n));
  await settle(3_000);
  const promised = dumps.length * (memoryMiB * 1024 ** 2 + memoryDumpMarginBytes);
  expect(promised + freeBytesAfterDump).toBeLessThanOrEqual(free);
  for (let second = 0; second < 200; second += 5) {
    await settle();
    await clock.advanceAsync(5_000);
  }
});
