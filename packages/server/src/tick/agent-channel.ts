/**
 * One guest agent's socket, spoken to by one command at a time. What comes out of it is the guest's:
 *
 * 1. A command goes out only on a connection in sync: `guest-sync-delimited` with a new random id was answered after
 *    every connect, timeout and answer that made no sense. What came before that answer is thrown away.
 * 2. A second command never goes out while one is; the others wait in a bounded queue, the operator's before pings.
 * 3. Every command ends by its deadline, which counts from when it was asked for.
 * 4. At most `maxAnswerBytes` of an answer are kept, and after 4 MiB of anything else the connection is ended.
 *
 * It connects when first asked and sends nothing by itself.
 */
import { randomInt } from 'node:crypto';
import { VmError } from '@vmpulse/wire';
import type { Clock, Timer } from '../clock.ts';
import { maxAgentLineBytes } from '../limits.ts';
import { nonsense, notAvailable, parseAnswer, refused, type AgentAnswer } from './agent-answer.ts';
import { AgentFrames } from './agent-frame.ts';
import { PortSocket } from './port-socket.ts';

/** Commands waiting for one agent; more are refused with VM_E_OUT_OF_RESOURCE. */
export const maxAgentQueue = 32;
/** Longest command, bytes: the input and arguments of a program to run. */
const maxAgentRequestBytes: number = 256 * 1024;
/** A sync may have been lost (no agent had the port open), so it is sent again after this. */
const resyncMs = 1_000;
/** An agent refuses a shutdown within this, or has taken it. */
const refusalMs = 500;
/** Input that answers nothing, bytes, after which the connection is ended; the next command connects again. */
const maxDiscardedBytes: number = 4 * maxAgentLineBytes;
/** Longest answer while in sync is being sought, bytes. */
const maxSyncAnswerBytes = 4_096;

/** A command and how it is to be handled. */
export interface AgentRequest {
  readonly execute: string;
  readonly arguments?: Readonly<Record<string, unknown>>;
  readonly timeoutMs: number;
  readonly maxAnswerBytes: number;
  /** `ping`: goes last, and any answer of the agent is its answer. */
  readonly kind: 'operator' | 'ping' | 'unanswered';
}

/** How far a command has come. */
type Phase =
  | 'queued'
  /** It is its turn: connecting or getting in sync. */
  | 'preparing'
  | 'sent'
  /** `unanswered` was not refused: a sync's answer will show that the agent has dealt with it. */
  | 'confirming';

interface Job {
  readonly request: AgentRequest;
  readonly line: Buffer;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: VmError) => void;
  phase: Phase;
  /** The connection was there before; if it turns out dead, one new one is tried. */
  mayReconnect: boolean;
  timer: Timer | null;
}

type Connection =
  | { readonly kind: 'none' }
  | { readonly kind: 'connecting'; readonly socket: PortSocket }
  | { readonly kind: 'unsynced'; readonly socket: PortSocket }
  | { readonly kind: 'syncing'; readonly socket: PortSocket; readonly id: number; readonly sentAtMs: number }
  | { readonly kind: 'ready'; readonly socket: PortSocket };

