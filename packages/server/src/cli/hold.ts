/** `vmpulse hold`, `vmpulse holds`, `vmpulse release` */
import { type HoldInfo, type VirtualMachine, type VirtualServer, VmError } from '@vmpulse/client';
import { type Command, InvalidArgumentError } from 'commander';
import { type ConnectionFlags, addConnectionFlags, withServer } from './connection.ts';
import { findMachine } from './machine-name.ts';
import { type Column, renderTable } from './table.ts';
import type { Terminal } from './terminal.ts';
import { clean, toJson } from './text.ts';

interface ScopeFlags extends ConnectionFlags {
  all?: boolean;
}
interface HoldFlags extends ScopeFlags {
  for: number;
  reason: string;
}

const unitSeconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };

/** `90s`, `30m`, `1h30m`, `2d` in seconds. Errors: usage. */
export function parseHoldLength(text: string): number {
  const parts = [...text.matchAll(/(\d{1,6}(?:\.\d{1,3})?)([smhd])/gu)];
  if (text === '' || parts.map(([part]) => part).join('') !== text) {
    throw new InvalidArgumentError('Give a number with its unit: 90s, 30m, 1h30m or 2d.');
  }
  return parts.reduce((sum, [, number, unit = '']) => sum + Number(number) * (unitSeconds[unit] ?? 0), 0);
}

/** `until <time>: <reason>`, for whoever finds a watch held. */
export function describeHold({ scope, until, reason }: HoldInfo): string {
  return `until ${until}${scope === 'all' ? ' with all others' : ''}: ${reason}`;
}

const columns: Column<HoldInfo>[] = [
  { head: 'MACHINE', cell: ({ vm }) => vm?.name ?? '(all)' },
  { head: 'UNTIL', cell: ({ until }) => until },
  { head: 'SINCE', cell: ({ since }) => since },
  { head: 'REASON', cell: ({ reason }) => reason, maxWidth: 80 },
];

/** The machine that is named, or undefined for all. Errors: E_INVALIDARG where it is neither or both. */
async function scopeOf(
  server: VirtualServer,
  name: string | undefined,
  flags: ScopeFlags,
): Promise<VirtualMachine | undefined> {
  const all = flags.all === true;
  if (all === (name !== undefined)) {
    throw new VmError('E_INVALIDARG', 'Name one machine, or all of them with --all (see --help).');
  }
  return name === undefined ? undefined : findMachine(server, name);
}

function registerHold(program: Command, terminal: Terminal): void {
  const command = program
    .command('hold [name]')
    .description(
      "hold a machine's watch, or all, for a time: silence is not judged; exits and panics are told",
    )
    .option('--all', 'all machines, those made meanwhile included')
    .requiredOption('--for <length>', 'how long: 90s, 30m, 1h30m, 2d; at most 7d', parseHoldLength)
    .requiredOption('--reason <text>', 'why, for whoever finds it held');
  addConnectionFlags(
    command,
    'vmpulse hold web-1 --for 30m --reason "kernel upgrade"\nvmpulse hold --all --for 1h --reason "storage move"',
  );
  command.action(async (name: string | undefined, flags: HoldFlags) => {
    await withServer(flags, terminal, async (server) => {
      const vm = await scopeOf(server, name, flags);
      const hold = await (vm ?? server).hold({ seconds: flags.for, reason: flags.reason });
      const what = vm === undefined ? 'all watches are' : `'${vm.name}' is`;
      await terminal.out(
        flags.json === true ? toJson(hold, 2) : clean(`${what} held until ${hold.until}: ${hold.reason}`),
      );
    });
  });
}

function registerHolds(program: Command, terminal: Terminal): void {
  const command = program.command('holds').description('the holds that are on');
  addConnectionFlags(command, 'vmpulse holds').action(async (flags: ConnectionFlags) => {
    await withServer(flags, terminal, async (server) => {
      const holds = await server.holds();
      if (flags.json === true) await terminal.out(toJson(holds, 2));
      else await terminal.out(holds.length === 0 ? 'No holds.' : renderTable(columns, holds, terminal.color));
    });
  });
}

function registerRelease(program: Command, terminal: Terminal): void {
  const command = program
    .command('release [name]')
    .description('end a hold before its time; silence counts from zero')
    .option('--all', 'the hold on all machines; those of single machines go on');
  addConnectionFlags(command, 'vmpulse release web-1\nvmpulse release --all');
  command.action(async (name: string | undefined, flags: ScopeFlags) => {
    await withServer(flags, terminal, async (server) => {
      const vm = await scopeOf(server, name, flags);
      await (vm ?? server).release();
      const released = vm === undefined ? 'the hold on all watches is over' : `'${vm.name}' is released`;
      const left = vm === undefined ? undefined : (await vm.refresh()).guest.hold;
      if (flags.json === true) await terminal.out(toJson({ released: vm?.name ?? null, hold: left ?? null }));
      else await terminal.out(clean(left ? `${released}, but held ${describeHold(left)}` : released));
    });
  });
}

/** Adds the commands. */
export function registerHoldCommands(program: Command, terminal: Terminal): void {
  registerHold(program, terminal);
  registerHolds(program, terminal);
  registerRelease(program, terminal);
}
