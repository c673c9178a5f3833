/** `vmpulse guest exec` */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type GuestExecutionResult, type GuestOutput, VmError, guestBounds } from '@vmpulse/client';
import { type Command, InvalidArgumentError } from 'commander';
import { type ConnectionFlags, addConnectionFlags, withServer } from './connection.ts';
import { ExitError } from './exit-code.ts';
import { findMachine } from './machine-name.ts';
import type { Terminal } from './terminal.ts';
import { cleanLines, toJson } from './text.ts';

interface ExecFlags extends ConnectionFlags {
  timeout?: number;
  input?: string;
}

/** What shells add to a signal's number. */
const signalExit = 128;

function parseTimeout(text: string): number {
  const { least, most } = guestBounds.executeTimeoutMs;
  const milliseconds = Math.round(Number(text) * 1_000);
  if (milliseconds >= least && milliseconds <= most) return milliseconds;
  throw new InvalidArgumentError(`Give seconds, from ${least / 1_000} to ${most / 1_000}.`);
}

/** On a terminal what the guest wrote cannot steer it; into a file or pipe it goes byte by byte. */
async function show(output: GuestOutput, to: 'out' | 'err', terminal: Terminal): Promise<void> {
  if (output.text === '') return;
  const isTty = to === 'out' ? terminal.isTty : terminal.isErrTty;
  if (isTty) await terminal.raw(Buffer.from(cleanLines(output.text)), to);
  else
    await terminal.raw(
      Buffer.from(output.base64 ?? output.text, output.base64 === null ? 'utf8' : 'base64'),
      to,
    );
}

async function readInput(file: string, terminal: Terminal): Promise<string> {
  try {
    if (file === '-') return await terminal.input();
    return await readFile(resolve(terminal.workingDirectory, file), 'utf8');
  } catch (cause) {
    throw new VmError('E_FILE_NOT_FOUND', `The input ${file} cannot be read.`, { cause });
  }
}

/** The guest's program has the last word on the exit code; why it is not 0 it said itself. */
function passOn({ exitCode, signal }: GuestExecutionResult): void {
  if (exitCode === 0) return;
  const code = exitCode ?? (signal === null ? 1 : signalExit + signal);
  const how = exitCode === null ? `was ended by signal ${signal}` : `ended with exit code ${exitCode}`;
  throw new ExitError(code, new VmError('E_FAIL', `The program ${how}.`), { quiet: exitCode !== null });
}

/** Adds the command. */
export function registerGuestExec(guest: Command, terminal: Terminal): void {
  const command = guest
    .command('exec <name> <program> [args...]')
    .description("run a program in a machine's guest, without a shell, and end with its exit code")
    .option('--timeout <seconds>', 'how long it may take (default 20, at most 60)', parseTimeout)
    .option('--input <file>', 'what it reads from its standard input; - is that of this command')
    .addHelpText(
      'after',
      '\nEnds with the exit code of the program (128 and the signal where one ended it); --json tells it apart from' +
        '\nthose of vmpulse itself. A program that is late goes on in the guest.',
    );
  addConnectionFlags(
    command,
    'vmpulse guest exec web-1 uptime\nvmpulse guest exec --timeout 60 web-1 -- /bin/sh -c "df -h | tail -1"',
  );
  command.action(async (name: string, program: string, args: string[], flags: ExecFlags) => {
    await withServer(flags, terminal, async (server) => {
      const { guestOS } = await findMachine(server, name);
      const input = flags.input === undefined ? undefined : await readInput(flags.input, terminal);
      const result = await guestOS.executeCommand(program, args, {
        signal: terminal.interrupted,
        ...(flags.timeout === undefined ? {} : { timeoutMs: flags.timeout }),
        ...(input === undefined ? {} : { input }),
      });
      if (flags.json === true) {
        await terminal.out(toJson(result, 2));
      } else {
        await show(result.stdout, 'out', terminal);
        await show(result.stderr, 'err', terminal);
        if (result.truncated) terminal.err('vmpulse: the output was cut off');
      }
      passOn(result);
    });
  });
}
