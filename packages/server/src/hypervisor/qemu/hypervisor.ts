/**
 * The QEMU adapter. Each machine is a QEMU process of its own in DIR/vms/<uuid>/, which outlives the service.
 */
import { realpathSync } from 'node:fs';
import { access, constants, mkdir, realpath, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type CompleteVmConfiguration, VmError } from '@vmpulse/wire';
import type { Clock } from '../../clock.ts';
import { qemuStartTimeoutMs, reconnectMinMs } from '../../limits.ts';
import { socketAddress } from '../../socket-path.ts';
import type {
  Adoption,
  Hypervisor,
  HypervisorCapabilities,
  HypervisorInfo,
  ProcessRecord,
  RunningMachine,
  StartRequest,
} from '../hypervisor.ts';
import { guestPortsOf } from './guest-ports.ts';
import { machineFiles, qemuArguments } from './command-line.ts';
import { byPidFile, findProcess, ProcessSearch } from './find-process.ts';
import { QemuMachine } from './machine.ts';
import { releaseMemoryDump } from './memory-dump.ts';
import { readState } from './migration.ts';
import { isAlive } from './proc.ts';
import type { Probe } from './probe.ts';
import { rememberedProbe } from './probe-memory.ts';
import { endedAtStart, missing, spawnQemu, stderrTail } from './process.ts';
import { QmpRefusal } from './qmp.ts';
import { SavedState } from './saved-state.ts';

/** What the adapter needs. */
export interface QemuHypervisorOptions {
  /** The data directory. */
  readonly directory: string;
  readonly clock: Clock;
  readonly logger?: Pick<Console, 'info' | 'warn'>;
  /** Default `qemu-system-x86_64`. */
  readonly binary?: string;
}

/** What was found for each binary: the host does not change while the service runs. */
const probes = new Map<string, Promise<Probe>>();

/** Longest pause between attempts to reach a starting QEMU. */
const maxConnectPauseMs = 20;

/** Hypervisor over QEMU processes. Errors of the constructor: VMPULSE_E_DATA_DIRECTORY when its path is too long. */
export class QemuHypervisor implements Hypervisor {
  readonly kind = 'qemu';
  readonly capabilities: HypervisorCapabilities = { save: true, injectNmi: true, sample: true };
  readonly #directory: string;
  readonly #clock: Clock;
  readonly #logger: Pick<Console, 'info' | 'warn'> | undefined;
  readonly #binary: string;
  readonly #search: ProcessSearch;
  #probeTold = false;

