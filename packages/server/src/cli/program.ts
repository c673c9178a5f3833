/** The command line as a whole: its commands, and how an error becomes a sentence and an exit code. */
import { VmError } from '@vmpulse/client';
import { Command, CommanderError } from 'commander';
import { registerEvents } from './events.ts';
import { ExitError, exitCodeHelp, exitCodeOf, exitCodes } from './exit-code.ts';
import { registerGuest } from './guest.ts';
import { registerHoldCommands } from './hold.ts';
import { registerScript } from './script.ts';
import { registerIncident } from './incident.ts';
import { registerRecovery } from './recovery.ts';
import { registerStatus } from './status.ts';
import { registerSubscription } from './subscription.ts';
import { registerTask } from './task.ts';
import type { Terminal } from './terminal.ts';
import { clean, toJson } from './text.ts';
import { registerVm } from './vm.ts';
import { registerWebhook } from './webhook.ts';

/** Adds commands that are loaded only when they are needed. */
export type Registration = (program: Command) => void;

/** Commands that talk to a server: the others bring the whole service with them and are loaded only when needed. */
const clientVerbs: readonly string[] = [
  'status',
  'vm',
  'guest',
  'events',
  'hold',
  'holds',
  'release',
  'subscription',
  'webhook',
  'script',
  'recovery',
  'incident',
  'task',
];

/** Does this command line need, or list, the commands of the service itself? */
export function needsService(args: readonly string[]): boolean {
  const [verb] = args;
  return verb === undefined || !clientVerbs.includes(verb);
}

/** Runs one command. `args` are without the program. Resolves with the exit code; never rejects. */
export async function runProgram(
  args: readonly string[],
  terminal: Terminal,
  version: string,
  loadService: () => Promise<Registration[]>,
): Promise<number> {
  const program = new Command('vmpulse');
  const print = (text: string): void => void terminal.out(text.replace(/\n$/u, ''));
  program
    .description('a virtual server that tells you the moment a virtual machine has stopped running')
    .version(version)
    .exitOverride()
    .configureOutput({ writeOut: print, writeErr: (text) => terminal.err(text.trimEnd()) })
    .configureHelp({ showGlobalOptions: false })
    .showHelpAfterError('(see --help)')
    .addHelpText('after', `\nExample:\n  vmpulse status --watch\n\n${exitCodeHelp}`);
  try {
    if (needsService(args)) for (const register of await loadService()) register(program);
    registerStatus(program, terminal);
    registerVm(program, terminal);
    registerGuest(program, terminal);
    registerEvents(program, terminal);
    registerHoldCommands(program, terminal);
    registerSubscription(program, terminal);
    registerWebhook(program, terminal);
    registerScript(program, terminal);
    registerRecovery(program, terminal);
    registerIncident(program, terminal);
    registerTask(program, terminal);
    await program.parseAsync(args, { from: 'user' });
    return exitCodes.ok;
  } catch (thrown) {
    return explain(thrown, args.includes('--json'), terminal);
  }
}

/** Tells what went wrong on stderr, as a sentence or as problem document. */
function explain(thrown: unknown, json: boolean, terminal: Terminal): number {
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  if (terminal.interrupted.aborted) return exitCodes.interrupted;
  if (thrown instanceof ExitError && thrown.quiet) return thrown.exitCode;
  const error = thrown instanceof ExitError ? thrown.error : VmError.from(thrown);
  if (json) {
    terminal.err(toJson(error.toProblem()));
  } else {
    const field = error.field === undefined ? '' : ` (${clean(error.field)})`;
    terminal.err(`vmpulse: ${clean(error.message)}${field}`);
    const isOurs = thrown instanceof VmError || thrown instanceof ExitError;
    // A failure nobody foresaw is one to report, and without its origin nobody could.
    if (!isOurs && thrown instanceof Error)
      terminal.err(clean(thrown.stack ?? thrown.message).replaceAll('\\u{a}', '\n'));
  }
  return thrown instanceof ExitError ? thrown.exitCode : exitCodeOf(error);
}
