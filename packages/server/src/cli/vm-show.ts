/** `vmpulse vm show` */
import type { VmInfo } from '@vmpulse/client';
import type { Command } from 'commander';
import { type ConnectionFlags, addConnectionFlags, withServer } from './connection.ts';
import { describeHold } from './hold.ts';
import { findMachine } from './machine-name.ts';
import type { Terminal } from './terminal.ts';
import { clean, formatDuration, shorten, toJson } from './text.ts';

type Line = readonly [label: string, value: string | number | null | undefined];

/** A machine as lines of label and value; what is not known is left out. */
function renderMachine(vm: VmInfo): string {
  const { guest } = vm;
  const lines: Line[] = [
    ['name', vm.name],
    ['id', vm.id],
    ['state', vm.task === null ? vm.state : `${vm.state} (task ${vm.task})`],
    ['paused for', vm.pausedFor === null ? null : 'want of disk space; it goes on when there is room'],
    ['hypervisor', vm.accelerator === null ? vm.hypervisor : `${vm.hypervisor}, ${vm.accelerator}`],
    ['pid', vm.pid],
    ['running since', vm.startedAt],
    ['memory', `${vm.memoryMiB} MiB`],
    ['processors', vm.cpus],
    ['kernel', vm.boot?.kernel],
    ['initrd', vm.boot?.initrd],
    ['command line', vm.boot?.cmdline],
    ...vm.disks.map((disk): Line => ['disk', `${disk.file}${disk.readOnly === true ? ' (read only)' : ''}`]),
    ...vm.networks.map((network): Line => [
      'network',
      `${network.type}${network.device === undefined ? '' : ` ${network.device}`}`,
    ]),
    ['watchdog', vm.watchdog === null ? null : `${vm.watchdog.model}, ${vm.watchdog.action}`],
    ['autostart', vm.autostart.action],
    ['when the service stops', vm.shutdownActionOnQuit],
    ['serial log', vm.files.serialLog],
    ['notes', vm.notes === '' ? null : vm.notes],
    ...Object.entries(vm.values).map(([key, value]): Line => [key, String(value)]),
    [
      'verdict',
      guest.stoppedSeq === null ? guest.verdict : `${guest.verdict} (stopped: event ${guest.stoppedSeq})`,
    ],
    [
      'heartbeat',
      guest.heartbeatPercentage === null
        ? null
        : `${Math.round(guest.heartbeatPercentage)} % of the last minute`,
    ],
    ['held', guest.hold === null ? null : describeHold(guest.hold)],
    ['last tick', guest.lastTickAgoMs === null ? null : `${formatDuration(guest.lastTickAgoMs)} ago`],
    ['interval', guest.intervalMs === null ? null : formatDuration(guest.intervalMs)],
    ['additions', guest.additions.version],
    ['guest system', guest.osName],
    ['guest name', guest.computerName],
    ['pending', vm.changesPending ? 'changes wait for the next start' : null],
    ['may now', vm.operations.join(', ')],
  ];
  const known = lines.filter(([, value]) => value !== null && value !== undefined && value !== '');
  const width = Math.min(40, Math.max(...known.map(([label]) => label.length)));
  return known
    .map(
      ([label, value]) => `${shorten(clean(label), 80).padEnd(width)}  ${shorten(clean(String(value)), 500)}`,
    )
    .join('\n');
}

/** Adds the command. */
export function registerVmShow(vm: Command, terminal: Terminal): void {
  const command = vm.command('show <name>').description('all about one machine');
  addConnectionFlags(command, 'vmpulse vm show web-1');
  command.action(async (name: string, flags: ConnectionFlags) => {
    await withServer(flags, terminal, async (server) => {
      const { info } = await findMachine(server, name);
      await terminal.out(flags.json === true ? toJson(info, 2) : renderMachine(info));
    });
  });
}