/** See the head of this file. */
export class AgentChannel {
  readonly #clock: Clock;
  readonly #address: string;
  readonly #frames: AgentFrames = new AgentFrames({
    bound: () => this.#answerBound(),
    line: (text, delimited) => this.#line(parseAnswer(text), delimited),
    tooLong: () => this.#tooLong(),
  });
  #connection: Connection = { kind: 'none' };
  #current: Job | null = null;
  #queue: Job[] = [];
  #discardedBytes = 0;
  #stepTimer: Timer | null = null;
  #lastAnswerMs: number | null = null;
  #closed = false;

  constructor(clock: Clock, address: string) {
    this.#clock = clock;
    this.#address = address;
  }

  /** Monotonic time of the last answer that made sense, one that came too late included; null if none ever came. */
  get lastAnswerMs(): number | null {
    return this.#lastAnswerMs;
  }

  /** Is the socket connected? (Whether anyone is at the guest's end of it is not known.) */
  get connected(): boolean {
    return this.#connection.kind !== 'none' && this.#connection.kind !== 'connecting';
  }

  /** Is a command other than a ping out that has not been answered? */
  get busy(): boolean {
    const job = this.#current;
    return job !== null && job.request.kind !== 'ping' && job.phase !== 'preparing';
  }

  /**
   * The `return` of the agent's answer (undefined where another answer stood for it).
   * Errors: VM_E_ADDITIONS_NOT_AVAIL (no socket, no answer to sync, nonsense), VM_E_TIMED_OUT (in sync, but no
   * answer), VM_E_ADDITIONS_FEATURE_NOT_AVAIL, E_BUFFER_OVERFLOW, E_INVALIDARG, E_FAIL (the agent's own error),
   * VM_E_OUT_OF_RESOURCE (queue full).
   */
  request(request: AgentRequest): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const { execute } = request;
      const command =
        request.arguments === undefined ? { execute } : { execute, arguments: request.arguments };
      const line = Buffer.from(`${JSON.stringify(command)}\n`);
      const refusal = this.#refusal(line);
      if (refusal !== null) {
        reject(refusal);
        return;
      }
      const job: Job = { request, line, resolve, reject, phase: 'queued', mayReconnect: true, timer: null };
      // An answer that arrived while this process stood still is read first.
      const late = (): void => this.#clock.afterPoll(() => this.#deadline(job));
      job.timer = this.#clock.setTimer(late, request.timeoutMs);
      const before =
        request.kind === 'ping' ? -1 : this.#queue.findIndex((other) => other.request.kind === 'ping');
      this.#queue.splice(before < 0 ? this.#queue.length : before, 0, job);
      this.#next();
    });
  }

  /** Ends the connection; what waits fails with VM_E_ADDITIONS_NOT_AVAIL. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#disconnect();
    const jobs = this.#current === null ? this.#queue : [this.#current, ...this.#queue];
    this.#queue = [];
    for (const job of jobs) this.#settle(job, notAvailable('The machine is no longer watched.'));
  }

  #refusal(line: Buffer): VmError | null {
    if (this.#closed) return notAvailable('The machine is no longer watched.');
    if (line.length > maxAgentRequestBytes) {
      return new VmError(
        'E_INVALIDARG',
        `The command for the guest agent is longer than ${maxAgentRequestBytes} bytes.`,
      );
    }
    if (this.#queue.length >= maxAgentQueue) {
      return new VmError(
        'VM_E_OUT_OF_RESOURCE',
        'Too many commands wait for this guest agent. Try again later.',
      );
    }
    return null;
  }

  #next(): void {
    if (this.#current !== null || this.#closed) return;
    const job = this.#queue.shift();
    if (job === undefined) return;
    this.#current = job;
    job.phase = 'preparing';
    this.#prepare(job);
  }

  /** Brings `job` one step nearer to being sent, as far as the connection allows. */
  #prepare(job: Job): void {
    const connection = this.#connection;
    switch (connection.kind) {
      case 'none':
        job.mayReconnect = false;
        return this.#connect();
      case 'connecting':
        return;
      case 'unsynced':
      case 'syncing':
        return this.#sync();
      case 'ready':
        job.phase = 'sent';
        connection.socket.write(job.line);
        if (job.request.kind === 'unanswered') this.#after(refusalMs, () => this.#confirm(job));
        return;
    }
  }

  #connect(): void {
    this.#frames.reset();
    this.#discardedBytes = 0;
    const socket = new PortSocket(this.#clock, this.#address, {
      opened: () => {
        this.#connection = { kind: 'unsynced', socket };
        if (this.#current !== null) this.#prepare(this.#current);
      },
      read: (bytes, length) => {
        this.#read(bytes, length);
        return 0;
      },
      closed: (code) => this.#lost(code),
    });
    this.#connection = { kind: 'connecting', socket };
  }

  /** Sends a sync, unless one is under way; again every second as long as a command waits for it. */
  #sync(): void {
    const connection = this.#connection;
    if (connection.kind !== 'unsynced' && connection.kind !== 'syncing') return;
    const { socket } = connection;
    const now = this.#clock.monotonicMs();
    const age = connection.kind === 'syncing' ? now - connection.sentAtMs : resyncMs;
    if (age < resyncMs) return this.#after(resyncMs - age, () => this.#sync());
    // A guest that takes nothing gets nothing more: what waits for it stays bounded.
    if (socket.unsentBytes === 0) {
      const id = randomInt(1, 2 ** 47);
      this.#connection = { kind: 'syncing', socket, id, sentAtMs: now };
      const sync = JSON.stringify({ execute: 'guest-sync-delimited', arguments: { id } });
      socket.write(Buffer.concat([Buffer.from([0xff]), Buffer.from(`${sync}\n`)]));
    }
    this.#after(resyncMs, () => this.#sync());
  }

  #confirm(job: Job): void {
    if (this.#connection.kind !== 'ready') return;
    job.phase = 'confirming';
    this.#connection = { kind: 'unsynced', socket: this.#connection.socket };
    this.#sync();
  }

  /** The one timer of a step; it ends with the command. */
  #after(delayMs: number, step: () => void): void {
    this.#stepTimer?.cancel();
    this.#stepTimer = this.#clock.setTimer(step, delayMs);
  }

  #read(bytes: Uint8Array, length: number): void {
    this.#discardedBytes += length;
    this.#frames.feed(bytes, length);
    if (this.#discardedBytes <= maxDiscardedBytes) return;
    this.#disconnect();
    if (this.#current === null) return;
    this.#settle(this.#current, notAvailable('The guest agent sent a flood of what nobody asked for.'));
  }

  #tooLong(): void {
    if (this.#connection.kind !== 'ready') return;
    this.#outOfSync(
      new VmError(
        'E_BUFFER_OVERFLOW',
        'The guest agent answered more than vmpulse takes. Ask for less at once.',
      ),
    );
  }

  #answerBound(): number {
    if (this.#connection.kind !== 'ready' || this.#current === null) return maxSyncAnswerBytes;
    return this.#current.request.maxAnswerBytes;
  }

  #line(answer: AgentAnswer | null, delimited: boolean): void {
    if (this.#connection.kind === 'syncing') this.#syncLine(answer, delimited, this.#connection);
    else if (this.#connection.kind === 'ready') this.#answerLine(answer);
  }

  #syncLine(answer: AgentAnswer | null, delimited: boolean, sync: Connection & { kind: 'syncing' }): void {
    const job = this.#current;
    if (!delimited || answer?.kind !== 'return' || answer.value !== sync.id) {
      if (job?.phase === 'confirming' && answer?.kind === 'error') {
        this.#settle(job, refused(job.request.execute, answer));
      }
      return;
    }
    this.#connection = { kind: 'ready', socket: sync.socket };
    this.#stepTimer?.cancel();
    this.#answered();
    if (job === null) return;
    if (job.phase === 'confirming' || job.request.kind === 'ping') this.#settle(job, undefined);
    else this.#prepare(job);
  }

  #answerLine(answer: AgentAnswer | null): void {
    const job = this.#current;
    if (job === null) return this.#outOfSync(null);
    if (answer === null) return this.#outOfSync(nonsense(job.request.execute));
    this.#answered();
    this.#settle(job, answer.kind === 'error' ? refused(job.request.execute, answer) : answer.value);
  }

  /** The agent lives: that is what every waiting ping wanted to know. */
  #answered(): void {
    this.#discardedBytes = 0;
    this.#lastAnswerMs = this.#clock.monotonicMs();
    const pings = this.#queue.filter((job) => job.request.kind === 'ping');
    if (this.#current?.phase === 'preparing' && this.#current.request.kind === 'ping')
      pings.push(this.#current);
    for (const ping of pings) this.#settle(ping, undefined);
  }

  #deadline(job: Job): void {
    const { execute, timeoutMs, kind } = job.request;
    switch (job.phase) {
      case 'queued': {
        const detail = `${execute} waited ${timeoutMs} ms for other commands to end. Try again later.`;
        return this.#settle(job, new VmError('VM_E_TIMED_OUT', detail));
      }
      case 'preparing':
        return this.#settle(job, notAvailable(`The guest agent did not answer within ${timeoutMs} ms.`));
      case 'sent': {
        if (kind === 'unanswered') return this.#outOfSync(undefined);
        const detail = `${execute} was sent but not answered within ${timeoutMs} ms; it may still be done.`;
        return this.#outOfSync(new VmError('VM_E_TIMED_OUT', `${detail} Look at the guest.`));
      }
      case 'confirming':
        return this.#settle(job, undefined);
    }
  }

  #lost(code: string | null): void {
    this.#connection = { kind: 'none' };
    this.#stepTimer?.cancel();
    const job = this.#current;
    if (job === null) return;
    // EPIPE: the machine had ended unnoticed, and the line did not arrive.
    const arrived = job.phase !== 'preparing' && code !== 'EPIPE';
    if (!arrived && job.mayReconnect) {
      job.phase = 'preparing';
      return this.#prepare(job);
    }
    if (arrived && job.request.kind === 'unanswered') return this.#settle(job, undefined);
    const reason = code === null ? 'was closed' : `failed (${code})`;
    this.#settle(job, notAvailable(`The connection to the guest agent's port ${reason}.`));
  }

  #disconnect(): void {
    if (this.#connection.kind !== 'none') this.#connection.socket.destroy();
    this.#connection = { kind: 'none' };
    this.#frames.reset();
  }

  /** What still comes belongs to nothing, or to a command given up: sync is lost, and then the command ends. */
  #outOfSync(result: unknown): void {
    const connection = this.#connection;
    if (connection.kind === 'ready') this.#connection = { kind: 'unsynced', socket: connection.socket };
    if (this.#current !== null) this.#settle(this.#current, result);
  }

  #settle(job: Job, result: unknown): void {
    job.timer?.cancel();
    if (result instanceof VmError) job.reject(result);
    else job.resolve(result);
    if (job === this.#current) {
      this.#current = null;
      this.#stepTimer?.cancel();
    } else {
      this.#queue = this.#queue.filter((other) => other !== job);
    }
    this.#next();
  }
}
