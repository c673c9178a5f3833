/**
 * Freezes the file systems of one guest, for a consistent copy of its disks, and sees to it that they are thawed:
 * a guest whose file systems stay frozen hangs sooner or later, program by program.
 *
 * 1. Every freeze has an end: after its time vmpulse thaws, again and again until it is done.
 * 2. Found frozen (the service was restarted, or somebody else froze them) they get `foundFrozenMs` from then on.
 * 3. A service that stops thaws first; of one that is killed the next one finds them frozen.
 * 4. A reboot or the end of the agent forgets all of it.
 */
import { VmError, type VmReference } from '@vmpulse/wire';
import { type Clock, type Timer, withDeadline } from '../clock.ts';
import { agentCommandTimeoutMs, guestFreezeTimeoutMs } from '../limits.ts';
import type { FileSystems, GuestAgentPort, Logger } from './ports.ts';

/** How long file systems found frozen stay so. */
export const foundFrozenMs = 60_000;
/** Between attempts to thaw, doubled from the first to the longest. */
const thawAgainMs = { first: 1_000, longest: 30_000 } as const;

/** What a freezer is made of. */
export interface GuestFreezerRequest {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly vm: () => VmReference;
  /** Errors: VM_E_ADDITIONS_NOT_AVAIL. */
  readonly agent: () => GuestAgentPort;
}

/** See the head of this file. */
export class GuestFreezer {
  readonly #request: GuestFreezerRequest;
  #last: FileSystems | null = null;
  #timer: Timer | null = null;
  /** Counts what makes a thaw under way meaningless. */
  #epoch = 0;
  /** The command is out: what the agent said before it does not count. */
  #freezing = false;

  constructor(request: GuestFreezerRequest) {
    this.#request = request;
  }

  /** What the agent last said of them since the guest booted. */
  get last(): FileSystems | null {
    return this.#last;
  }

  /** The agent says how they are. */
  note(status: FileSystems): void {
    if (this.#freezing) return;
    if (status === 'thawed') {
      this.#disarm();
    } else if (this.#timer === null && this.#last !== 'frozen') {
      const { logger, vm } = this.#request;
      logger.warn(
        { vm: vm(), thawInMs: foundFrozenMs },
        'the file systems of a guest were found frozen; they will be thawed',
      );
      this.#arm(foundFrozenMs, thawAgainMs.first);
    }
    this.#last = status;
  }

  /**
   * Freezes them for at most `forMs`; answers how many. Without any that can be frozen, that is 0 and nothing is.
   * Errors: E_FAIL when they are frozen already, or could not be; those of GuestAgentPort.
   */
  async freeze(forMs: number): Promise<number> {
    const agent = this.#request.agent();
    if (this.#freezing || this.#last === 'frozen' || this.#timer !== null) {
      throw new VmError('E_FAIL', 'The file systems of the guest are frozen already; thaw them first.');
    }
    // Before the question: it may be done though its answer does not come.
    this.#arm(forMs, thawAgainMs.first);
    const epoch = this.#epoch;
    this.#freezing = true;
    try {
      const count = await agent.freeze(guestFreezeTimeoutMs);
      if (epoch !== this.#epoch) return count;
      if (count === 0) this.#disarm();
      this.#last = count === 0 ? 'thawed' : 'frozen';
      return count;
    } catch (error) {
      if (epoch === this.#epoch && VmError.from(error).code !== 'VM_E_TIMED_OUT') this.#disarm();
      throw error;
    } finally {
      this.#freezing = false;
    }
  }

  /** Thaws them; answers how many. Errors: those of GuestAgentPort. */
  async thaw(): Promise<number> {
    const epoch = this.#epoch;
    const count = await this.#request.agent().thaw(guestFreezeTimeoutMs);
    if (epoch === this.#epoch) {
      this.#disarm();
      this.#last = 'thawed';
    }
    return count;
  }

  /** The service lets go of the guest: nobody would thaw them. Never rejects. */
  async release(): Promise<void> {
    if (this.#timer === null) return;
    this.#disarm();
    const { clock, logger, vm, agent } = this.#request;
    try {
      const late = (): VmError => new VmError('VM_E_TIMED_OUT', 'The guest agent did not answer in time.');
      await withDeadline(clock, agent().thaw(agentCommandTimeoutMs), agentCommandTimeoutMs, late);
      logger.warn({ vm: vm() }, 'the service stops: the frozen file systems of a guest were thawed');
    } catch (error) {
      logger.warn(
        { err: error, vm: vm() },
        'the service stops, and the file systems of a guest may be frozen',
      );
    }
  }

  /** The guest boots anew, or nobody is there to be asked. */
  forget(): void {
    this.#disarm();
    this.#last = null;
  }

  #arm(inMs: number, againMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#request.clock.setTimer(() => void this.#thawByItself(againMs), inMs);
  }

  #disarm(): void {
    this.#epoch += 1;
    this.#timer?.cancel();
    this.#timer = null;
  }

  /** Never rejects. */
  async #thawByItself(againMs: number): Promise<void> {
    const { logger, vm } = this.#request;
    const epoch = this.#epoch;
    try {
      const fileSystems = await this.thaw();
      if (fileSystems > 0) logger.warn({ vm: vm(), fileSystems }, 'file systems nobody thawed were thawed');
    } catch (error) {
      if (epoch !== this.#epoch) return;
      logger.warn({ err: error, vm: vm(), againMs }, 'file systems of a guest could not be thawed yet');
      this.#arm(againMs, Math.min(2 * againMs, thawAgainMs.longest));
    }
  }
}