  constructor(options: QemuHypervisorOptions) {
    this.#directory = join(resolve(options.directory), 'vms');
    this.#clock = options.clock;
    this.#search = new ProcessSearch(options.clock);
    this.#logger = options.logger;
    this.#binary = options.binary ?? 'qemu-system-x86_64';
    // Its longest socket name, so that a directory that is too deep is told now and not at the first start.
    socketAddress(join(this.#directory, '00000000-0000-0000-0000-000000000000', machineFiles.heartbeat));
  }

  async probe(): Promise<HypervisorInfo> {
    const binary = this.#binary;
    const probe = probes.get(binary) ?? rememberedProbe(join(this.#directory, '..'), binary, this.#clock);
    probes.set(binary, probe);
    try {
      const { accelerator, acceleratorReason, version, lasting } = await probe;
      // A missing QEMU may be installed, and a full disk emptied, while the service runs.
      if (!lasting) probes.delete(binary);
      this.#tellProbe({ accelerator, acceleratorReason, version });
      return { accelerator, acceleratorReason, version };
    } catch (error) {
      probes.delete(binary);
      throw error;
    }
  }

  async start(request: StartRequest): Promise<RunningMachine> {
    const { vmId, configuration, restore, signal } = request;
    const { directory } = this.files(vmId);
    const accelerator = await this.#accelerator();
    await checkFiles(configuration);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    if ((await byPidFile(vmId, await realpath(directory))) !== null) {
      throw new VmError('VM_E_VM_RUNNING', 'A QEMU process of this machine is there already.');
    }
    const state = new SavedState(directory);
    if (restore) await state.check(configuration, accelerator);
    else if (await state.exists()) {
      throw new VmError('E_FAIL', 'The machine has a saved state: restore it, or discard it first.');
    }
    await state.discardPartial();
    await state.describe(configuration, accelerator);
    if (signal.aborted) throw cancelled();
    const commandLine = qemuArguments({ vmId, configuration, accelerator, restore });
    const { binary, clock } = { binary: this.#binary, clock: this.#clock };
    const { child, record } = await spawnQemu({ binary, commandLine, directory, accelerator, clock });
    request.onSpawned(record);
    const machine = new QemuMachine({ record, clock, child });
    try {
      await this.#bringUp(machine, restore, signal);
      return machine;
    } catch (error) {
      throw await this.#failedStart(machine, error);
    }
  }

  async adopt(vmId: string, record: ProcessRecord | null): Promise<Adoption> {
    const { directory } = this.files(vmId);
    const real = realPathNow(directory);
    // A process has its directory. One that lost it is told by its record alone.
    if (real === null && record === null) return { kind: 'gone', stderr: '' };
    let found = await findProcess(vmId, real ?? directory, record);
    if (found === null && record === null) found = await this.#search.find(vmId, real ?? directory);
    if (found === null) return { kind: 'gone', stderr: stderrTail(directory) };
    const machine = new QemuMachine({ record: { ...found, directory }, clock: this.#clock, child: null });
    await machine.learnThreads();
    await releaseMemoryDump(directory);
    try {
      await machine.link.connect();
      const runState = await machine.runState();
      if (runState !== 'restoring') await machine.watchMigrations();
      const guestPorts = guestPortsOf(await machine.link.execute('query-chardev'));
      return { kind: 'running', machine, runState, ...(guestPorts === undefined ? {} : { guestPorts }) };
    } catch (error) {
      return this.#adoptUnseen(machine, error);
    }
  }

  files(vmId: string): ReturnType<Hypervisor['files']> {
    // The id becomes a path: nothing but a UUID may.
    if (!/^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i.test(vmId)) {
      throw new VmError('E_INVALIDARG', `${JSON.stringify(vmId)} is not a machine's UUID.`);
    }
    const directory = join(this.#directory, vmId);
    return {
      directory,
      serialLog: join(directory, machineFiles.serialLog),
      serialSocket: join(directory, machineFiles.serial),
      vncSocket: join(directory, machineFiles.vnc),
      savedState: join(directory, machineFiles.savedState),
    };
  }

  async hasSavedState(vmId: string): Promise<boolean> {
    return new SavedState(this.files(vmId).directory).exists();
  }

  async discardSavedState(vmId: string): Promise<void> {
    await new SavedState(this.files(vmId).directory).discard();
  }

  async remove(vmId: string): Promise<void> {
    const { directory } = this.files(vmId);
    const real = await realpath(directory).catch(() => directory);
    if ((await byPidFile(vmId, real)) !== null) {
      throw new VmError(
        'VM_E_VM_RUNNING',
        'A QEMU process of this machine still lives; turn the machine off first.',
      );
    }
    await rm(directory, { recursive: true, force: true });
  }

  async #accelerator(): Promise<'kvm' | 'tcg'> {
    const { accelerator, acceleratorReason } = await this.probe();
    if (accelerator !== null) return accelerator;
    throw new VmError('VMPULSE_E_HYPERVISOR', acceleratorReason ?? missing(this.#binary, null).message);
  }

  /** Once: guests under tcg are many times slower, and whoever wonders why finds it in the log. */
  #tellProbe({ accelerator, acceleratorReason, version }: HypervisorInfo): void {
    if (this.#probeTold || accelerator === null) return;
    this.#probeTold = true;
    const told = `QEMU ${version ?? 'of an unknown version'} runs guests with ${accelerator}.`;
    if (acceleratorReason === null) this.#logger?.info(told);
    else this.#logger?.warn(`${told} ${acceleratorReason}`);
  }

  async #bringUp(machine: QemuMachine, restore: boolean, signal: AbortSignal): Promise<void> {
    await this.#connect(machine, signal);
    await machine.learnThreads();
    if (restore) await readState(machine.link, machine.savedState, this.#clock, signal);
    if (signal.aborted) throw cancelled();
    await machine.watchMigrations();
    if (restore) await machine.savedState.spend();
    try {
      await machine.link.execute('cont');
    } catch (error) {
      // A guest of which it is not known whether it ran must not be restored from where it was before.
      if (restore && error instanceof QmpRefusal) await machine.savedState.unspend();
      throw error;
    }
    await machine.savedState.discardSpent();
  }

  /** Tries until QEMU's monitor answers, its process is gone, or the deadline. */
  async #connect(machine: QemuMachine, signal: AbortSignal): Promise<void> {
    const startMs = this.#clock.monotonicMs();
    for (let pauseMs = reconnectMinMs; ; pauseMs = Math.min(pauseMs * 2, maxConnectPauseMs)) {
      await this.#clock.sleep(pauseMs, signal);
      if (signal.aborted) throw cancelled();
      if (machine.ended) throw new VmError('VMPULSE_E_HYPERVISOR', 'QEMU ended.');
      const leftMs = startMs + qemuStartTimeoutMs - this.#clock.monotonicMs();
      if (leftMs <= 0) {
        throw new VmError(
          'VM_E_TIMED_OUT',
          `QEMU did not answer within ${qemuStartTimeoutMs / 1_000} s; it was killed.`,
        );
      }
      const connected = await machine.link.connect(leftMs).then(
        () => true,
        () => false,
      );
      if (connected) return;
    }
  }

  /** Leaves no process behind, and says why: a QEMU that ended knows best. */
  async #failedStart(machine: QemuMachine, error: unknown): Promise<unknown> {
    // A broken connection is seen a moment before the end that explains it.
    if (!machine.ended && machine.link.lost) await this.#clock.sleep(maxConnectPauseMs);
    if (machine.ended) {
      const end = await machine.exited;
      return isAbort(error) ? error : endedAtStart(machine.record.directory, end);
    }
    await machine.kill().catch((stuck: unknown) => this.#logger?.warn(String(stuck)));
    return error;
  }

  async #adoptUnseen(machine: QemuMachine, error: unknown): Promise<Adoption> {
    if (!(await isAlive(machine.record))) {
      await machine.detach();
      return { kind: 'gone', stderr: stderrTail(machine.record.directory) };
    }
    const reason = error instanceof Error ? error.message : String(error);
    machine.link.beginLost(reason);
    this.#logger?.warn(`Process ${machine.record.pid} of an adopted machine does not answer: ${reason}`);
    return { kind: 'running', machine, runState: 'other' };
  }
}

/** Null when there is none. Synchronously: a thousand are asked for at once, and a thread takes ten times as long. */
function realPathNow(directory: string): string | null {
  try {
    return realpathSync.native(directory);
  } catch {
    return null;
  }
}

async function checkFiles({ boot, disks }: CompleteVmConfiguration): Promise<void> {
  for (const file of [boot?.kernel, boot?.initrd])
    if (file !== undefined) await checkFile(file, constants.R_OK);
  for (const { file, readOnly } of disks) {
    await checkFile(file, readOnly === true ? constants.R_OK : constants.R_OK | constants.W_OK);
  }
}

async function checkFile(file: string, mode: number): Promise<void> {
  try {
    await access(file, mode);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EACCES') {
      throw new VmError(
        'E_ACCESSDENIED',
        `${file} may not be opened; give its permissions to the user of vmpulse.`,
        {
          cause: error,
        },
      );
    }
    throw new VmError('E_FILE_NOT_FOUND', `There is no file ${file}; correct the machine's configuration.`, {
      cause: error,
    });
  }
}

function isAbort(error: unknown): boolean {
  return error instanceof VmError && error.code === 'E_ABORT';
}

function cancelled(): VmError {
  return new VmError('E_ABORT', 'The start was cancelled.');
}
