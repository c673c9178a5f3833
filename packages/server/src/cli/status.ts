/** `vmpulse status` */
import type { ServerInfo, Verdict, VirtualServer, VmInfo } from '@vmpulse/client';
import { type Command, InvalidArgumentError } from 'commander';
import { SystemClock } from '../clock.ts';
import { type ConnectionFlags, addConnectionFlags, withServer } from './connection.ts';
import { describeHold } from './hold.ts';
import { type Color, type Column, renderTable } from './table.ts';
import type { Terminal } from './terminal.ts';
import { clean, formatDuration, toJson } from './text.ts';

interface StatusFlags extends ConnectionFlags {
  watch?: boolean;
  interval: number;
}

const alarming: readonly Verdict[] = [
  'exited',
  'panicked',
  'watchdog',
  'tripleFault',
  'internalError',
  'hung',
  'spinning',
  'busy',
];
const doubtful: readonly Verdict[] = ['suspected', 'starved', 'unknown', 'additionsStopped'];

function verdictColor({ guest, state }: VmInfo): Color | undefined {
  if (guest.stoppedSeq !== null || alarming.includes(guest.verdict)) return 'red';
  if (doubtful.includes(guest.verdict)) return 'yellow';
  if (guest.verdict === 'alive') return 'green';
  return state === 'turnedOff' ? 'dim' : undefined;
}

const columns: Column<VmInfo>[] = [
  { head: 'NAME', cell: (vm) => vm.name },
  {
    head: 'STATE',
    color: ({ pausedFor }) => (pausedFor === null ? undefined : 'red'),
    cell: ({ state, pausedFor }) => (pausedFor === null ? state : `${state} (disk full)`),
  },
  {
    head: 'HEART',
    align: 'right',
    cell: ({ guest }) =>
      guest.heartbeatPercentage === null ? '-' : `${Math.round(guest.heartbeatPercentage)} %`,
  },
  {
    head: 'LAST TICK',
    align: 'right',
    cell: ({ guest }) => (guest.lastTickAgoMs === null ? '-' : `${formatDuration(guest.lastTickAgoMs)} ago`),
  },
  {
    head: 'VERDICT',
    color: verdictColor,
    cell: ({ guest }) =>
      guest.stoppedSeq === null ? guest.verdict : `${guest.verdict} (event ${guest.stoppedSeq})`,
  },
  { head: 'PID', align: 'right', cell: (vm) => (vm.pid === null ? '-' : String(vm.pid)) },
  { head: 'TASK', cell: (vm) => vm.task ?? '-' },
];

/** Only where a machine is held: most never are, and a terminal is narrow. */
const heldColumn: Column<VmInfo> = {
  head: 'HELD',
  maxWidth: 60,
  color: ({ guest }) => (guest.hold === null ? undefined : 'yellow'),
  cell: ({ guest }) => (guest.hold === null ? '-' : describeHold(guest.hold)),
};

/** What `vmpulse status` shows: who the server is, how many machines are in which state, and each machine. */
export function renderStatus(info: ServerInfo, vms: readonly VmInfo[], color: boolean): string {
  const { host } = info;
  const why = host.acceleratorReason === null ? '' : ` (${host.acceleratorReason})`;
  const head = [
    `vmpulse ${info.version} on ${host.hostname}: up ${formatDuration(info.uptimeMs)}, event ${info.seq}, ` +
      `QEMU ${host.qemuVersion ?? 'not found'}, accelerator ${host.accelerator ?? 'none'}${why}`,
  ];
  const counts = Object.entries(info.vms).filter(([, count]) => count > 0);
  const total = vms.length === 1 ? '1 machine' : `${vms.length} machines`;
  const states = counts.map(([state, count]) => `${count} ${state}`).join(', ');
  head.push(
    states === '' ? `${total}. Create one: vmpulse vm create NAME --disk FILE` : `${total}: ${states}`,
  );
  const text = head.map(clean).join('\n');
  const shown = vms.some(({ guest }) => guest.hold !== null) ? [...columns, heldColumn] : columns;
  return vms.length === 0 ? text : `${text}\n\n${renderTable(shown, vms, color)}`;
}

function parseInterval(text: string): number {
  const seconds = Number(text);
  if (Number.isFinite(seconds) && seconds >= 0.1 && seconds <= 3_600) return seconds;
  throw new InvalidArgumentError('Give seconds from 0.1 to 3600.');
}

/** Adds the command. */
export function registerStatus(program: Command, terminal: Terminal): void {
  const command = program
    .command('status')
    .description('the server, its machines and their hearts')
    .option('-w, --watch', 'show it anew until Ctrl-C')
    .option('--interval <seconds>', 'how often with --watch', parseInterval, 1);
  addConnectionFlags(command, 'vmpulse status --watch\nvmpulse status --json | jq ".vms[].guest.verdict"');
  command.action(async (flags: StatusFlags) => {
    await withServer(flags, terminal, (server) =>
      flags.watch === true ? watch(server, flags, terminal) : show(server, flags, terminal),
    );
  });
}

async function show(server: VirtualServer, flags: StatusFlags, terminal: Terminal): Promise<void> {
  const options = { signal: terminal.interrupted };
  const [info, machines] = await Promise.all([server.info(options), server.virtualMachines(options)]);
  const vms = machines
    .map((vm) => vm.info)
    .toSorted((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
  if (flags.json === true)
    await terminal.out(toJson({ server: info, vms }, flags.watch === true ? undefined : 2));
  else {
    const clearScreen = flags.watch === true && terminal.isTty ? '\u001b[H\u001b[2J' : '';
    await terminal.out(`${clearScreen}${renderStatus(info, vms, terminal.color)}`);
  }
}

/** Until Ctrl-C, which ends the request or the pause under way with E_ABORT. */
async function watch(server: VirtualServer, flags: StatusFlags, terminal: Terminal): Promise<void> {
  const clock = new SystemClock();
  for (;;) {
    await show(server, flags, terminal);
    await clock.sleep(flags.interval * 1_000, terminal.interrupted);
  }
}
