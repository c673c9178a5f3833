/** The guest agent of one process: who answers, what the guest is called, and the way to ask it to shut down. */
import { VmError } from '@vmpulse/wire';
import { type Clock, withDeadline } from '../clock.ts';
import { agentCommandTimeoutMs, maxGuestTextLength } from '../limits.ts';
import type { AdditionsRecord } from '../machine-record.ts';
import type { GuestAgentPort } from './ports.ts';

/** What a link is made of. */
export interface GuestLinkRequest {
  /** Unix socket of the agent's port; null where the machine has none. */
  readonly address: string | null;
  readonly connect: (address: string) => GuestAgentPort;
  readonly clock: Clock;
  /** Told once a boot, when the agent has said what it is (`said`). */
  readonly onAdditions: () => void;
}

/** Asks the agent beside everything else: nobody waits for a guest. */
export class GuestLink {
  readonly #request: GuestLinkRequest;
  #agent: GuestAgentPort | null = null;
  #answering = false;
  #asking = false;
  /** It is to be asked again: something happened while it was asked. */
  #wanted = false;
  #said: AdditionsRecord | null = null;
  /** Counts boots, so that an answer of before a reboot is not taken for one of after it. */
  #boot = 0;
  #closed = false;

  constructor(request: GuestLinkRequest) {
    this.#request = request;
  }

  /** The agent's port is open and it answered last time. */
  get canShutdown(): boolean {
    return this.#answering;
  }

  /** What the agent said of the guest since it booted. */
  get said(): AdditionsRecord | null {
    return this.#said;
  }

  /** The guest opened its port, ticked for the first time or was found running: see who is there. */
  wake(): void {
    const { address } = this.#request;
    if (this.#closed || address === null) return;
    if (this.#asking) this.#wanted = true;
    else void this.#ask(address);
  }

  /** The guest closed its port. */
  portClosed(): void {
    this.#answering = false;
  }

  /** The guest boots anew: what it said before may no longer hold. */
  rebooted(): void {
    // What is answered now says nothing of the guest that boots.
    if (this.#asking) this.#wanted = true;
    this.#answering = false;
    this.#said = null;
    this.#boot += 1;
  }

  /** Asks the guest to power itself off. Errors: VM_E_ADDITIONS_NOT_AVAIL, VM_E_TIMED_OUT. */
  async shutdown(): Promise<void> {
    const agent = this.#agent;
    if (agent === null || !this.#answering)
      throw new VmError('VM_E_ADDITIONS_NOT_AVAIL', 'The guest has no agent that answers.');
    await this.#inTime(agent.shutdown('powerdown'));
  }

  close(): void {
    this.#closed = true;
    this.#answering = false;
    this.#agent?.close();
    this.#agent = null;
  }

  /** Never rejects: an agent that does not answer is one that is not there. */
  async #ask(address: string): Promise<void> {
    this.#asking = true;
    this.#wanted = false;
    try {
      const agent = (this.#agent ??= this.#request.connect(address));
      const boot = this.#boot;
      const { answered } = await this.#inTime(agent.ping(agentCommandTimeoutMs));
      if (this.#closed || boot !== this.#boot) return;
      this.#answering = answered;
      if (!answered || this.#said !== null) return;
      const additions: AdditionsRecord = {
        version: await this.#word(async () => (await agent.info()).version),
        osName: await this.#word(async () => (await agent.osInfo()).prettyName),
        computerName: await this.#word(() => agent.hostName()),
      };
      if (this.#closed || boot !== this.#boot) return;
      this.#said = additions;
      this.#request.onAdditions();
    } catch {
      // A guest without an agent is an ordinary guest; the next opening of its port asks again.
      this.#answering = false;
    } finally {
      this.#asking = false;
      if (this.#wanted) this.wake();
    }
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
