/**
 * The QEMU guest agent of one machine, as vmpulse needs it. It connects when first asked, and never asks by itself.
 * Commands and answers: QEMU's qga/qapi-schema.json. Every answer is checked; the guest's text is printable, bounded.
 */
import { VmError } from '@vmpulse/wire';
import type { Clock } from '../clock.ts';
import { agentCommandTimeoutMs, maxAgentLineBytes } from '../limits.ts';
import { AgentChannel, type AgentRequest } from './agent-channel.ts';
import { nonsense, record } from './agent-answer.ts';
import { AgentFiles } from './agent-files.ts';
import { printable } from './hello.ts';
import type { AgentPing } from './source.ts';

/** Longest answer of a command whose answers are short, bytes; `guest-info` is the longest, below 10 KiB. */
const maxShortAnswerBytes: number = 64 * 1024;
/** Commands of one agent that are remembered; QEMU 10 has below 60. */
const maxAgentCommands = 256;
/** What one stream of a program's output may hold: both, as base64, fit a line. */
const maxOutputLimitBytes: number = Math.floor(((maxAgentLineBytes - 4_096) * 3) / 8);
const firstPollMs = 10;
const slowestPollMs = 250;

/** The guest's operating system; null where the guest does not say, or says what is not printable. */
export interface AgentOsInfo {
  readonly id: string | null;
  readonly prettyName: string | null;
  readonly version: string | null;
  readonly kernelRelease: string | null;
  readonly machine: string | null;
}

/** The agent's version and its commands, each with whether it is enabled. */
export interface AgentInfo {
  readonly version: string | null;
  readonly commands: ReadonlyMap<string, boolean>;
}

/** How a program is run in the guest. */
export interface ExecuteOptions {
  /** Given to its standard input. */
  readonly input?: Uint8Array;
  /** For all of it but the last question. A program that is late goes on in the guest: the agent can not end it. */
  readonly timeoutMs: number;
  /** Kept of each stream; at most 390,000. More than 1 MiB of both together fails with E_BUFFER_OVERFLOW. */
  readonly maxOutputBytes: number;
}

/** How a program ended: by itself with `exitCode`, or by `signal` (on Windows: exception code). */
export interface ExecuteResult {
  readonly exitCode: number | null;
  readonly signal: number | null;
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  /** Was any of the output cut off? */
  readonly truncated: boolean;
}

/**
 * Errors of all methods but `ping`: VM_E_ADDITIONS_NOT_AVAIL (no answer, or nonsense), VM_E_TIMED_OUT,
 * VM_E_ADDITIONS_FEATURE_NOT_AVAIL (not known or disabled), E_FAIL (the guest refused), VM_E_OUT_OF_RESOURCE (too
 * many wait).
 */
export class GuestAgent {
  readonly #clock: Clock;
  readonly #channel: AgentChannel;
  readonly #files: AgentFiles;

