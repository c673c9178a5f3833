/**
 * Evidence: what there is to know of a guest before it is reset, kept in DIR/incidents/<seq>/. Each part has a deadline
 * of its own, and one that fails is told as missing; nothing here ever keeps a machine from being recovered.
 */
import { constants } from 'node:fs';
import {
  type FileHandle,
  lstat,
  mkdir,
  open,
  readFile,
  readdir,
  rm,
  statfs,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { type IncidentInfo, VmError, type VmInfo } from '@vmpulse/wire';
import { type Clock, withDeadline } from '../clock.ts';
import type { RunningMachine } from '../hypervisor/hypervisor.ts';
import {
  evidencePartTimeoutMs,
  evidenceTimeoutMs,
  freeBytesAfterDump,
  maxIncidentBytes,
  maxIncidents,
  maxMemoryDumpBytes,
  maxParallelEvidence,
  maxScreenshotBytes,
  maxSerialEvidenceBytes,
  memoryDumpMarginBytes,
  memoryDumpReleaseTimeoutMs,
  memoryDumpTimeoutMs,
} from '../limits.ts';
import { type Gate, gate } from '../vm/gate.ts';
import type { IncidentService } from '../vm/incident-service.ts';
import type { RecoverableMachine } from '../vm/recoverable.ts';
import type { Incident } from './record.ts';
import type { EvidenceGatherer } from './step.ts';

const summary = 'incident.json';
/** memory.kdump or memory.elf, as the hypervisor can. */
const memoryStem = 'memory';

/** What evidence is gathered with. */
export interface EvidencePorts {
  readonly clock: Clock;
  /** DIR/incidents, absolute; made when it is needed. */
  readonly directory: string;
  readonly machines: { recoverable(vm: string): Pick<RecoverableMachine, 'process'> };
  /** How large a dump of the machine's memory may be, MiB; null: none is wanted. */
  readonly memoryDumpMiB: (vm: VmInfo) => number | null;
}

/** Gathers evidence, keeps it for a time, and shows it. */
export class Incidents implements EvidenceGatherer, IncidentService {
  readonly #ports: EvidencePorts;
  #gathering = 0;
  readonly #written = new Set<number>();
  readonly #queue: Gate[] = [];
  /** What the dumps under way may need, bytes. */
  #reserved = 0;

  constructor(ports: EvidencePorts) {
    this.#ports = ports;
  }

  async gather(vm: VmInfo, incident: Incident, stillWanted = (): boolean => true): Promise<string> {
    await this.#turn();
    this.#written.add(incident.stoppedSeq);
    try {
      if (!stillWanted()) return 'nothing was kept: the stop was over';
      return await this.#gather(vm, incident, stillWanted);
    } finally {
      this.#written.delete(incident.stoppedSeq);
      this.#gathering -= 1;
      this.#queue.shift()?.open();
    }
  }

  timeoutMs(vm: VmInfo): number {
    const dumpMs =
      this.#ports.memoryDumpMiB(vm) === null ? 0 : memoryDumpTimeoutMs + memoryDumpReleaseTimeoutMs;
    return evidenceTimeoutMs + dumpMs;
  }

  async list(): Promise<IncidentInfo[]> {
    const found = await Promise.all((await this.#seqs()).map((seq) => this.#read(seq)));
    return found.filter((incident) => incident !== null).toReversed();
  }

  async get(seq: string): Promise<IncidentInfo> {
    const found = /^[1-9]\d{0,15}$/u.test(seq) ? await this.#read(Number(seq)) : null;
    if (found !== null) return found;
    const shown = seq.slice(0, 20);
    throw new VmError(
      'VMPULSE_E_NOT_FOUND',
      `There is no incident '${shown}'; vmpulse incident list shows all.`,
    );
  }

  async file(seq: string, name: string): Promise<{ bytes: number; handle: FileHandle }> {
    const incident = await this.get(seq);
    const gone = (): VmError => {
      const names = incident.files.map((each) => each.name).join(', ') || 'none';
      return new VmError('VMPULSE_E_NOT_FOUND', `Incident ${seq} has no such file; its files: ${names}.`);
    };
    // Only what the summary names is read: no path leads out of the incident, and no link that somebody put there.
    const file = incident.files.find((each) => each.name === name);
    if (file === undefined || !isPlain(file.name)) throw gone();
    const path = join(this.#ports.directory, String(incident.seq), file.name);
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const handle = await open(path, flags).catch(() => {
      throw gone();
    });
    const found = await handle.stat();
    if (found.isFile()) return { bytes: found.size, handle };
    await handle.close();
    throw gone();
  }

  /** A host full of guests that died together is not asked for all of them at once. */
  async #turn(): Promise<void> {
    if (this.#gathering >= maxParallelEvidence) {
      const waiting = gate();
      this.#queue.push(waiting);
      await waiting.passed;
    }
    this.#gathering += 1;
  }

  async #gather(vm: VmInfo, { stoppedSeq, verdict }: Incident, stillWanted: () => boolean): Promise<string> {
    const { clock, directory, machines } = this.#ports;
    const folder = join(directory, String(stoppedSeq));
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const { process } = machines.recoverable(vm.id);
    const missing: IncidentInfo['missing'] = [];
    const part = async (name: string, write: (file: string) => Promise<void>): Promise<void> => {
      const late = (): VmError =>
        new VmError('VM_E_TIMED_OUT', `not had within ${evidencePartTimeoutMs / 1_000} s`);
      try {
        await withDeadline(clock, write(join(folder, name)), evidencePartTimeoutMs, late);
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        missing.push({ name, reason: reason.slice(0, 500) });
      }
    };
    await Promise.all([
      part('serial.log', (file) => keepTail(vm.files.serialLog, file)),
      part('screen.png', async (file) => {
        await needed(process?.screenshot?.(file));
        await requireSmall(file, maxScreenshotBytes);
      }),
      part('registers.txt', async (file) => writeFile(file, await needed(process?.registers?.()))),
      part('state.json', (file) => keepState(process, vm, file)),
    ]);
    // Last: the guest stands still for it.
    const undumped = await this.#dump(vm, process, join(folder, memoryStem), stillWanted);
    if (undumped !== null) missing.push({ name: memoryStem, reason: undumped.slice(0, 500) });
    const files = await filesOf(folder);
    const at = new Date(clock.wallMs()).toISOString();
    const info: IncidentInfo = {
      seq: stoppedSeq,
      vm: { id: vm.id, name: vm.name },
      at,
      verdict,
      files: files.filter(({ name }) => !missing.some((each) => each.name === name)),
      missing,
    };
    await writeFile(join(folder, summary), JSON.stringify(info, null, 2), { mode: 0o600 });
    await this.#retain(stoppedSeq);
    const kept = info.files.map(({ name }) => name).join(', ') || 'nothing';
    const lost = missing.map(({ name, reason }) => `${name} (${reason})`).join(', ');
    return `kept ${kept}${lost === '' ? '' : `; without ${lost}`}`.slice(0, 500);
  }

  /** Dumps the guest's memory where the policy says so; answers why there is none. */
  async #dump(
    vm: VmInfo,
    process: RunningMachine | null,
    stem: string,
    stillWanted: () => boolean,
  ): Promise<string | null> {
    const { clock, directory, memoryDumpMiB } = this.#ports;
    const most = memoryDumpMiB(vm);
    if (most === null) return null;
    const late = new AbortController();
    const timer = clock.setTimer(() => late.abort(), memoryDumpTimeoutMs);
    let reserved = 0;
    const overdue = (): VmError =>
      new VmError('VM_E_TIMED_OUT', `not had within ${memoryDumpTimeoutMs / 1_000} s`);
    try {
      const needs = vm.memoryMiB * 1024 ** 2 + memoryDumpMarginBytes;
      const maxBytes = most * 1024 ** 2;
      const mebibytes = Math.ceil(needs / 1024 ** 2);
      if (needs > maxBytes) return `it may need ${mebibytes} MiB, and the policy allows ${most} MiB`;
      const { bavail, bsize } = await statfs(directory);
      if (!stillWanted()) return 'the stop was over';
      if (this.#reserved + needs + freeBytesAfterDump > bavail * bsize) {
        return `it may need ${mebibytes} MiB, and the disk has ${Math.floor((bavail * bsize) / 1024 ** 2)} MiB free`;
      }
      reserved = needs;
      this.#reserved += reserved;
      const writing = needed(process?.dumpMemory?.(stem, maxBytes, late.signal));
      await withDeadline(clock, writing, memoryDumpTimeoutMs + memoryDumpReleaseTimeoutMs, overdue);
      return null;
    } catch (error) {
      if (late.signal.aborted) return overdue().message;
      return error instanceof Error ? error.message : String(error);
    } finally {
      this.#reserved -= reserved;
      timer.cancel();
    }
  }

  async #seqs(): Promise<number[]> {
    const names = await readdir(this.#ports.directory).catch(() => []);
    return names
      .filter((name) => /^[1-9]\d{0,15}$/u.test(name))
      .map(Number)
      .toSorted((a, b) => a - b);
  }

  async #read(seq: number): Promise<IncidentInfo | null> {
    try {
      const text = await readFile(join(this.#ports.directory, String(seq), summary), 'utf8');
      const info = JSON.parse(text) as IncidentInfo;
      const kept = await filesOf(join(this.#ports.directory, String(seq)));
      const isThere = ({ name }: { name: string }): boolean => kept.some((each) => each.name === name);
      const removed = info.files.filter((file) => !isThere(file));
      const missing = removed.map(({ name }) => ({
        name,
        reason: 'taken away, to make room for newer ones',
      }));
      return { ...info, files: info.files.filter(isThere), missing: [...info.missing, ...missing] };
    } catch {
      // One that was cut off by the end of the service has no summary.
      return null;
    }
  }

  /** Takes the oldest away until count and bytes are within their bounds; never the one just kept. */
  async #retain(newest: number): Promise<void> {
    const { directory } = this.#ports;
    let [count, bytes, dumped] = [0, 0, 0];
    for (const seq of (await this.#seqs()).toReversed()) {
      const folder = join(directory, String(seq));
      count += 1;
      const files = await filesOf(folder);
      const sum = (list: IncidentInfo['files']): number => list.reduce((all, file) => all + file.bytes, 0);
      const dumps = files.filter(({ name }) => isDump(name));
      dumped += sum(dumps);
      bytes += sum(files) - sum(dumps);
      if (seq === newest) continue;
      // What a service left that ended in the middle of a dump.
      if (!this.#written.has(seq)) await rm(join(folder, `${memoryStem}.partial`), { force: true });
      // A dump is as large as hundreds of incidents are without: it goes by itself.
      if (dumped > maxMemoryDumpBytes) {
        for (const { name } of dumps) await rm(join(folder, name), { force: true });
      }
      const fits = count <= maxIncidents && bytes <= maxIncidentBytes;
      if (!fits) await rm(folder, { recursive: true, force: true });
    }
  }
}

function isDump(name: string): boolean {
  return name === `${memoryStem}.kdump` || name === `${memoryStem}.elf`;
}

/** Not what is only being written, nor what tells of the others. */
function isKept(name: string): boolean {
  return name !== summary && !name.endsWith('.partial');
}

/** A file's own name, and no path. */
function isPlain(name: string): boolean {
  return /^[\w-][\w.-]{0,100}$/u.test(name);
}

/** Errors: E_NOTIMPL where there is nobody to give it. */
async function needed<T>(given: Promise<T> | undefined): Promise<T> {
  if (given === undefined) throw new VmError('E_NOTIMPL', 'the machine has no process that could give it');
  return given;
}

/** Regular files only. */
async function filesOf(folder: string): Promise<IncidentInfo['files']> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => isKept(name) && isPlain(name));
  const files = await Promise.all(
    names.map(async (name) => {
      const found = await lstat(join(folder, name)).catch(() => null);
      return found?.isFile() === true ? [{ name, bytes: found.size }] : [];
    }),
  );
  return files.flat().toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** Errors: VM_E_FILE_TOO_LARGE_FOR_VOLUME; the file is removed then. */
async function requireSmall(file: string, maxBytes: number): Promise<void> {
  const { size } = await lstat(file);
  if (size <= maxBytes) return;
  await rm(file, { force: true });
  throw new VmError('VM_E_FILE_TOO_LARGE_FOR_VOLUME', `it has ${size} bytes; ${maxBytes} are kept at most`);
}

/** Copies the last of a log. */
async function keepTail(from: string, to: string): Promise<void> {
  const log = await open(from, 'r');
  try {
    const { size } = await log.stat();
    const length = Math.min(size, maxSerialEvidenceBytes);
    const { buffer, bytesRead } = await log.read(Buffer.alloc(length), 0, length, size - length);
    await writeFile(to, buffer.subarray(0, bytesRead), { mode: 0o600 });
  } finally {
    await log.close();
  }
}

/** Run state, counters and processor time; what does not answer is told in its place. */
async function keepState(process: RunningMachine | null, vm: VmInfo, file: string): Promise<void> {
  const ask = async (answer: Promise<unknown> | undefined): Promise<unknown> => {
    try {
      return (await answer) ?? null;
    } catch (error) {
      return { error: VmError.from(error).message };
    }
  };
  const [runState, counters, sample] = await Promise.all([
    ask(process?.runState()),
    ask(process?.counters()),
    ask(process?.sample()),
  ]);
  const state = { state: vm.state, guest: vm.guest, runState, counters, sample };
  await writeFile(file, JSON.stringify(state, null, 2), { mode: 0o600 });
}
