/** The guest of one round: what is done to it, from outside, and what is heard of it. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { eventTypeOf, type EventType, type VirtualMachine, type VmEvent } from '@vmpulse/client';
import { eventually, patienceMs, type RealService } from '../../support/real-service.ts';
import { runQmp } from './qmp.ts';

const consoleTimeoutMs = 240_000;

/** An event with when it came to the client's sink, wall time in ms. */
export interface Arrival {
  readonly event: VmEvent;
  readonly wallMs: number;
}

/** Wall time now, ms with fractions. */
export function wallMs(): number {
  return performance.timeOrigin + performance.now();
}

/** One guest and the service that watches it. */
export class Subject {
  readonly vm: VirtualMachine;
  readonly service: RealService;
  readonly #arrivals: readonly Arrival[];

  constructor(vm: VirtualMachine, service: RealService, arrivals: readonly Arrival[]) {
    this.vm = vm;
    this.service = service;
    this.#arrivals = arrivals;
  }

  /** The machine's directory, as it was when last looked at: the service need not be there. */
  get directory(): string {
    return this.vm.info.files.directory;
  }

  get pid(): number {
    const { pid } = this.vm.info;
    if (pid === null) throw new Error(`${this.vm.name} has no process`);
    return pid;
  }

  /** What was told of it from a moment on. */
  since(atMs: number): Arrival[] {
    return this.#arrivals.filter(({ event, wallMs: at }) => event.subject === this.vm.name && at >= atMs);
  }

  /** All that was told of it, in words. */
  types(): string {
    return this.since(0)
      .map(({ event }) => eventTypeOf(event))
      .join(', ');
  }

  /** The nth event of a type from a moment on. */
  heard(type: EventType, atMs: number, timeoutMs: number = patienceMs, nth = 1): Promise<Arrival> {
    return eventually(
      () => this.since(atMs).filter(({ event }) => eventTypeOf(event) === type)[nth - 1],
      () => `${type} of ${this.vm.name}; heard ${this.types()}`,
      timeoutMs,
    );
  }

  /** Types on the guest's console; resolves with the wall time of its answer, or of `done` where there is one. */
  async tell(command: string, done?: string): Promise<number> {
    const socket = connect(join(this.directory, 'serial.sock'));
    socket.on('error', () => undefined);
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
    });
    try {
      await once(socket, 'connect');
      socket.write(`\n${command}\n`);
      const [word] = command.split(' ');
      await eventually(
        () => text.includes(done ?? `ok ${word}`),
        () => `the guest to answer ${command}: ${text}`,
        consoleTimeoutMs,
      );
      return wallMs();
    } finally {
      socket.destroy();
    }
  }

  /** Commands on QEMU's monitor for operators, behind the service's back. */
  qmp(...commands: readonly { execute: string; arguments?: object }[]): Promise<unknown> {
    return runQmp(this.directory, ...commands);
  }

  /** A signal to QEMU. */
  kill(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  /** Waits until the service hears it again. */
  async ticking(timeoutMs: number = patienceMs): Promise<void> {
    await eventually(
      () => this.vm.guestOS.isHeartbeating().catch(() => false),
      () => `${this.vm.name} to tick; heard ${this.types()}`,
      timeoutMs,
    );
  }

  /** How the service sees it now, in words. */
  async standing(): Promise<string> {
    try {
      const { verdict, lastTickAgoMs, source } = await this.vm.guestOS.info();
      return `it stands as ${verdict}, last ${source ?? 'tick'} ${lastTickAgoMs ?? '?'} ms ago`;
    } catch (error) {
      return `the service says ${error instanceof Error ? error.message : String(error)}`;
    }
  }

  /** Waits for a state of the machine. */
  async state(state: string, timeoutMs: number = patienceMs): Promise<void> {
    await eventually(
      async () => (await this.vm.refresh()).state === state,
      () => `${this.vm.name} to be ${state}`,
      timeoutMs,
    );
  }
}
