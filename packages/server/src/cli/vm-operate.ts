/** `vmpulse vm startup|turn-off|reset|pause|resume|save|discard-saved-state|shutdown|inject-nmi`: a table. */
import { type Task, type VirtualMachine, VmError } from '@vmpulse/client';
import { type Command, InvalidArgumentError } from 'commander';
import { type ConnectionFlags, addConnectionFlags, withServer } from './connection.ts';
import { ExitError, exitCodes } from './exit-code.ts';
import { findMachine } from './machine-name.ts';
import type { Terminal } from './terminal.ts';
import { clean, toJson } from './text.ts';

interface OperateFlags extends ConnectionFlags {
  wait: boolean;
  timeout: number;
}

interface Verb {
  readonly name: string;
  readonly summary: string;
  readonly begin: (vm: VirtualMachine) => Promise<Task>;
}

const verbs: readonly Verb[] = [
  {
    name: 'startup',
    summary: 'start it, from its saved state where there is one',
    begin: (vm) => vm.startup(),
  },
  { name: 'turn-off', summary: 'pull its plug', begin: (vm) => vm.turnOff() },
  { name: 'reset', summary: 'press its reset button', begin: (vm) => vm.reset() },
  { name: 'pause', summary: 'hold its processors', begin: (vm) => vm.pause() },
  { name: 'resume', summary: 'let a paused machine go on', begin: (vm) => vm.resume() },
  { name: 'save', summary: 'save its memory and turn it off', begin: (vm) => vm.save() },
  {
    name: 'discard-saved-state',
    summary: 'throw its saved memory away',
    begin: (vm) => vm.discardSavedState(),
  },
  { name: 'shutdown', summary: 'ask its guest to shut down in order', begin: (vm) => vm.guestOS.shutdown() },
  {
    name: 'inject-nmi',
    summary: 'make its guest write a dump (non-maskable interrupt)',
    begin: (vm) => vm.injectNmi(),
  },
];

function parseTimeout(text: string): number {
  const seconds = Number(text);
  if (Number.isFinite(seconds) && seconds > 0 && seconds <= 86_400) return seconds;
  throw new InvalidArgumentError('Give seconds, at most 86400.');
}

/** Adds a command for each verb. */
export function registerVmOperations(vm: Command, terminal: Terminal): void {
  for (const verb of verbs) {
    const command = vm
      .command(`${verb.name} <name>`)
      .description(verb.summary)
      .option('--no-wait', 'do not wait for its end')
      .option('--timeout <seconds>', 'how long to wait', parseTimeout, 600);
    addConnectionFlags(command, `vmpulse vm ${verb.name} web-1`);
    command.action(async (name: string, flags: OperateFlags) => {
      await withServer(flags, terminal, async (server) => {
        const machine = await findMachine(server, name);
        const task = await verb.begin(machine);
        if (flags.wait) await waitFor(task, flags.timeout * 1_000, terminal);
        else if (flags.json !== true)
          terminal.err(`vmpulse: under way; look at it with: vmpulse task show ${clean(task.id)}`);
        if (flags.json === true) await terminal.out(toJson(task.info, 2));
        else if (flags.wait)
          await terminal.out(clean(`'${machine.name}' is ${(await machine.refresh()).state}`));
      });
    });
  }
}

/** Shows progress while it waits. A task that failed is exit code 1, whatever its error would be at once. */
async function waitFor(task: Task, timeoutMs: number, terminal: Terminal): Promise<void> {
  const show = (): void =>
    terminal.progress(clean(`${task.description}: ${Math.round(task.percentComplete)} %`));
  show();
  try {
    await task.waitForCompletion(timeoutMs, { signal: terminal.interrupted, onProgress: show });
  } catch (thrown) {
    const error = VmError.from(thrown);
    if (task.isComplete) throw new ExitError(exitCodes.failed, error);
    throw error;
  } finally {
    terminal.progress('');
  }
}
