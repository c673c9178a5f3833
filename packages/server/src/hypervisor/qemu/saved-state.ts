/**
 * A machine's saved state on disk: `saved-state`, QEMU's migration stream, complete or not there at all, and beside
 * it `saved-state.json`, the hardware it was made with: it fits no other. `hardware.json` is what the present process
 * was started with, kept in a file because a service that adopted the process did not start it.
 * Steps of a save: .partial (being written) -> .written (its writer succeeded) -> fsync -> saved-state.
 */
import { existsSync } from 'node:fs';
import { open, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { type CompleteVmConfiguration, VmError } from '@vmpulse/wire';
import { machineFiles } from './command-line.ts';

/** The part of a configuration that a saved state depends on. */
type Hardware = Pick<
  CompleteVmConfiguration,
  'memoryMiB' | 'cpus' | 'boot' | 'disks' | 'networks' | 'vnc' | 'watchdog'
> & {
  accelerator: string;
};

/** A machine's saved state in `directory`. */
export class SavedState {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** What QEMU runs to write its state. `mv` only follows a `cat` that wrote everything. */
  get writeCommand(): string {
    const { partial, written } = names;
    return `umask 077 && rm -f ${written} && cat > ${partial} && mv ${partial} ${written}`;
  }

  /** A save begins: from here on what QEMU writes is known for it, by a later service too. */
  async begin(): Promise<void> {
    await (await open(this.#path(names.partial), 'w', 0o600)).close();
  }

  /** Is what QEMU writes, or has written, a save? If not, someone else migrates the machine. Synchronously. */
  isBegun(): boolean {
    const list = [names.partial, names.written, machineFiles.savedState];
    return list.some((name) => existsSync(this.#path(name)));
  }

  /** What QEMU runs to read it. */
  get readCommand(): string {
    return `cat ${machineFiles.savedState}`;
  }

  exists(): Promise<boolean> {
    return this.#has(machineFiles.savedState);
  }

  /** The writer succeeded; commit() is what is left. */
  isWritten(): Promise<boolean> {
    return this.#has(names.written);
  }

  /** Remembers what the machine is started with. */
  async describe(configuration: CompleteVmConfiguration, accelerator: string): Promise<void> {
    await this.#write(names.hardware, `${JSON.stringify(hardwareOf(configuration, accelerator), null, 2)}\n`);
  }

  /** Makes what was written durable, and then the saved state, in one step. */
  async commit(): Promise<void> {
    await this.#sync(names.written);
    await this.#write(names.metadata, await readFile(this.#path(names.hardware), 'utf8'));
    await rename(this.#path(names.written), this.#path(machineFiles.savedState));
    await this.#sync('.');
  }

  /**
   * Errors: VM_E_VM_NO_SAVED_STATE, VM_E_PREF_SAVED_STATE_BAD_VERSION when the machine's hardware is not that it was
   * saved with.
   */
  async check(configuration: CompleteVmConfiguration, accelerator: string): Promise<void> {
    if (!(await this.exists()))
      throw new VmError('VM_E_VM_NO_SAVED_STATE', 'The machine has no saved state.');
    const saved = await this.#metadata();
    // As it would be stored; in which order the keys of a disk are given makes no other disk of it.
    const present = JSON.parse(JSON.stringify(hardwareOf(configuration, accelerator))) as Record<
      string,
      unknown
    >;
    const differing = Object.keys(present).filter((key) => !isDeepStrictEqual(saved[key], present[key]));
    if (differing.length === 0) return;
    const changes = differing.map((key) => `${key} (was ${JSON.stringify(saved[key])})`).join(', ');
    throw new VmError(
      'VM_E_PREF_SAVED_STATE_BAD_VERSION',
      `The saved state was made with another ${changes}: set it back, or discard the saved state.`,
    );
  }

  /**
   * The guest is about to run: from now on its disks move on without the saved state, which must never be restored
   * again. It is kept aside until discardSpent().
   */
  async spend(): Promise<void> {
    await rename(this.#path(machineFiles.savedState), this.#path(names.spent)).catch(ignoreMissing);
  }

  /** The guest did not run after all. */
  async unspend(): Promise<void> {
    await rename(this.#path(names.spent), this.#path(machineFiles.savedState)).catch(ignoreMissing);
  }

  async discardSpent(): Promise<void> {
    await this.#remove(names.spent, names.metadata);
  }

  /** What a cancelled or failed save left. */
  async discardPartial(): Promise<void> {
    await this.#remove(names.partial, names.written);
  }

  async discard(): Promise<void> {
    await this.#remove(machineFiles.savedState, names.metadata, names.partial, names.written, names.spent);
  }

  async #metadata(): Promise<Record<string, unknown>> {
    try {
      return JSON.parse(await readFile(this.#path(names.metadata), 'utf8')) as Record<string, unknown>;
    } catch (error) {
      const text = `The saved state's description ${names.metadata} cannot be read; discard the saved state.`;
      throw new VmError('VM_E_PREF_SAVED_STATE_BAD_VERSION', text, { cause: error });
    }
  }

  async #has(name: string): Promise<boolean> {
    return stat(this.#path(name)).then(
      () => true,
      () => false,
    );
  }

  async #write(name: string, text: string): Promise<void> {
    const file = await open(this.#path(name), 'w', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
  }

  async #sync(name: string): Promise<void> {
    const file = await open(this.#path(name), 'r');
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  }

  async #remove(...list: string[]): Promise<void> {
    await Promise.all(list.map((name) => rm(this.#path(name), { force: true })));
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }
}

const names = {
  partial: `${machineFiles.savedState}.partial`,
  written: `${machineFiles.savedState}.written`,
  spent: `${machineFiles.savedState}.spent`,
  metadata: `${machineFiles.savedState}.json`,
  hardware: 'hardware.json',
} as const;

function hardwareOf(configuration: CompleteVmConfiguration, accelerator: string): Hardware {
  const { memoryMiB, cpus, boot, disks, networks, vnc, watchdog } = configuration;
  return { memoryMiB, cpus, boot, disks, networks, vnc, watchdog, accelerator };
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}
