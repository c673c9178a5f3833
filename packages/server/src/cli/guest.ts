/** `vmpulse guest`: what a machine's guest says, and what is asked of it. */
import { type GuestInfo, guestBounds } from '@vmpulse/client';
import { type Command, InvalidArgumentError } from 'commander';
import { type ConnectionFlags, addConnectionFlags, withServer } from './connection.ts';
import { registerGuestExec } from './guest-exec.ts';
import { findMachine } from './machine-name.ts';
import type { Terminal } from './terminal.ts';
import { clean, cleanLines, formatDuration, shorten, toJson } from './text.ts';

interface FreezeFlags extends ConnectionFlags {
  for?: number;
}

const sources = { ticker: 'the ticker', agent: 'the guest agent' } as const;

/** The guest as lines of label and value; what is not known is left out. */
function renderGuest(guest: GuestInfo): string {
  const { source, heartbeatPercentage, lastTickAgoMs, intervalMs, stoppedSeq, hold } = guest;
  const lines: readonly (readonly [string, string | null])[] = [
    ['verdict', stoppedSeq === null ? guest.verdict : `${guest.verdict} (stopped: event ${stoppedSeq})`],
    ['heartbeat by', source === null ? null : sources[source]],
    [
      'heartbeat',
      heartbeatPercentage === null ? null : `${Math.round(heartbeatPercentage)} % of the last minute`,
    ],
    ['last tick', lastTickAgoMs === null ? null : `${formatDuration(lastTickAgoMs)} ago`],
    ['interval', intervalMs === null ? null : formatDuration(intervalMs)],
    ['additions', guest.additions.version],
    ['system', guest.osName],
    ['name', guest.computerName],
    ['can shut down', guest.canShutdown ? 'yes' : 'no'],
    ['file systems', guest.fileSystems],
    ['held', hold === null ? null : `until ${hold.until}: ${hold.reason}`],
  ];
  return lines
    .flatMap(([label, value]) =>
      value === null ? [] : [`${label.padEnd(13)}  ${shorten(clean(value), 500)}`],
    )
    .join('\n');
}

function parseFreeze(text: string): number {
  const { least, most } = guestBounds.freezeMs;
  const milliseconds = Math.round(Number(text) * 1_000);
  if (milliseconds >= least && milliseconds <= most) return milliseconds;
  throw new InvalidArgumentError(`Give seconds, from ${least / 1_000} to ${most / 1_000}.`);
}

function registerParameters(guest: Command, terminal: Terminal): void {
  const get = guest.command('get <name> <parameter>').description('a parameter as the guest has it');
  addConnectionFlags(get, 'vmpulse guest get web-1 VirtualMachineName');
  get.action(async (name: string, parameter: string, flags: ConnectionFlags) => {
    await withServer(flags, terminal, async (server) => {
      const { guestOS } = await findMachine(server, name);
      const value = await guestOS.getParameter(parameter);
      if (flags.json === true) await terminal.out(toJson({ name: parameter, value }, 2));
      else await terminal.out(terminal.isTty ? cleanLines(value) : value);
    });
  });

  const set = guest
    .command('set <name> <parameter> <value>')
    .description('set a parameter, which the guest finds under /run/vmpulse/parameters until it boots anew');
  addConnectionFlags(set, 'vmpulse guest set web-1 role database');
  set.action(async (name: string, parameter: string, value: string, flags: ConnectionFlags) => {
    await withServer(flags, terminal, async (server) => {
      const vm = await findMachine(server, name);
      await vm.guestOS.setParameter(parameter, value);
      if (flags.json === true) await terminal.out(toJson({ name: parameter, value }, 2));
      else await terminal.out(clean(`set '${parameter}' in the guest of '${vm.name}'`));
    });
  });
}

function registerFreezing(guest: Command, terminal: Terminal): void {
  const freeze = guest
    .command('freeze <name>')
    .description("freeze the guest's file systems, for a consistent copy of its disks; thawed after a time")
    .option('--for <seconds>', 'when to thaw them by itself (default 60, at most 600)', parseFreeze);
  addConnectionFlags(freeze, 'vmpulse guest freeze web-1 --for 30');
  freeze.action(async (name: string, flags: FreezeFlags) => {
    await withServer(flags, terminal, async (server) => {
      const vm = await findMachine(server, name);
      const timeoutMs = flags.for ?? guestBounds.freezeMs.usual;
      const fileSystems = await vm.guestOS.freezeFileSystems({ timeoutMs });
      if (flags.json === true) await terminal.out(toJson({ fileSystems, timeoutMs }, 2));
      else if (fileSystems === 0)
        await terminal.out(clean(`'${vm.name}' has no file system that can be frozen`));
      else {
        const how = `froze ${fileSystems} of '${vm.name}'; thawed in ${formatDuration(timeoutMs)} at the latest`;
        await terminal.out(clean(`${how}: vmpulse guest thaw ${vm.name}`));
      }
    });
  });

  const thaw = guest.command('thaw <name>').description("thaw the guest's file systems");
  addConnectionFlags(thaw, 'vmpulse guest thaw web-1');
  thaw.action(async (name: string, flags: ConnectionFlags) => {
    await withServer(flags, terminal, async (server) => {
      const vm = await findMachine(server, name);
      const fileSystems = await vm.guestOS.thawFileSystems();
      if (flags.json === true) await terminal.out(toJson({ fileSystems }, 2));
      else await terminal.out(clean(`thawed ${fileSystems} of '${vm.name}'`));
    });
  });
}

/** Adds the group. */
export function registerGuest(program: Command, terminal: Terminal): void {
  const guest = program
    .command('guest')
    .description("a machine's guest: what it says, and what is asked of it");
  const show = guest.command('show <name>').description('heartbeat, additions and file systems');
  addConnectionFlags(show, 'vmpulse guest show web-1');
  show.action(async (name: string, flags: ConnectionFlags) => {
    await withServer(flags, terminal, async (server) => {
      const info = await (await findMachine(server, name)).guestOS.info();
      await terminal.out(flags.json === true ? toJson(info, 2) : renderGuest(info));
    });
  });
  registerGuestExec(guest, terminal);
  registerParameters(guest, terminal);
  registerFreezing(guest, terminal);
}
