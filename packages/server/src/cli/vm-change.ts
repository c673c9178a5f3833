/** `vmpulse vm change` */
import { type VmChange, VmError } from '@vmpulse/client';
import { type Command, InvalidArgumentError } from 'commander';
import { type ConnectionFlags, addConnectionFlags, withServer } from './connection.ts';
import { type MachineFlags, addMachineFlags, describeMachine } from './machine-flags.ts';
import { findMachine } from './machine-name.ts';
import type { Terminal } from './terminal.ts';
import { clean, toJson } from './text.ts';

interface ChangeFlags extends MachineFlags, ConnectionFlags {
  name?: string;
  notes?: string;
  set?: Record<string, string | number | boolean>;
  unset?: string[];
}

/** `key=value`: `true`, `false` and unsigned 32-bit numbers are what they look like, all else is a string. */
function parseValue(
  text: string,
  before: Record<string, string | number | boolean> = {},
): Record<string, string | number | boolean> {
  const equals = text.indexOf('=');
  if (equals < 1) throw new InvalidArgumentError('Give key=value.');
  const [key, value] = [text.slice(0, equals), text.slice(equals + 1)];
  if (value === 'true' || value === 'false') return { ...before, [key]: value === 'true' };
  const isNumber = /^(0|[1-9]\d{0,9})$/u.test(value) && Number(value) <= 0xffff_ffff;
  return { ...before, [key]: isNumber ? Number(value) : value };
}

/** Adds the command. */
export function registerVmChange(vm: Command, terminal: Terminal): void {
  const command = addMachineFlags(
    vm.command('change <name>').description('change the configuration of a machine'),
  )
    .option('--name <new>', 'another name')
    .option('--notes <text>', 'notes')
    .option(
      '--set <key=value>',
      'a configuration value by its slash path; may be given several times',
      parseValue,
    )
    .option('--unset <key>', 'take a configuration value away', (key: string, before?: string[]) => [
      ...(before ?? []),
      key,
    ]);
  addConnectionFlags(
    command,
    'vmpulse vm change web-1 --memory 2048 --interval 500\n' +
      'vmpulse vm change web-1 --set integration/microsoft/heartbeat/rate=20',
  );
  command.action(async (name: string, flags: ChangeFlags) => {
    await withServer(flags, terminal, async (server) => {
      const machine = await findMachine(server, name);
      const change = await toChange(flags, terminal, machine.info);
      const info = await machine.change(change);
      if (flags.json === true) await terminal.out(toJson(info, 2));
      else
        await terminal.out(
          clean(`changed '${info.name}'${info.changesPending ? '; it takes effect at its next start' : ''}`),
        );
    });
  });
}

async function toChange(
  flags: ChangeFlags,
  terminal: Terminal,
  present: Parameters<typeof describeMachine>[2],
): Promise<VmChange> {
  const change: VmChange = await describeMachine(flags, terminal.workingDirectory, present);
  if (flags.name !== undefined) change.name = flags.name;
  if (flags.notes !== undefined) change.notes = flags.notes;
  const gone = (flags.unset ?? []).map((key): [string, null] => [key, null]);
  if (flags.set !== undefined || gone.length > 0) {
    change.values = { ...change.values, ...flags.set, ...Object.fromEntries(gone) };
  }
  if (Object.keys(change).length > 0) return change;
  throw new VmError('E_INVALIDARG', 'Nothing to change; say what, for instance --memory 1024 (see --help).');
}
