/** `vmpulse script`: scripts on events. */
import {
  type ScriptInfo,
  type ScriptSettings,
  type ScriptTrigger,
  type VirtualMachine,
  type VirtualServer,
  findScriptTrigger,
  scriptTriggers,
} from '@vmpulse/client';
import { Argument, type Command, InvalidArgumentError } from 'commander';
import { type ConnectionFlags, addConnectionFlags, withServer } from './connection.ts';
import { findMachine, nearestName } from './machine-name.ts';
import { type Column, renderTable } from './table.ts';
import type { Terminal } from './terminal.ts';
import { clean, toJson } from './text.ts';

interface ScriptFlags extends ConnectionFlags {
  vm?: string;
}
interface AttachFlags extends ScriptFlags {
  timeout?: number;
}

const eventHelp = 'event type, such as heartbeatStopped, or its VMEventType number';
const scopes = ['server', 'machines', 'all'] as const;
type Scope = (typeof scopes)[number];

/** Errors: usage. */
function parseTrigger(text: string): ScriptTrigger {
  const trigger = findScriptTrigger(text);
  if (trigger !== undefined) return trigger;
  const meant = nearestName(text, scriptTriggers);
  throw new InvalidArgumentError(
    meant === undefined ? `Give one of ${scriptTriggers.join(', ')}.` : `Did you mean '${meant}'?`,
  );
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (text.trim() !== '' && seconds >= 1 && seconds <= 3_600) return seconds;
  throw new InvalidArgumentError('Give seconds, 1 to 3600.');
}

const columns: Column<ScriptInfo>[] = [
  { head: 'MACHINE', cell: ({ vm }) => vm?.name ?? '(server)' },
  {
    head: 'EVENT',
    cell: ({ trigger, eventType }) => (eventType === null ? trigger : `${trigger} (${eventType})`),
  },
  { head: 'RUNS', cell: ({ enabled }) => (enabled ? 'yes' : 'disabled') },
  { head: 'WAITING', cell: ({ pending }) => String(pending) },
  { head: 'TIMEOUT', cell: ({ timeoutSeconds }) => `${timeoutSeconds} s` },
  { head: 'COMMAND', cell: ({ command }) => shown(command), maxWidth: 100 },
];

/** A command as one would write it; what has more than plain characters is in quotes. */
function shown(command: readonly string[]): string {
  return command.map((part) => (/^[\w@%+=:,./-]+$/u.test(part) ? part : JSON.stringify(part))).join(' ');
}

function place(server: VirtualServer, { vm }: ScriptFlags): Promise<VirtualServer | VirtualMachine> {
  return vm === undefined ? Promise.resolve(server) : findMachine(server, vm);
}

function settingsLine({ vsScriptsEnabled, vmScriptsEnabled }: ScriptSettings): string {
  const word = (on: boolean): string => (on ? 'enabled' : 'disabled');
  return `scripts of the server are ${word(vsScriptsEnabled)}, scripts of machines ${word(vmScriptsEnabled)}`;
}

function registerAttach(group: Command, terminal: Terminal): void {
  const command = group
    .command('attach')
    .argument('<event>', eventHelp, parseTrigger)
    .argument(
      '<command...>',
      "an executable's absolute path and its arguments, after --; no shell takes part",
    )
    .description('run a command for each event of a type, of all machines or of one')
    .option('--vm <name>', 'for events of this machine only')
    .option('--timeout <seconds>', 'it is ended after this, 1 to 3600 (default: 60)', parseSeconds);
  addConnectionFlags(
    command,
    'vmpulse script attach heartbeatStopped -- /usr/local/bin/page-me --loud\n' +
      'vmpulse script attach 8 --vm web-1 --timeout 10 -- /usr/local/bin/fail-over',
  );
  command.action(async (trigger: ScriptTrigger, words: string[], flags: AttachFlags) => {
    await withServer(flags, terminal, async (server) => {
      const options = flags.timeout === undefined ? {} : { timeoutSeconds: flags.timeout };
      const script = await (await place(server, flags)).attachScriptToEvent(trigger, words, options);
      const whose = script.scope === 'server' ? 'machines, or the server,' : `'${script.vm?.name ?? ''}'`;
      const off = script.enabled ? '' : '; such scripts are disabled, see `vmpulse script enable`';
      const text = `${shown(script.command)} runs for ${script.trigger} of ${whose} from now on${off}`;
      await terminal.out(flags.json === true ? toJson(script, 2) : clean(text));
    });
  });
}

