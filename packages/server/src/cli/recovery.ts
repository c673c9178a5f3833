/** `vmpulse recovery`: what is done about a guest that stopped. */
import { type RecoveryBounds, type RecoveryInfo, recoveryActions } from '@vmpulse/client';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type ConnectionFlags, addConnectionFlags, withServer } from './connection.ts';
import { findMachine } from './machine-name.ts';
import type { Terminal } from './terminal.ts';
import { clean, formatDuration, toJson } from './text.ts';

interface PolicyFlags extends ConnectionFlags {
  policy?: string;
  attempts?: number;
  window?: number;
  minRunning?: number;
  backoff?: number;
  settle?: number;
  nmi?: boolean;
  memoryDump?: number | false;
  dryRun?: boolean;
  atOnce?: number;
}

function whole(text: string): number {
  if (/^\d{1,9}$/u.test(text)) return Number(text);
  throw new InvalidArgumentError('Give a whole number.');
}

function seconds(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && value >= 0 && value < 1e9) return Math.round(value * 1_000);
  throw new InvalidArgumentError('Give a number of seconds.');
}

function addPolicyFlags(command: Command, actions: readonly string[]): Command {
  return command
    .addOption(new Option('--policy <action>', 'what is done').choices([...actions]))
    .option('--attempts <n>', 'resets and restarts within the window (default 3)', whole)
    .option('--window <seconds>', 'in which attempts are counted (default 3600)', seconds)
    .option('--min-running <seconds>', 'how long it must have run before the first (default 60)', seconds)
    .option('--backoff <seconds>', 'pause before the second attempt, then doubled (default 10)', seconds)
    .option('--settle <seconds>', 'how long a heartbeat is awaited after a step (default: a boot)', seconds)
    .option('--nmi', 'the guest is set up for an NMI; staged begins with one')
    .option('--no-nmi', 'it is not')
    .option('--memory-dump <MiB>', 'keep a dump of the memory where it is no larger (default: none)', whole)
    .option('--no-memory-dump', 'keep none')
    .option('--dry-run', 'everything is told, nothing is done')
    .option('--no-dry-run', 'what is planned is done');
}

/** What the flags say, of the bounds. */
function boundsOf(flags: PolicyFlags): RecoveryBounds {
  return {
    ...(flags.attempts === undefined ? {} : { attempts: flags.attempts }),
    ...(flags.window === undefined ? {} : { windowMs: flags.window }),
    ...(flags.minRunning === undefined ? {} : { minRunningMs: flags.minRunning }),
    ...(flags.backoff === undefined ? {} : { backoffMs: flags.backoff }),
    ...(flags.settle === undefined ? {} : { settleMs: flags.settle }),
    ...(flags.nmi === undefined ? {} : { nmi: flags.nmi }),
    ...(flags.memoryDump === undefined ? {} : { memoryDumpMiB: flags.memoryDump || null }),
    ...(flags.dryRun === undefined ? {} : { dryRun: flags.dryRun }),
  };
}

function describePolicy({ policy, inherited }: RecoveryInfo): string {
  const { action, attempts, windowMs, minRunningMs, nmi, memoryDumpMiB, dryRun } = policy;
  const least = `after ${formatDuration(minRunningMs)} of running`;
  const bounds = `${attempts} attempts in ${formatDuration(windowMs)}, ${least}`;
  const extras = [
    ...(nmi ? ['with NMI'] : []),
    ...(memoryDumpMiB === null ? [] : [`memory dump up to ${memoryDumpMiB} MiB`]),
    ...(dryRun ? ['dry run'] : []),
  ];
  return `${action}${inherited ? " (the server's default)" : ''}: ${[bounds, ...extras].join(', ')}`;
}

function render(info: RecoveryInfo): string {
  const lines: [string, string | null][] = [
    ['policy', describePolicy(info)],
    ['state', info.reason === null ? info.state : `${info.state}: ${info.reason}`],
    ['stopped', info.stoppedSeq === null ? null : `event ${info.stoppedSeq} (${info.verdict ?? 'unknown'})`],
    ['step', info.step],
    ['goes on', info.nextAt],
    ...info.history.map(({ at, step, outcome, dryRun }, index): [string, string] => [
      index === 0 ? 'history' : '',
      `${at}  ${step} ${outcome}${dryRun ? ' (dry run)' : ''}`,
    ]),
  ];
  return lines
    .flatMap(([label, value]) => (value === null ? [] : [`${label.padEnd(9)}${clean(value)}`]))
    .join('\n');
}

function registerSet(group: Command, terminal: Terminal): void {
  const set = addPolicyFlags(
    group.command('set <name>').description("change a machine's policy; what is not named stays"),
    [...recoveryActions, 'default'],
  );
  addConnectionFlags(set, 'vmpulse recovery set web-1 --policy staged --attempts 3');
  set.action(async (name: string, flags: PolicyFlags) => {
    await withServer(flags, terminal, async (server) => {
      const vm = await findMachine(server, name);
      const action = (flags.policy ?? vm.info.recovery.action) as typeof vm.info.recovery.action;
      await vm.change({ recovery: { ...vm.info.recovery, ...boundsOf(flags), action } });
      const info = await vm.recovery.info();
      await terminal.out(flags.json === true ? toJson(info, 2) : render(info));
    });
  });
}

function registerDefault(group: Command, terminal: Terminal): void {
  const command = addPolicyFlags(
    group
      .command('default')
      .description("show or change the server's default, for machines whose policy is `default`"),
    recoveryActions,
  ).option('--at-once <n>', 'when many fail together, so many recover at once (default 2)', whole);
  addConnectionFlags(command, 'vmpulse recovery default --policy reset --at-once 2');
  command.action(async (flags: PolicyFlags) => {
    await withServer(flags, terminal, async (server) => {
      const current = await server.recovery.get();
      const bounds = boundsOf(flags);
      const changed = {
        ...current,
        ...bounds,
        ...(flags.policy === undefined ? {} : { action: flags.policy as typeof current.action }),
        ...(flags.atOnce === undefined ? {} : { atOnce: flags.atOnce }),
      };
      const isChange =
        flags.policy !== undefined || flags.atOnce !== undefined || Object.keys(bounds).length > 0;
      const value = isChange ? await server.recovery.set(changed) : current;
      const lines = Object.entries(value).map(([key, item]) =>
        clean(`${key.padEnd(14)}${String(item ?? (key === 'settleMs' ? 'boot window' : 'none'))}`),
      );
      await terminal.out(flags.json === true ? toJson(value, 2) : lines.join('\n'));
    });
  });
}

/** Adds the group. */
export function registerRecovery(program: Command, terminal: Terminal): void {
  const group = program.command('recovery').description('what is done about a guest that stopped');
  const verbs = {
    show: ['policy, plan and history of a machine', 'vmpulse recovery show web-1'],
    rearm: ['take up again what was given up; attempts count from zero', 'vmpulse recovery rearm web-1'],
  } as const;
  for (const verb of ['show', 'rearm'] as const) {
    const [description, example] = verbs[verb];
    const command = group.command(`${verb} <name>`).description(description);
    addConnectionFlags(command, example).action(async (name: string, flags: ConnectionFlags) => {
      await withServer(flags, terminal, async (server) => {
        const { recovery } = await findMachine(server, name);
        const info = await (verb === 'show' ? recovery.info() : recovery.rearm());
        await terminal.out(flags.json === true ? toJson(info, 2) : render(info));
      });
    });
  }
  registerSet(group, terminal);
  registerDefault(group, terminal);
}
