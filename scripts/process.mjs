// Runs programs for the set-up and the tests: with a deadline, in a process group of their own, so that
// nothing they started stays behind. Plain JavaScript for Node 20 without packages: it runs before `npm ci`.
import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { constants } from 'node:os';

/** Time between asking a program to end and ending it. */
const KILL_AFTER_MS = 5_000;
/** How much of a program's output is kept in memory for the report of its failure. */
const TAIL_CHARS = 4_000;

/** Process groups to end when this process is told to end. */
const running = new Set();

/** @param {number | undefined} group @param {NodeJS.Signals} signal */
function signalGroup(group, signal) {
  if (group === undefined) return;
  try {
    process.kill(-group, signal);
  } catch {
    // The group has ended already, or is root's (sudo) and ends by its own means.
  }
}

/** @param {NodeJS.Signals} signal */
function onSignal(signal) {
  for (const group of running) signalGroup(group, 'SIGTERM');
  setTimeout(() => {
    for (const group of running) signalGroup(group, 'SIGKILL');
    process.exit(exitCode(signal));
  }, KILL_AFTER_MS).unref();
  interrupted = signal;
}
/** @type {NodeJS.Signals | undefined} */
let interrupted;

/** @param {number | undefined} group */
function enter(group) {
  if (group === undefined) return;
  running.add(group);
  if (running.size === 1) for (const signal of ENDINGS) process.on(signal, onSignal);
}

/** @param {number | undefined} group */
function leave(group) {
  if (!running.delete(group) || running.size > 0) return;
  for (const signal of ENDINGS) process.off(signal, onSignal);
  if (interrupted !== undefined) process.exit(exitCode(interrupted));
}
/** @type {NodeJS.Signals[]} */
const ENDINGS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/**
 * The exit code a shell would report for a program ended by this signal.
 * @param {NodeJS.Signals | null} signal
 * @returns {number}
 */
export function exitCode(signal) {
  return 128 + (signal === null ? 0 : constants.signals[signal]);
}

/**
 * Runs a program to its end.
 * @param {string} command
 * @param {string[]} args
 * @param {{deadlineMs: number, cwd: string, env?: NodeJS.ProcessEnv, logFile?: string,
 *   onLine?: (line: string) => void}} options  with a log file the output goes there, else to the terminal
 * @returns {Promise<{code: number, tail: string, stdout: string, timedOut: boolean}>}  never rejects; 127: not found
 */
export function run(command, args, options) {
  return new Promise((resolve) => {
    const log =
      options.logFile === undefined ? undefined : createWriteStream(options.logFile, { flags: 'a' });
    log?.on('error', () => {});
    log?.write(`\n$ ${command} ${args.join(' ')}\n`);
    const output = log === undefined ? 'inherit' : 'pipe';
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      stdio: ['ignore', output, output],
      detached: true,
    });
    enter(child.pid);
    const result = { code: 0, tail: '', stdout: '', timedOut: false };
    /** @param {string} text */
    const keep = (text) => {
      log?.write(text);
      result.tail = (result.tail + text).slice(-TAIL_CHARS);
      const line = text.trimEnd().split('\n').at(-1)?.trim();
      if (line !== undefined && line !== '') options.onLine?.(line);
    };
    child.stderr?.setEncoding('utf8').on('data', keep);
    child.stdout?.setEncoding('utf8').on('data', (text) => {
      result.stdout = (result.stdout + text).slice(-TAIL_CHARS);
      keep(text);
    });
    /** @type {NodeJS.Timeout | undefined} */
    let kill;
    const deadline = setTimeout(() => {
      result.timedOut = true;
      signalGroup(child.pid, 'SIGTERM');
      kill = setTimeout(() => signalGroup(child.pid, 'SIGKILL'), KILL_AFTER_MS);
    }, options.deadlineMs);
    /** @param {number} code */
    const finish = (code) => {
      clearTimeout(deadline);
      clearTimeout(kill);
      log?.end();
      leave(child.pid);
      resolve({ ...result, code });
    };
    child.once('error', (error) => {
      keep(`${error.message}\n`);
      finish(127);
    });
    child.once('close', (code, signal) => finish(code ?? exitCode(signal)));
  });
}