  /** `address`: path of the agent port's Unix socket. */
  constructor(clock: Clock, address: string) {
    this.#clock = clock;
    this.#channel = new AgentChannel(clock, address);
    this.#files = new AgentFiles((command, args, maxAnswerBytes) =>
      this.#request(command, agentCommandTimeoutMs, args, maxAnswerBytes),
    );
  }

  /** A command other than a ping is out and not answered: that the agent is silent says nothing. */
  get busy(): boolean {
    return this.#channel.busy;
  }

  /** Monotonic time of the last valid answer, one too late for its command included; null if there was none. */
  get lastAnswerMs(): number | null {
    return this.#channel.lastAnswerMs;
  }

  /** Ends the connection and what waits on it. Idempotent. */
  close(): void {
    this.#channel.close();
  }

  /** Does the agent answer within `timeoutMs`? Never rejects. Any answer that comes meanwhile counts. */
  async ping(timeoutMs: number): Promise<AgentPing> {
    const startMs = this.#clock.monotonicMs();
    try {
      await this.#channel.request({
        execute: 'guest-ping',
        timeoutMs,
        maxAnswerBytes: maxShortAnswerBytes,
        kind: 'ping',
      });
      return { answered: true, latencyMs: this.#clock.monotonicMs() - startMs };
    } catch (error) {
      const { code } = VmError.from(error);
      // It can refuse a ping only by answering it.
      if (code === 'E_FAIL' || code === 'VM_E_ADDITIONS_FEATURE_NOT_AVAIL') {
        return { answered: true, latencyMs: this.#clock.monotonicMs() - startMs };
      }
      if (this.#channel.busy || code === 'VM_E_OUT_OF_RESOURCE') return { answered: false, reason: 'busy' };
      return { answered: false, reason: this.#channel.connected ? 'silent' : 'notConnected' };
    }
  }

  /** What the guest's operating system calls itself. */
  async osInfo(timeoutMs: number = agentCommandTimeoutMs): Promise<AgentOsInfo> {
    const info = await this.#ask('guest-get-osinfo', timeoutMs);
    return {
      id: printable(info['id']),
      prettyName: printable(info['pretty-name']),
      version: printable(info['version']),
      kernelRelease: printable(info['kernel-release']),
      machine: printable(info['machine']),
    };
  }

  /** The guest's host name, null when it is not printable. */
  async hostName(timeoutMs: number = agentCommandTimeoutMs): Promise<string | null> {
    const answer = await this.#ask('guest-get-host-name', timeoutMs);
    return printable(answer['host-name']);
  }

  /** The agent's version and commands. */
  async info(timeoutMs: number = agentCommandTimeoutMs): Promise<AgentInfo> {
    const answer = await this.#ask('guest-info', timeoutMs);
    const listed: unknown = answer['supported_commands'];
    if (!Array.isArray(listed)) throw nonsense('guest-info');
    const commands = new Map<string, boolean>();
    for (const entry of listed.slice(0, maxAgentCommands) as unknown[]) {
      const command = record(entry);
      const name = printable(command?.['name']);
      if (command !== null && name !== null) commands.set(name, command['enabled'] === true);
    }
    return { version: printable(answer['version']), commands };
  }

  /**
   * Asks the guest to end in order. Resolves when the agent took it (it gives no answer then: vmpulse waits half a
   * second for a refusal, then for a sync's answer, the connection's end or the deadline). QEMU tells whether it ends.
   */
  async shutdown(
    mode: 'powerdown' | 'reboot' | 'halt',
    timeoutMs: number = agentCommandTimeoutMs,
  ): Promise<void> {
    await this.#channel.request({
      execute: 'guest-shutdown',
      arguments: { mode },
      timeoutMs,
      maxAnswerBytes: maxShortAnswerBytes,
      kind: 'unanswered',
    });
  }

  /** Are the guest's file systems frozen? */
  async freezeStatus(timeoutMs: number = agentCommandTimeoutMs): Promise<'thawed' | 'frozen'> {
    const status = await this.#request('guest-fsfreeze-status', timeoutMs);
    if (status !== 'thawed' && status !== 'frozen') throw nonsense('guest-fsfreeze-status');
    return status;
  }

  /** Freezes every file system that can be frozen, for a consistent copy of its disk; answers how many. */
  freeze(timeoutMs: number): Promise<number> {
    return this.#count('guest-fsfreeze-freeze', timeoutMs);
  }

  /** Thaws what was frozen; answers how many. */
  thaw(timeoutMs: number): Promise<number> {
    return this.#count('guest-fsfreeze-thaw', timeoutMs);
  }

  /** Writes a file of the guest anew. */
  writeFile(path: string, content: Uint8Array): Promise<void> {
    return this.#files.write(path, content);
  }

  /** A file of the guest, null when there is none. Further errors: E_BUFFER_OVERFLOW past `maxBytes`. */
  readFile(path: string, maxBytes: number): Promise<Uint8Array | null> {
    return this.#files.read(path, maxBytes);
  }

  /** Runs a program in the guest and waits for its end. Further errors: E_INVALIDARG, E_BUFFER_OVERFLOW. */
  async execute(
    path: string,
    args: readonly string[],
    { input, timeoutMs, maxOutputBytes }: ExecuteOptions,
  ): Promise<ExecuteResult> {
    if (!(maxOutputBytes >= 0 && maxOutputBytes <= maxOutputLimitBytes)) {
      throw new VmError('E_INVALIDARG', `maxOutputBytes must be from 0 to ${maxOutputLimitBytes}.`);
    }
    const endMs = this.#clock.monotonicMs() + timeoutMs;
    const started = await this.#ask('guest-exec', Math.min(timeoutMs, agentCommandTimeoutMs), {
      path,
      arg: args,
      'capture-output': true,
      ...(input === undefined ? {} : { 'input-data': Buffer.from(input).toString('base64') }),
    });
    const pid: unknown = started['pid'];
    if (!Number.isSafeInteger(pid)) throw nonsense('guest-exec');
    for (let waitMs = firstPollMs; ; waitMs = Math.min(waitMs * 2, slowestPollMs)) {
      const leftMs = endMs - this.#clock.monotonicMs();
      if (leftMs <= 0) {
        const detail = `${path} did not end within ${timeoutMs} ms and goes on in the guest. Look at it there.`;
        throw new VmError('VM_E_TIMED_OUT', detail);
      }
      await this.#clock.sleep(Math.min(waitMs, leftMs));
      const status = await this.#ask('guest-exec-status', agentCommandTimeoutMs, { pid }, maxAgentLineBytes);
      if (typeof status['exited'] !== 'boolean') throw nonsense('guest-exec-status');
      if (status['exited']) return executed(status, maxOutputBytes);
    }
  }

  #request(
    command: string,
    timeoutMs: number,
    args?: Readonly<Record<string, unknown>>,
    maxAnswerBytes: number = maxShortAnswerBytes,
  ): Promise<unknown> {
    const request: AgentRequest = { execute: command, timeoutMs, maxAnswerBytes, kind: 'operator' };
    return this.#channel.request(args === undefined ? request : { ...request, arguments: args });
  }

  async #count(command: string, timeoutMs: number): Promise<number> {
    const count = await this.#request(command, timeoutMs);
    if (!Number.isSafeInteger(count)) throw nonsense(command);
    return count as number;
  }

  /** The answer of a command that answers with an object. */
  async #ask(
    command: string,
    timeoutMs: number,
    args?: Readonly<Record<string, unknown>>,
    maxAnswerBytes?: number,
  ): Promise<Record<string, unknown>> {
    const answer = record(await this.#request(command, timeoutMs, args, maxAnswerBytes));
    if (answer === null) throw nonsense(command);
    return answer;
  }
}

function executed(status: Record<string, unknown>, maxOutputBytes: number): ExecuteResult {
  const stdout = output(status['out-data']);
  const stderr = output(status['err-data']);
  const longest = Math.max(stdout.length, stderr.length);
  return {
    exitCode: integer(status['exitcode']),
    signal: integer(status['signal']),
    stdout: stdout.subarray(0, maxOutputBytes),
    stderr: stderr.subarray(0, maxOutputBytes),
    truncated:
      longest > maxOutputBytes || status['out-truncated'] === true || status['err-truncated'] === true,
  };
}

function output(base64: unknown): Buffer {
  if (base64 === undefined) return Buffer.alloc(0);
  if (typeof base64 !== 'string') throw nonsense('guest-exec-status');
  return Buffer.from(base64, 'base64');
}

function integer(value: unknown): number | null {
  return Number.isSafeInteger(value) ? (value as number) : null;
}
