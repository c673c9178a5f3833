/**
 * One connection to QEMU's monitor (QMP). What arrives is not trusted: lines are bounded, parsed strictly, and whatever
 * is no QMP drops the connection. Every command has an id and a deadline; the answer to a command that was given up
 * is discarded when it comes.
 */
import { connect, type Socket } from 'node:net';
import { VmError } from '@vmpulse/wire';
import { type Clock, type Timer, withDeadline } from '../../clock.ts';
import { maxQmpLineBytes, maxQmpQueue, qmpCommandTimeoutMs } from '../../limits.ts';
import { LineSplitter } from './line-splitter.ts';

/** What a connection tells its owner. Calls never throw. */
export interface QmpListener {
  onEvent(name: string, data: Record<string, unknown>, atMs: number): void;
  /** Anything valid arrived: QEMU lives and answers. */
  onMessage(): void;
  /** A command was given up. */
  onTimeout(command: string, timeoutMs: number): void;
  /** Once, at the end, unless close() ended it. */
  onClose(reason: string): void;
}

/** A JSON object. */
export type QmpArguments = Record<string, unknown>;

interface Pending {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: VmError) => void;
  readonly timer: Timer;
  /** Given up; the entry stays so that the queue's bound counts what QEMU still has to answer. */
  abandoned: boolean;
}

/** QEMU took the command and said no: it did not happen. Any other error leaves that open. */
export class QmpRefusal extends VmError {}

/** Longest description of an error taken from QEMU, characters. */
const maxDescription = 1_000;

/** A connection that finished its negotiation. */
export class QmpConnection {
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #listener: QmpListener;
  readonly #lines = new LineSplitter(maxQmpLineBytes);
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #version: string | null = null;
  #greeted: (() => void) | null = null;
  #closedBecause: string | null = null;

  private constructor(socket: Socket, clock: Clock, listener: QmpListener) {
    this.#socket = socket;
    this.#clock = clock;
    this.#listener = listener;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', (error) => this.#end(`the connection failed: ${error.message}`));
    socket.on('close', () => this.#end('QEMU closed the connection'));
  }

  /**
   * Connects and negotiates within `timeoutMs`. Errors: VMPULSE_E_HYPERVISOR when nobody listens or what answers is
   * no QMP, VM_E_TIMED_OUT.
   */
  static async open(
    address: string,
    clock: Clock,
    listener: QmpListener,
    timeoutMs: number = qmpCommandTimeoutMs,
  ): Promise<QmpConnection> {
    const socket = connect(address);
    const connection = new QmpConnection(socket, clock, listener);
    const greeted = new Promise<void>((resolve) => {
      connection.#greeted = resolve;
    });
    const closed = new Promise<never>((_resolve, reject) => {
      socket.once('close', () => reject(hypervisorError(`QMP: ${connection.#closedBecause ?? 'closed'}`)));
    });
    try {
      const late = (): VmError => new VmError('VM_E_TIMED_OUT', `QMP did not greet within ${timeoutMs} ms.`);
      await withDeadline(clock, Promise.race([greeted, closed]), timeoutMs, late);
      await connection.execute('qmp_capabilities', undefined, timeoutMs);
      return connection;
    } catch (error) {
      connection.close('the negotiation failed');
      throw error;
    }
  }

  /** QEMU's version as it greeted: `7.2.22`. */
  get version(): string | null {
    return this.#version;
  }

  /** Why it ended, null while it is open. */
  get closedBecause(): string | null {
    return this.#closedBecause;
  }

  /** Commands QEMU has not answered, given up ones included. */
  get unanswered(): number {
    return this.#pending.size;
  }

  /**
   * Runs a command and resolves with what it returns. Errors: VMPULSE_E_HYPERVISOR (QEMU's own words, or the
   * connection ended), VM_E_TIMED_OUT, VM_E_OUT_OF_RESOURCE when too many are under way.
   */
  execute(
    command: string,
    commandArguments?: QmpArguments,
    timeoutMs: number = qmpCommandTimeoutMs,
  ): Promise<unknown> {
    if (this.#closedBecause !== null) return Promise.reject(hypervisorError(`QMP: ${this.#closedBecause}.`));
    if (this.#pending.size >= maxQmpQueue) {
      const text = `${maxQmpQueue} commands wait for this QEMU already; try again when it answers.`;
      return Promise.reject(new VmError('VM_E_OUT_OF_RESOURCE', text));
    }
    const id = this.#nextId;
    this.#nextId += 1;
    return new Promise((resolve, reject) => {
      // After a stall of vmpulse itself the answer may be here, unread: sockets are read before it is given up.
      const expire = (): void => this.#clock.afterPoll(() => this.#abandon(id, timeoutMs));
      const timer = this.#clock.setTimer(expire, timeoutMs);
      this.#pending.set(id, { command, resolve, reject, timer, abandoned: false });
      const message = {
        execute: command,
        id,
        ...(commandArguments === undefined ? {} : { arguments: commandArguments }),
      };
      this.#socket.write(`${JSON.stringify(message)}\n`);
    });
  }

  /** Ends the connection; commands under way fail with `reason`, the listener is not told. Idempotent. */
  close(reason: string): void {
    if (this.#closedBecause !== null) return;
    this.#closedBecause = reason;
    this.#socket.destroy();
    this.#failPending();
  }

  #end(reason: string): void {
    if (this.#closedBecause !== null) return;
    this.close(reason);
    this.#listener.onClose(reason);
  }

  #failPending(): void {
    for (const entry of this.#pending.values()) {
      entry.timer.cancel();
      entry.reject(hypervisorError(`QEMU did not answer ${entry.command}: ${this.#closedBecause ?? ''}.`));
    }
    this.#pending.clear();
  }

  #abandon(id: number, timeoutMs: number): void {
    const entry = this.#pending.get(id);
    if (entry === undefined || entry.abandoned) return;
    entry.abandoned = true;
    entry.reject(
      new VmError('VM_E_TIMED_OUT', `QEMU did not answer ${entry.command} within ${timeoutMs} ms.`),
    );
    this.#listener.onTimeout(entry.command, timeoutMs);
  }

  #read(chunk: Buffer): void {
    const lines = this.#lines.push(chunk);
    if (lines === null) {
      this.#end(`a line of more than ${maxQmpLineBytes} bytes came`);
      return;
    }
    for (const line of lines) {
      if (this.#closedBecause !== null) return;
      const message = parseObject(line);
      if (message === null) this.#end('what came was no QMP');
      else this.#take(message);
    }
  }

  #take(message: Record<string, unknown>): void {
    if (this.#greeted !== null) {
      this.#greet(message);
      return;
    }
    if (typeof message['event'] === 'string') {
      this.#listener.onMessage();
      const data = asObject(message['data']) ?? {};
      this.#listener.onEvent(message['event'], data, this.#clock.monotonicMs());
      return;
    }
    if ('return' in message || 'error' in message) {
      this.#answer(message);
      return;
    }
    this.#end('a message that is neither answer nor event came');
  }

