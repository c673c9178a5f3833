/**
 * One run of a script: a process group of its own, watched until nothing of it is left. The group is told to end
 * (SIGTERM, later SIGKILL) at the deadline, and also when its first process has ended and left others behind: what is
 * to outlive a script is no part of it. What it writes is read slowly and forgotten but for its end.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import type { ScriptOutcome } from '@vmpulse/wire';
import { type Clock, withDeadline } from '../clock.ts';
import {
  keptScriptOutputBytes,
  scriptDrainMs,
  scriptGonePollMs,
  scriptKillMs,
  scriptOutputPauseMs,
  scriptOutputTurnBytes,
  scriptStopTermMs,
} from '../limits.ts';
import { makeOrdinary } from '../process-priority.ts';
import { whyNoProgram } from './script-format.ts';

/** What is run, and how. */
export interface ScriptRun {
  readonly command: readonly string[];
  /** Its working directory, which is there. */
  readonly directory: string;
  /** All of its environment. */
  readonly environment: Readonly<Record<string, string>>;
  /** Given to its standard input. */
  readonly input: string;
  readonly timeoutMs: number;
  /** From SIGTERM to SIGKILL. */
  readonly termMs: number;
  /** As whom; undefined: as the service. */
  readonly user?: { readonly uid: number; readonly gid: number };
  /** Ends it before its time, and sooner. */
  readonly signal: AbortSignal;
}

/** How a run ended. */
export interface ScriptResult {
  readonly outcome: ScriptOutcome;
  readonly exitStatus: number | null;
  readonly signal: string | null;
  readonly durationMs: number;
  readonly output: string;
  readonly detail: string;
}

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Runs it to its end, and that of all its group. Never rejects. */
export async function runScript(clock: Clock, run: ScriptRun): Promise<ScriptResult> {
  const beganMs = clock.monotonicMs();
  const notStarted = (detail: string): ScriptResult => ({
    outcome: 'notStarted',
    exitStatus: null,
    signal: null,
    durationMs: clock.monotonicMs() - beganMs,
    output: '',
    detail,
  });
  const looking = whyNoProgram(run.command[0] ?? '', run.directory);
  // On a mount that hangs not even a look ends.
  const foreign = await withDeadline(clock, looking, run.timeoutMs, unseen).catch(() => unseen());
  if (foreign instanceof Error) return { ...notStarted(foreign.message), outcome: 'timedOut' };
  const started = foreign ?? (await start(run));
  if (typeof started === 'string') return notStarted(started);
  const output = new OutputEnd(clock);
  const { child, pid, ended } = started;
  output.take(child.stdout);
  output.take(child.stderr);
  // One that reads nothing of what it is given, or ends first, is as good as any other.
  child.stdin.on('error', () => undefined);
  child.stdin.end(run.input);
  const cutOff = new AbortController();
  let late = false;
  // One that ended while this process stood still was in time.
  const cut = (): void => {
    late = true;
    cutOff.abort();
  };
  const deadline = clock.setTimer(() => clock.afterPoll(cut), run.timeoutMs);
  const abort = (): void => cutOff.abort();
  run.signal.addEventListener('abort', abort, { once: true });
  if (run.signal.aborted) abort();
  const ofItself = await Promise.race([ended, aborted(cutOff.signal)]);
  deadline.cancel();
  run.signal.removeEventListener('abort', abort);
  await endGroup(clock, pid, run);
  const { code, signal } = (await Promise.race([ended, clock.sleep(scriptKillMs)])) ?? {
    code: null,
    signal: null,
  };
  await output.end();
  child.stdin.destroy();
  const inTime = ofItself !== undefined;
  const why = late ? `it ran for longer than ${run.timeoutMs / 1_000} s` : 'the service stops';
  return {
    outcome: inTime ? (code === 0 ? 'ok' : 'failed') : late ? 'timedOut' : 'failed',
    exitStatus: code,
    signal,
    durationMs: clock.monotonicMs() - beganMs,
    output: output.text(),
    detail: inTime ? '' : why,
  };
}

function unseen(): Error {
  return new Error('its file could not be looked at in time');
}

function aborted(signal: AbortSignal): Promise<undefined> {
  if (signal.aborted) return Promise.resolve(undefined);
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });
}

interface Started {
  readonly child: ChildProcessWithoutNullStreams;
  readonly pid: number;
  readonly ended: Promise<Ended>;
}

