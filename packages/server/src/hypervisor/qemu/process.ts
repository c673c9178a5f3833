/**
 * Starts QEMU so that it outlives the service: a session of its own (no signal of our terminal or process group
 * reaches it), no pipe to us (it never gets SIGPIPE), its stderr in a file.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { VmError } from '@vmpulse/wire';
import type { Clock } from '../../clock.ts';
import { maxStderrBytes } from '../../limits.ts';
import { makeOrdinary } from '../../process-priority.ts';
import type { ProcessRecord } from '../hypervisor.ts';
import { machineFiles } from './command-line.ts';
import { bootId, isAlive, parseStat } from './proc.ts';

/** How a process ended; both null where nobody can know (it was not our child). */
export interface ProcessEnd {
  readonly exitCode: number | null;
  readonly signal: string | null;
}

/** What it takes to start one. */
export interface SpawnRequest {
  readonly binary: string;
  readonly commandLine: readonly string[];
  readonly directory: string;
  readonly accelerator: 'kvm' | 'tcg';
  readonly clock: Clock;
}

/** A child that was just started. */
export interface SpawnedProcess {
  readonly record: ProcessRecord;
  readonly child: ChildProcess;
}

/**
 * Starts QEMU in its machine's directory. Errors: VMPULSE_E_HYPERVISOR when there is no such program or the system
 * refuses to start it.
 */
export async function spawnQemu(request: SpawnRequest): Promise<SpawnedProcess> {
  const { binary, directory, clock } = request;
  const boot = await bootId();
  const path = join(directory, machineFiles.stderr);
  await (await open(path, 'w', 0o600)).close();
  // Appending, so that the file can be cut while QEMU writes to it.
  const output = await open(path, 'a');
  try {
    const child = spawn(binary, request.commandLine, {
      cwd: directory,
      detached: true,
      stdio: ['ignore', output.fd, output.fd],
    });
    await spawned(child, binary);
    child.unref();
    const pid = child.pid ?? 0;
    makeOrdinary(pid);
    // At once and synchronously: our child can not be reaped, and its pid not be another's, before this turn ends.
    const startTicks = parseStat(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.startTicks ?? 0;
    const startedAt = new Date(clock.wallMs()).toISOString();
    return {
      child,
      record: { pid, startTicks, bootId: boot, directory, accelerator: request.accelerator, startedAt },
    };
  } finally {
    await output.close();
  }
}

/** Sends SIGKILL to the process of `record`, if it is still that one. */
export async function killProcess(record: ProcessRecord): Promise<void> {
  if (!(await isAlive(record))) return;
  try {
    process.kill(record.pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw startError('end', error);
  }
}

/**
 * The end of what QEMU said, at most `maxStderrBytes`; empty when there is nothing. Synchronously: it is a small read
 * of a file just written, on the way of the one event that must be fast.
 */
export function stderrTail(directory: string): string {
  try {
    const file = openSync(join(directory, machineFiles.stderr), 'r');
    try {
      const { size } = fstatSync(file);
      const start = Math.max(0, size - maxStderrBytes);
      const buffer = Buffer.alloc(size - start);
      return buffer.toString('utf8', 0, readSync(file, buffer, 0, buffer.length, start)).trim();
    } finally {
      closeSync(file);
    }
  } catch {
    return '';
  }
}

/** The error for a QEMU that ended before it ran, in its own words. */
export function endedAtStart(directory: string, end: ProcessEnd): VmError {
  const how = end.signal === null ? `with exit status ${end.exitCode ?? 'unknown'}` : `by ${end.signal}`;
  const words = withoutStamps(stderrTail(directory));
  const said = words === '' ? 'it said nothing' : `it said: ${words}`;
  return new VmError('VMPULSE_E_HYPERVISOR', `QEMU ended ${how} before the guest ran; ${said}`);
}

function withoutStamps(text: string): string {
  return text.replaceAll(/^\d{4}-\d{2}-\d{2}T[\d:.]+Z /gm, '');
}

function spawned(child: ChildProcess, binary: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'ENOENT' ? missing(binary, error) : startError('start', error));
    });
  });
}

/** The error for a QEMU that is not installed. */
export function missing(binary: string, cause: unknown): VmError {
  const text = `${binary} is not installed; install it with: apt-get install qemu-system-x86`;
  return new VmError('VMPULSE_E_HYPERVISOR', text, { cause });
}

function startError(what: string, error: unknown): VmError {
  const reason = error instanceof Error ? error.message : String(error);
  return new VmError('VMPULSE_E_HYPERVISOR', `The system refused to ${what} QEMU: ${reason}`, {
    cause: error,
  });
}
