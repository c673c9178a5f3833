/**
 * Holds: for a time, and for a reason, the silence of one machine or of all is not judged. Kept here:
 *  1. There is at most one hold for each machine and one for all; a new one replaces the old.
 *  2. holdStarted and holdEnded are all that is written: the store keeps the holds by them, in their transaction, so
 *     that a service that is killed finds what its events say. What replaces is appended in one turn with what it
 *     replaces; the log writes them together unless a full batch ends between the two.
 *  3. Within one run a hold ends by the monotonic clock: no step of the wall clock ends or extends it. Between runs
 *     only the wall clock goes on. A step meanwhile counts as time that passed, but a hold that is found again has
 *     never begun later than now nor more to go than it had altogether: a clock set back gives it at most its whole
 *     length anew, one set forward ends it early. A host that sleeps holds on: its guests sleep too.
 *  4. The end of a machine ends its hold, and vmDeleted is all that is told of it.
 */
import {
  type EventDataByType,
  type HoldInfo,
  type HoldRequest,
  nameKey,
  VmError,
  type VmReference,
} from '@vmpulse/wire';
import type { Clock, Timer } from '../clock.ts';
import type { StoredHold } from '../machine-record.ts';
import { checkHoldRequest } from './hold-request.ts';
import type { Journal } from './journal.ts';
import type { MachineDirectory } from './machine-directory.ts';
import type { HoldService } from './machine-service.ts';
import type { Machine } from './machine.ts';

/** What the book of holds works with. */
export interface HoldPorts {
  readonly clock: Clock;
  readonly journal: Journal;
  readonly machines: MachineDirectory;
  /** Errors: VM_E_APP_SHUTTING_DOWN. */
  readonly requireOpen: () => void;
}

type Ending = EventDataByType['holdEnded'];

interface Hold extends StoredHold {
  /** Monotonic times; the first may be from before this service. */
  readonly beganMs: number;
  readonly endsMs: number;
  timer: Timer | null;
}

/** All holds of a server, in time or not: those found in the store end only once `run` was called. */
export class Holds implements HoldService {
  readonly #ports: HoldPorts;
  /** By the machine's id; null is the one on all. */
  readonly #holds = new Map<string | null, Hold>();

  constructor(ports: HoldPorts) {
    this.#ports = ports;
  }

  /** Takes what is stored; call it before the machines are made. Nothing is told. */
  load(stored: readonly StoredHold[]): void {
    const { clock } = this.#ports;
    const nowMs = clock.monotonicMs();
    for (const hold of stored) {
      const lengthMs = hold.untilMs - hold.sinceMs;
      const passedMs = Math.min(Math.max(clock.wallMs() - hold.sinceMs, 0), lengthMs);
      const beganMs = nowMs - passedMs;
      this.#holds.set(hold.vmId, { ...hold, beganMs, endsMs: beganMs + lengthMs, timer: null });
    }
  }