/** The process, or why there is none. */
function start(run: ScriptRun): Promise<Started | string> {
  const [executable = '', ...args] = run.command;
  return new Promise((resolve) => {
    let child: ChildProcessWithoutNullStreams;
    try {
      child = spawn(executable, args, {
        cwd: run.directory,
        env: { ...run.environment },
        detached: true,
        stdio: 'pipe',
        ...run.user,
      });
    } catch (error) {
      resolve(sentenceOf(error, executable));
      return;
    }
    const ended = new Promise<Ended>((done) => {
      child.once('exit', (code, signal) => done({ code, signal }));
    });
    child.on('error', (error) => resolve(sentenceOf(error, executable)));
    child.once('spawn', () => {
      const pid = child.pid ?? 0;
      makeOrdinary(pid);
      resolve({ child, pid, ended });
    });
  });
}

function sentenceOf(error: unknown, executable: string): string {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  const why: Readonly<Record<string, string>> = {
    ENOENT: `there is no file ${executable}, or not the interpreter that its first line names`,
    EACCES: `${executable} is not executable for the user it is run as`,
    EPERM: `the service may not run ${executable} as the user it is to be run as`,
    E2BIG: 'its arguments are too long',
    EAGAIN: 'the host has no room for another process',
    ENOMEM: 'the host has no memory for another process',
  };
  return why[code] ?? `${executable}: ${error instanceof Error ? error.message : String(error)}`;
}

/** Ends what is left of a group. */
async function endGroup(clock: Clock, group: number, run: ScriptRun): Promise<void> {
  if (!signalGroup(group, 'SIGTERM')) return;
  const termMs = run.signal.aborted ? Math.min(run.termMs, scriptStopTermMs) : run.termMs;
  if (await groupGone(clock, group, termMs)) return;
  signalGroup(group, 'SIGKILL');
  await groupGone(clock, group, scriptKillMs);
}

async function groupGone(clock: Clock, group: number, withinMs: number): Promise<boolean> {
  const untilMs = clock.monotonicMs() + withinMs;
  while (signalGroup(group, 0)) {
    if (clock.monotonicMs() >= untilMs) return false;
    await clock.sleep(scriptGonePollMs);
  }
  return true;
}

/** False where the group has no process any more. */
function signalGroup(group: number, signal: NodeJS.Signals | 0): boolean {
  // 0 and 1 would be the service's own group, and everything.
  if (group <= 1) return false;
  try {
    process.kill(-group, signal);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function closed(stream: Readable): Promise<void> {
  return new Promise((resolve) => {
    stream.once('close', () => resolve());
  });
}

/** The end of what a script writes. */
class OutputEnd {
  readonly #clock: Clock;
  readonly #streams: Readable[] = [];
  readonly #ends: Promise<void>[] = [];
  #kept: Buffer = Buffer.alloc(0);
  #turnBytes = 0;
  #closed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  take(stream: Readable): void {
    this.#streams.push(stream);
    stream.on('error', () => undefined);
    this.#ends.push(closed(stream));
    stream.on('data', (chunk: Buffer) => this.#add(chunk, stream));
  }

  /** What is in the pipes still is read, for a short time; then they are closed, whoever holds their other end. */
  async end(): Promise<void> {
    const late = (): Error => new Error('others hold the pipes');
    await withDeadline(this.#clock, Promise.all(this.#ends), scriptDrainMs, late).catch(() => undefined);
    this.#closed = true;
    for (const stream of this.#streams) stream.destroy();
  }

  text(): string {
    // What cut a character in two is no part of the text.
    let from = 0;
    while (from < 3 && ((this.#kept[from] ?? 0) & 0xc0) === 0x80) from += 1;
    return this.#kept.subarray(this.#kept.length < keptScriptOutputBytes ? 0 : from).toString('utf8');
  }

  #add(chunk: Buffer, stream: Readable): void {
    const all = Buffer.concat([this.#kept, chunk.subarray(-keptScriptOutputBytes)]);
    this.#kept = Buffer.from(all.subarray(-keptScriptOutputBytes));
    this.#turnBytes += chunk.length;
    if (this.#turnBytes < scriptOutputTurnBytes) return;
    this.#turnBytes = 0;
    stream.pause();
    this.#clock.setTimer(() => {
      if (!this.#closed) stream.resume();
    }, scriptOutputPauseMs);
  }
}