function registerList(group: Command, terminal: Terminal): void {
  const command = group
    .command('list')
    .description('the scripts that are attached, and whether they run')
    .option('--vm <name>', 'those of this machine only');
  addConnectionFlags(command, 'vmpulse script list').action(async (flags: ScriptFlags) => {
    await withServer(flags, terminal, async (server) => {
      const scripts = await (await place(server, flags)).scripts();
      const settings = await server.scriptSettings();
      if (flags.json === true) {
        await terminal.out(toJson({ ...settings, scripts }, 2));
        return;
      }
      await terminal.out(
        scripts.length === 0 ? 'No scripts.' : renderTable(columns, scripts, terminal.color),
      );
      await terminal.out(settingsLine(settings));
    });
  });
}

function registerOne(group: Command, terminal: Terminal, verb: 'show' | 'remove', description: string): void {
  const command = group
    .command(verb)
    .argument('<event>', eventHelp, parseTrigger)
    .description(description)
    .option('--vm <name>', 'that of this machine, not that of the server');
  addConnectionFlags(command, `vmpulse script ${verb} heartbeatStopped --vm web-1`);
  command.action(async (trigger: ScriptTrigger, flags: ScriptFlags) => {
    await withServer(flags, terminal, async (server) => {
      const where = await place(server, flags);
      if (verb === 'show') {
        const script = await where.fetchScriptByEvent(trigger);
        const text = renderTable(columns, [script], terminal.color);
        await terminal.out(flags.json === true ? toJson(script, 2) : text);
      } else {
        await where.removeScriptFromEvent(trigger);
        const removed = { removed: trigger, vm: flags.vm ?? null };
        await terminal.out(flags.json === true ? toJson(removed) : `the script on ${trigger} is removed`);
      }
    });
  });
}

function registerSwitch(group: Command, terminal: Terminal, verb: 'enable' | 'disable'): void {
  const description =
    verb === 'enable'
      ? 'let scripts run for events from now on: those of the server, of machines, or all'
      : 'run no more scripts: those of the server, of machines, or all; what runs goes on';
  const command = group
    .command(verb)
    .addArgument(new Argument('[which]', 'whose scripts').choices(scopes).default('all'))
    .description(description);
  addConnectionFlags(command, `vmpulse script ${verb}\nvmpulse script ${verb} machines`);
  command.action(async (which: Scope, flags: ConnectionFlags) => {
    await withServer(flags, terminal, async (server) => {
      const on = verb === 'enable';
      const settings = await server.changeScriptSettings({
        ...(which === 'machines' ? {} : { vsScriptsEnabled: on }),
        ...(which === 'server' ? {} : { vmScriptsEnabled: on }),
      });
      await terminal.out(flags.json === true ? toJson(settings) : settingsLine(settings));
    });
  });
}

/** Adds the group. */
export function registerScript(program: Command, terminal: Terminal): void {
  const group = program.command('script').description('commands that run when something happens');
  registerAttach(group, terminal);
  registerList(group, terminal);
  registerOne(group, terminal, 'show', 'the script that is attached to an event');
  registerOne(group, terminal, 'remove', 'remove a script from its event; a run under way goes on');
  registerSwitch(group, terminal, 'enable');
  registerSwitch(group, terminal, 'disable');
}