  /** From now on holds expire; those that did while no service ran are told now. */
  run(): void {
    for (const hold of this.#holds.values()) {
      // Stored, but its machine is not there: a table that was mended by hand.
      if (hold.vmId !== null && !this.#ports.machines.has(hold.vmId)) this.#holds.delete(hold.vmId);
      else this.#expireInTime(hold);
    }
  }

  /** No hold expires any more: the service stops. They are found again by the next one. */
  close(): void {
    for (const { timer } of this.#holds.values()) timer?.cancel();
  }

  /** Tells a new machine's watch whether it is held. */
  cover(machine: Machine): void {
    if (this.#covers(machine.id)) machine.watch.setHeld(true);
  }

  /** The machine is being deleted. */
  forget(vmId: string): void {
    this.#holds.get(vmId)?.timer?.cancel();
    this.#holds.delete(vmId);
  }

  of(vmId: string): HoldInfo | null {
    const hold = this.#holds.get(vmId) ?? this.#holds.get(null);
    return hold === undefined ? null : this.#info(hold);
  }

  list(): HoldInfo[] {
    const key = ({ vm }: HoldInfo): string => (vm === undefined ? '' : nameKey(vm.name));
    return [...this.#holds.values()]
      .map((hold) => this.#info(hold))
      .toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
  }

  countHeld(): number {
    return this.#holds.has(null) ? this.#ports.machines.size : this.#holds.size;
  }

  async hold(vm: string | null, request: HoldRequest): Promise<HoldInfo> {
    const { clock, journal, requireOpen } = this.#ports;
    const vmId = this.#find(vm);
    const { lengthMs, reason } = checkHoldRequest(request);
    requireOpen();
    journal.requireWritable();
    const previous = this.#holds.get(vmId);
    const ended = previous === undefined ? Promise.resolve() : this.#tellEnd(previous, 'replaced');
    const [sinceMs, beganMs] = [Math.trunc(clock.wallMs()), clock.monotonicMs()];
    const untilMs = sinceMs + lengthMs;
    const until = new Date(untilMs).toISOString();
    const started = journal.appendOrLose('holdStarted', this.#reference(vmId), {
      scope: vmId === null ? 'all' : 'vm',
      reason,
      until,
    });
    const hold: Hold = { vmId, reason, sinceMs, untilMs, beganMs, endsMs: beganMs + lengthMs, timer: null };
    this.#put(hold);
    await journal.durable(this.#undoWhenLost(hold, previous, ended, started));
    return this.#info(hold);
  }

  async release(vm: string | null): Promise<void> {
    const { journal, requireOpen } = this.#ports;
    const vmId = this.#find(vm);
    const hold = this.#holds.get(vmId);
    if (hold === undefined) throw this.#notHeld(vmId);
    requireOpen();
    journal.requireWritable();
    const ended = this.#tellEnd(hold, 'released');
    this.#remove(hold);
    await journal.durable(this.#putBackWhenLost(hold, ended));
  }

  #notHeld(vmId: string | null): VmError {
    const all = this.#holds.has(null)
      ? ' All machines are held: vmpulse release --all (DELETE /v1/holds) ends that.'
      : '';
    const name = this.#reference(vmId)?.name;
    const what = name === undefined ? 'There is no hold on all machines' : `'${name}' has no hold of its own`;
    return new VmError('VMPULSE_E_NOT_FOUND', `${what}; vmpulse holds lists what there is.${all}`);
  }

  #find(vm: string | null): string | null {
    return vm === null ? null : this.#ports.machines.find(vm).id;
  }

  #covers(vmId: string): boolean {
    return this.#holds.has(null) || this.#holds.has(vmId);
  }

  #put(hold: Hold): void {
    this.#holds.get(hold.vmId)?.timer?.cancel();
    this.#holds.set(hold.vmId, hold);
    this.#expireInTime(hold);
    this.#apply(hold);
  }

  #remove(hold: Hold): void {
    hold.timer?.cancel();
    this.#holds.delete(hold.vmId);
    this.#apply(hold);
  }

  /** Tells the watches that a hold concerns how they stand now. */
  #apply({ vmId }: Hold): void {
    const { machines } = this.#ports;
    const concerned = vmId === null ? machines.all() : machines.has(vmId) ? [machines.find(vmId)] : [];
    for (const { id, watch } of concerned) watch.setHeld(this.#covers(id));
  }

  #expireInTime(hold: Hold): void {
    const { clock, journal } = this.#ports;
    hold.timer?.cancel();
    hold.timer = clock.setTimer(
      () => {
        this.#remove(hold);
        // One that is lost stays stored, and is told by the next service, whose clock finds it past its end.
        void journal.append('holdEnded', this.#reference(hold.vmId), this.#ending(hold, 'expired'));
      },
      Math.max(0, hold.endsMs - clock.monotonicMs()),
    );
  }

  #tellEnd(hold: Hold, how: 'released' | 'replaced'): Promise<void> {
    const { journal } = this.#ports;
    return journal.appendOrLose('holdEnded', this.#reference(hold.vmId), this.#ending(hold, how));
  }

  #ending({ vmId, reason, beganMs }: Hold, how: Ending['how']): Ending {
    const heldMs = Math.round(this.#ports.clock.monotonicMs() - beganMs);
    return { scope: vmId === null ? 'all' : 'vm', reason, how, heldMs };
  }

  /** A hold whose event was dropped never was, and nothing was replaced by it. */
  async #undoWhenLost(
    hold: Hold,
    previous: Hold | undefined,
    ended: Promise<void>,
    started: Promise<void>,
  ): Promise<void> {
    const [end, start] = await Promise.allSettled([ended, started]);
    if (start.status === 'fulfilled') return;
    if (this.#holds.get(hold.vmId) === hold) {
      this.#remove(hold);
      if (previous !== undefined && end.status === 'rejected') this.#put(previous);
    }
    throw start.reason;
  }

  /** Its end was dropped: the store holds it still, and so it is on. */
  async #putBackWhenLost(hold: Hold, ended: Promise<void>): Promise<void> {
    try {
      await ended;
    } catch (error) {
      const { machines } = this.#ports;
      const isThere = hold.vmId === null || machines.has(hold.vmId);
      if (isThere && !this.#holds.has(hold.vmId)) this.#put(hold);
      throw error;
    }
  }

  #info({ vmId, reason, sinceMs, untilMs }: Hold): HoldInfo {
    const vm = this.#reference(vmId);
    return {
      scope: vmId === null ? 'all' : 'vm',
      ...(vm === undefined ? {} : { vm }),
      reason,
      since: new Date(sinceMs).toISOString(),
      until: new Date(untilMs).toISOString(),
    };
  }

  /** By its name of now. */
  #reference(vmId: string | null): VmReference | undefined {
    if (vmId === null) return undefined;
    const { machines } = this.#ports;
    return machines.has(vmId) ? machines.find(vmId).reference : { id: vmId, name: vmId };
  }
}
