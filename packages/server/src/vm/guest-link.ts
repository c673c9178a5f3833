/**
 * The guest agent of one process: the one connection to its port. It is a witness of the guest's watch, its heartbeat
 * where no ticker is, and the way by which an operator asks the guest for something.
 */
import { VmError, type VmReference } from '@vmpulse/wire';
import { type Clock, type Timer, withDeadline } from '../clock.ts';
import { agentCommandTimeoutMs, maxGuestTextLength } from '../limits.ts';
import type { AdditionsRecord } from '../machine-record.ts';
import { AgentPulse } from '../tick/agent-pulse.ts';
import type { AgentPing, AgentWitness, PulseListener } from '../tick/source.ts';
import { GuestFreezer } from './guest-freezer.ts';
import type { FileSystems, GuestAgentPort, Logger } from './ports.ts';

/** An agent that opened its port and does not answer is asked again after these pauses: a booting guest is slow. */
const askAgainMs: readonly number[] = [5_000, 10_000, 20_000, 40_000, 60_000];

/** What a link is made of. */
export interface GuestLinkRequest {
  /** Unix socket of the agent's port; null where the machine has none. */
  readonly address: string | null;
  readonly connect: (address: string) => GuestAgentPort;
  readonly clock: Clock;
  /** Hears the agent's answers where it is the heartbeat. */
  readonly pulses: PulseListener;
  /** Told once a boot, when the agent has said what it is (`said`). */
  readonly onAdditions: () => void;
  readonly logger: Logger;
  readonly vm: () => VmReference;
}

/** Asks the agent beside everything else: nobody waits for a guest. */
export class GuestLink implements AgentWitness {
  readonly #request: GuestLinkRequest;
  readonly #pulse: AgentPulse;
  /** Freezes the guest's file systems, and sees to it that they are thawed. */
  readonly freezer: GuestFreezer;
  #agent: GuestAgentPort | null = null;
  #present = false;
  /** The last ping was not answered. */
  #silent = false;
  #asking = false;
  /** It is to be asked again: something happened while it was asked. */
  #wanted = false;
  /** How often it may still be asked again by itself. */
  #againLeft = 0;
  #againTimer: Timer | null = null;
  #said: AdditionsRecord | null = null;
  /** Its agent does not know of file systems: it is not asked at every suspicion. */
  #knowsFileSystems = true;
  /** Counts boots and closed ports, so that an answer of before is not taken for one of after. */
  #epoch = 0;
  #closed = false;