  #greet(message: Record<string, unknown>): void {
    const greeting = asObject(message['QMP']);
    if (greeting === null) {
      this.#end('it did not greet as QMP does');
      return;
    }
    this.#version = parseVersion(greeting);
    this.#greeted?.();
    this.#greeted = null;
  }

  #answer(message: Record<string, unknown>): void {
    const id = message['id'];
    const entry = typeof id === 'number' ? this.#pending.get(id) : undefined;
    if (entry !== undefined) {
      this.#pending.delete(id as number);
      entry.timer.cancel();
      // An abandoned one is settled; settling it again does nothing.
      if ('error' in message) entry.reject(refusal(entry.command, message['error']));
      else entry.resolve(message['return']);
    }
    this.#listener.onMessage();
  }
}

function refusal(command: string, error: unknown): QmpRefusal {
  const description = asObject(error)?.['desc'];
  const words = typeof description === 'string' ? description.slice(0, maxDescription) : 'it did not say why';
  return new QmpRefusal('VMPULSE_E_HYPERVISOR', `QEMU refused ${command}: ${words}`);
}

function hypervisorError(text: string): VmError {
  return new VmError('VMPULSE_E_HYPERVISOR', text);
}

function parseVersion(greeting: Record<string, unknown>): string | null {
  const qemu = asObject(asObject(greeting['version'])?.['qemu']);
  const numbers = [qemu?.['major'], qemu?.['minor'], qemu?.['micro']];
  return numbers.every((number) => typeof number === 'number') ? numbers.join('.') : null;
}

function parseObject(line: string): Record<string, unknown> | null {
  try {
    return asObject(JSON.parse(line));
  } catch {
    return null;
  }
}

/** `value` when it is a JSON object. */
export function asObject(value: unknown): Record<string, unknown> | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : null;
}
