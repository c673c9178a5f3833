/** The flags that describe a machine, for `vm create` and `vm change`. */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import {
  type BootConfiguration,
  type DiskConfiguration,
  type VmChange,
  type VmInfo,
  VmError,
} from '@vmpulse/client';
import { type Command, InvalidArgumentError, Option } from 'commander';

/** As commander hands them over. */
export interface MachineFlags {
  memory?: number;
  cpus?: number;
  kernel?: string;
  initrd?: string;
  cmdline?: string;
  disk?: string[];
  interval?: number;
  watchdog?: true | 'reset' | 'pause' | 'none';
  autostart?: true | 'never' | 'always' | 'ifRunningAtQuit';
  file?: string;
}

/** What is described besides the name; the same for a new machine and for a change. */
export type MachineDescription = Omit<VmChange, 'values'> & { values?: NonNullable<VmChange['values']> };

function parseNumber(text: string): number {
  if (/^\d{1,9}$/u.test(text)) return Number(text);
  throw new InvalidArgumentError('Give a whole number.');
}

const collect = (text: string, before: string[] = []): string[] => [...before, text];

/** Adds the flags of MachineFlags. */
export function addMachineFlags(command: Command): Command {
  return command
    .option('--memory <MiB>', 'memory, MiB', parseNumber)
    .option('--cpus <n>', 'processors', parseNumber)
    .option('--kernel <file>', 'boot this kernel directly')
    .option('--initrd <file>', 'initial ram disk for --kernel')
    .option('--cmdline <text>', 'command line for --kernel')
    .option('--disk <file>', 'disk image; may be given several times', collect)
    .option('--interval <ms>', 'heartbeat interval, ms', parseNumber)
    .addOption(
      new Option('--watchdog [action]', 'watchdog device, and what it does').choices([
        'reset',
        'pause',
        'none',
      ]),
    )
    .addOption(
      new Option('--autostart [when]', 'start it with the server').choices([
        'never',
        'always',
        'ifRunningAtQuit',
      ]),
    )
    .option('--file <json>', 'configuration as JSON; flags beat it, its paths are relative to it');
}

/** Flags and file as one description. `present` is the machine to be changed: parts of an object keep the others. */
export async function describeMachine(
  flags: MachineFlags,
  workingDirectory: string,
  present?: VmInfo,
): Promise<MachineDescription> {
  const file = flags.file === undefined ? undefined : resolve(workingDirectory, flags.file);
  const description = file === undefined ? {} : await readDescription(file);
  const path = (name: string): string => resolve(workingDirectory, name);
  if (flags.memory !== undefined) description.memoryMiB = flags.memory;
  if (flags.cpus !== undefined) description.cpus = flags.cpus;
  if (flags.disk !== undefined) description.disks = flags.disk.map((name) => ({ file: path(name) }));
  const boot = describeBoot(flags, path, description.boot ?? present?.boot ?? undefined);
  if (boot !== undefined) description.boot = boot;
  if (flags.interval !== undefined) {
    description.heartbeat = { ...present?.heartbeat, ...description.heartbeat, intervalMs: flags.interval };
  }
  if (flags.watchdog !== undefined) {
    description.watchdog = { model: 'i6300esb', action: flags.watchdog === true ? 'reset' : flags.watchdog };
  }
  if (flags.autostart !== undefined) {
    const before = description.autostart ?? present?.autostart;
    description.autostart = { ...before, action: flags.autostart === true ? 'always' : flags.autostart };
  }
  return description;
}

function describeBoot(
  flags: MachineFlags,
  path: (name: string) => string,
  before: BootConfiguration | undefined,
): BootConfiguration | undefined {
  if (flags.kernel === undefined && flags.initrd === undefined && flags.cmdline === undefined)
    return undefined;
  const kernel = flags.kernel === undefined ? before?.kernel : path(flags.kernel);
  if (kernel === undefined) {
    throw new VmError('E_INVALIDARG', '--initrd and --cmdline are for a kernel; name it with --kernel FILE.');
  }
  return {
    ...before,
    kernel,
    ...(flags.initrd === undefined ? {} : { initrd: path(flags.initrd) }),
    ...(flags.cmdline === undefined ? {} : { cmdline: flags.cmdline }),
  };
}

async function readDescription(file: string): Promise<MachineDescription> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw new VmError('E_FILE_NOT_FOUND', `The configuration ${file} cannot be read.`, { cause: error });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : '';
    throw new VmError('E_INVALIDARG', `The configuration ${file} is no JSON: ${why}`, { cause: error });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new VmError('E_INVALIDARG', `The configuration ${file} is no JSON object.`);
  }
  return withAbsolutePaths(value, dirname(file));
}

/** Only paths are touched; whether the rest is right is the server's to say, with the field at fault. */
function withAbsolutePaths(value: object, folder: string): MachineDescription {
  const description = { ...value } as MachineDescription;
  const absolute = (path: unknown): unknown => (typeof path === 'string' ? resolve(folder, path) : path);
  if (typeof description.boot === 'object' && description.boot !== null) {
    const { kernel, initrd } = description.boot;
    const boot: Record<string, unknown> = { ...description.boot };
    if (kernel !== undefined) boot['kernel'] = absolute(kernel);
    if (initrd !== undefined) boot['initrd'] = absolute(initrd);
    description.boot = boot as unknown as BootConfiguration;
  }
  if (Array.isArray(description.disks)) {
    description.disks = description.disks.map((disk: unknown) => {
      const isDisk = typeof disk === 'object' && disk !== null && 'file' in disk;
      return (isDisk ? { ...disk, file: absolute(disk.file) } : disk) as DiskConfiguration;
    });
  }
  return description;
}
