/** Finds the QEMU of a machine among the host's processes, never a foreign one. */
import { readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../clock.ts';
import type { ProcessRecord } from '../hypervisor.ts';
import { machineFiles } from './command-line.ts';
import { bootId, commandLineOf, isAlive, processIds, readStat } from './proc.ts';

/** Clock ticks a second in /proc (USER_HZ). */
const ticksPerSecond = 100;

/** By its record; failing that by its pid file. Null when there is none. */
export async function findProcess(
  vmId: string,
  directory: string,
  record: ProcessRecord | null,
): Promise<ProcessRecord | null> {
  if (record !== null && (await isAlive(record))) return record;
  return byPidFile(vmId, directory);
}

/** By its pid file alone: cheap, and enough for a process that came to write it. */
export async function byPidFile(vmId: string, directory: string): Promise<ProcessRecord | null> {
  const text = await readFile(join(directory, machineFiles.pid), 'ascii').catch(() => '');
  return /^\d+\s*$/.test(text) ? identify(Number(text), vmId, directory) : null;
}

/** How long what was seen of all processes serves, ms: the machines that are found together look once. */
const snapshotMs = 5_000;

/** Looks through all processes: for a start that was cut off before QEMU wrote its pid file. */
export class ProcessSearch {
  readonly #clock: Clock;
  #snapshot: {
    readonly atMs: number;
    readonly pids: Promise<ReadonlyMap<string, readonly number[]>>;
  } | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The machine's process; null when there was none within the last seconds. */
  async find(vmId: string, directory: string): Promise<ProcessRecord | null> {
    for (const pid of (await this.#pids()).get(vmId) ?? []) {
      const found = await identify(pid, vmId, directory);
      if (found !== null) return found;
    }
    return null;
  }

  #pids(): Promise<ReadonlyMap<string, readonly number[]>> {
    const nowMs = this.#clock.monotonicMs();
    if (this.#snapshot === null || nowMs - this.#snapshot.atMs > snapshotMs) {
      this.#snapshot = { atMs: nowMs, pids: pidsByMachine() };
    }
    return this.#snapshot.pids;
  }
}

/** Several may name one machine: another server's copy of it has the same id. */
async function pidsByMachine(): Promise<ReadonlyMap<string, readonly number[]>> {
  const found = new Map<string, number[]>();
  for (const pid of await processIds()) {
    const vmId = machineOf(await commandLineOf(pid));
    if (vmId !== null) found.set(vmId, [...(found.get(vmId) ?? []), pid]);
  }
  return found;
}

function machineOf(parameters: readonly string[]): string | null {
  const option = parameters.indexOf('-uuid');
  return option === -1 ? null : (parameters[option + 1] ?? null);
}

/** The record of process `pid` if it is a QEMU that runs this machine in this directory. */
async function identify(pid: number, vmId: string, directory: string): Promise<ProcessRecord | null> {
  const parameters = await commandLineOf(pid);
  if (machineOf(parameters) !== vmId) return null;
  // Another server's copy of the machine has the same id, but its own directory.
  if ((await readlink(`/proc/${pid}/cwd`).catch(() => '')) !== directory) return null;
  const stat = await readStat(pid);
  if (stat === null || stat.state === 'Z') return null;
  const accelerator = parameters.some((parameter) => parameter.includes('accel=kvm')) ? 'kvm' : 'tcg';
  const startedAt = await wallTimeOf(stat.startTicks);
  return { pid, startTicks: stat.startTicks, bootId: await bootId(), directory, accelerator, startedAt };
}

async function wallTimeOf(startTicks: number): Promise<string> {
  const bootSeconds = /^btime (\d+)$/m.exec(await readFile('/proc/stat', 'ascii'))?.[1] ?? '0';
  return new Date((Number(bootSeconds) + startTicks / ticksPerSecond) * 1_000).toISOString();
}
