/** What /proc tells of a machine's process. Linux: proc(5). */
import { closeSync, openSync, readSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import type { Clock } from '../../clock.ts';
import type { ProcessRecord, ProcessSample } from '../hypervisor.ts';

/** The fields used of /proc/pid/stat. */
export interface ProcessStat {
  readonly comm: string;
  readonly state: string;
  /** Processor time in clock ticks of 10 ms (USER_HZ is 100 on every Linux that Node runs on). */
  readonly cpuTicks: number;
  readonly startTicks: number;
}

const nsPerTick = 10_000_000;

/** Parses /proc/pid/stat, whose second field is any text in parentheses; null when it is not of that form. */
export function parseStat(text: string): ProcessStat | null {
  const open = text.indexOf('(');
  const close = text.lastIndexOf(')');
  if (open === -1 || close < open) return null;
  const fields = text.slice(close + 2).split(' ');
  // Field 3, the state, is the first one here.
  const [state, user, system, start] = [fields[0], fields[11], fields[12], fields[19]];
  if (state === undefined || state.length !== 1 || start === undefined) return null;
  const stat = { cpuTicks: Number(user) + Number(system), startTicks: Number(start) };
  if (!Number.isFinite(stat.cpuTicks) || !Number.isFinite(stat.startTicks)) return null;
  return { comm: text.slice(open + 1, close), state, ...stat };
}

/** Of a process; null when there is none. */
export async function readStat(pid: number): Promise<ProcessStat | null> {
  const text = await readText(`/proc/${pid}/stat`);
  return text === null ? null : parseStat(text);
}

/** Is the process of `record` still there? A zombie is not, nor is another process that got its pid. */
export async function isAlive(record: ProcessRecord): Promise<boolean> {
  if (record.bootId !== (await bootId())) return false;
  const stat = await readStat(record.pid);
  return stat !== null && stat.startTicks === record.startTicks && stat.state !== 'Z' && stat.state !== 'X';
}

let cachedBootId: string | undefined;

/** Names this boot of the host. */
export async function bootId(): Promise<string> {
  cachedBootId ??= (await readFile('/proc/sys/kernel/random/boot_id', 'ascii')).trim();
  return cachedBootId;
}

/** Arguments a process was started with, empty when it is gone. */
export async function commandLineOf(pid: number): Promise<string[]> {
  return (await readText(`/proc/${pid}/cmdline`))?.split('\0') ?? [];
}

/** Every process there is. */
export async function processIds(): Promise<number[]> {
  return (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
}

/** Thread ids of QEMU's virtual processors in their order. QEMU names them `CPU 0/KVM` (-name debug-threads=on). */
export async function vcpuThreadIds(pid: number): Promise<number[]> {
  const tids = await readdir(`/proc/${pid}/task`).catch(() => []);
  const named = await Promise.all(
    tids.map(async (tid) => ({
      tid: Number(tid),
      comm: (await readText(`/proc/${pid}/task/${tid}/comm`)) ?? '',
    })),
  );
  const vcpus = named.flatMap(({ tid, comm }) => {
    const index = /^CPU (\d+)\/(?:KVM|TCG)\n?$/.exec(comm)?.[1];
    return index === undefined ? [] : [{ tid, index: Number(index) }];
  });
  return vcpus.toSorted((a, b) => a.index - b.index).map(({ tid }) => tid);
}

/**
 * Reads a machine's threads; `processState` is null when the process is gone or is another one by now. Whether it is
 * frozen is not written there; see freezer.ts.
 * Synchronously, 15 microseconds a file: these files take no lock that the process could hold, whatever state it is in,
 * and through the thread pool they cost ten times as much.
 */
export function sampleProcess(
  clock: Clock,
  record: ProcessRecord,
  vcpuTids: readonly number[],
  frozen: boolean,
): ProcessSample {
  const atMs = clock.monotonicMs();
  const stat = parseStat(readNow(`/proc/${record.pid}/stat`) ?? '');
  if (stat === null || stat.startTicks !== record.startTicks) {
    return { atMs, processState: null, vcpus: [], mainLoop: null, frozen: false };
  }
  return {
    atMs,
    processState: stat.state,
    vcpus: vcpuTids.flatMap((tid) => {
      const thread = parseStat(readNow(`/proc/${record.pid}/task/${tid}/stat`) ?? '');
      return thread === null ? [] : [{ tid, ...sampleThread(record.pid, tid, thread) }];
    }),
    // The process's state is that of its first thread, which is QEMU's main loop.
    mainLoop: sampleThread(record.pid, record.pid, stat),
    frozen,
  };
}

function sampleThread(pid: number, tid: number, stat: ProcessStat): NonNullable<ProcessSample['mainLoop']> {
  const [run, delay] = (readNow(`/proc/${pid}/task/${tid}/schedstat`) ?? '').split(' ').map(Number);
  // Kernels without scheduler statistics still count ticks, but no delay.
  if (run === undefined || delay === undefined || !Number.isFinite(run) || !Number.isFinite(delay)) {
    return { state: stat.state, runNs: stat.cpuTicks * nsPerTick, runDelayNs: 0 };
  }
  return { state: stat.state, runNs: run, runDelayNs: delay };
}

/** What readNow() reads is shorter than this. */
const scratch = Buffer.alloc(2_048);

/**
 * A small file of the kernel's (one line of /proc, the state of a control group); null when whom it tells of is gone.
 * Errors: the system's, such as EMFILE: what cannot be read is not gone.
 */
export function readNow(path: string): string | null {
  try {
    const file = openSync(path, 'r');
    try {
      return scratch.toString('latin1', 0, readSync(file, scratch, 0, scratch.length, 0));
    } finally {
      closeSync(file);
    }
  } catch (error) {
    return nullWhenGone(error);
  }
}

function nullWhenGone(error: unknown): null {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  // Another user's process is none of ours either.
  if (['ENOENT', 'ESRCH', 'ENODEV', 'ENOTDIR', 'EACCES', 'EPERM'].includes(code)) return null;
  throw error;
}

/** Null when the process is gone, whichever way the kernel says it. Errors: as readNow. */
async function readText(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    return nullWhenGone(error);
  }
}