  constructor(request: GuestLinkRequest) {
    const { clock, pulses, address, logger, vm } = request;
    this.#request = request;
    this.freezer = new GuestFreezer({ clock, logger, vm, agent: () => this.agent });
    this.#pulse = new AgentPulse({
      clock,
      key: address ?? '',
      pulses,
      ping: (timeoutMs) => this.#ping(timeoutMs),
    });
  }

  get present(): boolean {
    return this.#present;
  }

  get busy(): boolean {
    return this.#agent?.busy === true;
  }

  /** The agent's port is open and it answered last time. */
  get canShutdown(): boolean {
    return this.#present && !this.#silent;
  }

  /** What the agent said of the guest since it booted. */
  get said(): AdditionsRecord | null {
    return this.#said;
  }

  /** What the agent last said of the guest's file systems since it booted. */
  get lastFileSystems(): FileSystems | null {
    return this.freezer.last;
  }

  /** The agent, while it answers. Errors: VM_E_ADDITIONS_NOT_AVAIL. */
  get agent(): GuestAgentPort {
    if (this.#agent !== null && this.#present) return this.#agent;
    const advice = 'Wait until it has booted, or install and start qemu-guest-agent in it.';
    throw new VmError('VM_E_ADDITIONS_NOT_AVAIL', `The guest has no agent that answers. ${advice}`);
  }

  /** See who is there: the guest ticked for the first time, was found running, or something may have been missed. */
  wake(): void {
    const { address } = this.#request;
    if (this.#closed || address === null) return;
    this.#againTimer?.cancel();
    if (this.#asking) this.#wanted = true;
    else void this.#ask(address);
  }

  /** It was the heartbeat before: it is awaited, though it does not answer at once. Call it once the watch began. */
  expect(): void {
    if (this.#closed || this.#request.address === null) return;
    this.#pulse.start();
    this.wake();
  }

  /** The guest goes on after a pause: the next ping must not be late. */
  resumed(): void {
    this.#pulse.nudge();
  }

  /** The guest opened its port. */
  portOpened(): void {
    this.#againLeft = askAgainMs.length;
    this.wake();
  }

  /** The guest closed its port. */
  portClosed(): void {
    this.#gone();
  }

  /** The guest boots anew: what it said before may no longer hold. */
  rebooted(): void {
    // What is answered now says nothing of the guest that boots.
    if (this.#asking) this.#wanted = true;
    this.#gone();
    this.#said = null;
    this.#knowsFileSystems = true;
  }

  async ping(timeoutMs: number): Promise<AgentPing> {
    const answer = await this.#ping(timeoutMs);
    // Whoever asked: the guest was alive.
    if (answer.answered) this.#request.pulses.onPulse();
    return answer;
  }

  async fileSystems(timeoutMs: number): Promise<FileSystems | null> {
    if (this.#agent === null || !this.#present || !this.#knowsFileSystems) return null;
    const epoch = this.#epoch;
    try {
      const status = await this.#agent.freezeStatus(timeoutMs);
      if (epoch !== this.#epoch) return null;
      this.freezer.note(status);
      return status;
    } catch (error) {
      if (VmError.from(error).code === 'VM_E_ADDITIONS_FEATURE_NOT_AVAIL') this.#knowsFileSystems = false;
      return null;
    }
  }

  /** Asks the guest to power itself off. Errors: VM_E_ADDITIONS_NOT_AVAIL, VM_E_TIMED_OUT. */
  async shutdown(): Promise<void> {
    await this.#inTime(this.agent.shutdown('powerdown'));
  }

  close(): void {
    this.#closed = true;
    this.#gone();
    this.#agent?.close();
    this.#agent = null;
  }

  /** Nobody is there any more, or not yet again. */
  #gone(): void {
    this.#epoch += 1;
    this.#present = false;
    this.freezer.forget();
    this.#againLeft = 0;
    this.#againTimer?.cancel();
    this.#pulse.stop();
  }

  async #ping(timeoutMs: number): Promise<AgentPing> {
    const { address, connect } = this.#request;
    if (this.#closed || address === null) return { answered: false, reason: 'notConnected' };
    const epoch = this.#epoch;
    const answer = await (this.#agent ??= connect(address)).ping(timeoutMs);
    if (epoch !== this.#epoch) return { answered: false, reason: 'notConnected' };
    if (answer.answered) this.#answered();
    else this.#silent = answer.reason !== 'busy';
    return answer;
  }

  #answered(): void {
    this.#present = true;
    this.#silent = false;
    this.#againLeft = 0;
    this.#pulse.start();
    if (this.#said === null && !this.#asking) this.wake();
  }

  /** Never rejects: an agent that does not answer is one that is not there. */
  async #ask(address: string): Promise<void> {
    this.#asking = true;
    this.#wanted = false;
    const epoch = this.#epoch;
    try {
      const agent = (this.#agent ??= this.#request.connect(address));
      const { answered } = await this.#inTime(agent.ping(agentCommandTimeoutMs));
      if (epoch !== this.#epoch) return;
      if (!answered) throw new VmError('VM_E_TIMED_OUT', 'The guest agent did not answer.');
      this.#answered();
      this.#request.pulses.onPulse();
      // Whoever had the port before may have frozen them.
      await this.fileSystems(agentCommandTimeoutMs);
      if (this.#said === null) await this.#introduce(agent);
    } catch {
      // A guest without an agent is an ordinary guest; the next opening of its port asks again.
      if (epoch === this.#epoch) this.#unanswered();
    } finally {
      this.#asking = false;
      if (this.#wanted) this.wake();
    }
  }

  /** What the agent says of itself and of the guest. */
  async #introduce(agent: GuestAgentPort): Promise<void> {
    const epoch = this.#epoch;
    const additions: AdditionsRecord = {
      version: await this.#word(async () => (await agent.info()).version),
      osName: await this.#word(async () => (await agent.osInfo()).prettyName),
      computerName: await this.#word(() => agent.hostName()),
    };
    if (epoch !== this.#epoch) return;
    this.#said = additions;
    this.#request.onAdditions();
  }

  #unanswered(): void {
    this.#silent = true;
    if (this.#againLeft === 0 || this.#wanted) return;
    const pauseMs = askAgainMs[askAgainMs.length - this.#againLeft] ?? 0;
    this.#againLeft -= 1;
    this.#againTimer = this.#request.clock.setTimer(() => this.wake(), pauseMs);
  }

  /** One thing the guest says of itself; an agent that knows not the one may know the other. */
  async #word(ask: () => Promise<string | null>): Promise<string | null> {
    try {
      return printable(await this.#inTime(ask()));
    } catch {
      return null;
    }
  }

  #inTime<T>(answer: Promise<T>): Promise<T> {
    return withDeadline(this.#request.clock, answer, agentCommandTimeoutMs, () => {
      return new VmError('VM_E_TIMED_OUT', 'The guest agent did not answer in time.');
    });
  }
}

/** A guest's word, fit to be stored and shown: without control characters, bounded; null where nothing is left. */
function printable(text: string | null): string | null {
  if (text === null) return null;
  const clean = text.replaceAll(/\p{C}/gu, '').trim().slice(0, maxGuestTextLength);
  return clean === '' ? null : clean;
}
