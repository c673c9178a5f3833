/**
 * Recovery: one more reader of the log. Kept here:
 *  1. A step is told as begun, with the record that says so, in one transaction; it is carried out once that event
 *     was read back from the log, and so after everything that was told before it: a heartbeat that came back, or an
 *     operator who acted, cancels it.
 *  2. One step at a time for each machine; no machine waits for another but by the fleet brake.
 *  3. Success is a heartbeat that returned after a step.
 */
import {
  type CompleteRecoveryDefault,
  type RecoveryInfo,
  type RecoveryPolicy,
  type VmEvent,
  type VmInfo,
  isEvent,
} from '@vmpulse/wire';
import { recoveryRecheckMs, recoverySightMs } from '../limits.ts';
import type { Logger } from '../vm/ports.ts';
import { recoveryPolicy } from '../vm/recovery-policy.ts';
import type { RecoveryService } from '../vm/recovery-service.ts';
import { type BookPorts, RecoveryBook } from './book.ts';
import { Fleet } from './fleet.ts';
import {
  type RecoveryCounts,
  isRehearsed,
  planInput,
  recoveryCounts,
  recoveryInfo,
  standingIncident,
} from './look.ts';
import { LogFollower } from './log-follower.ts';
import { reconcile } from './reconcile.ts';
import type { RecoveryObserver } from './observer.ts';
import { gaveUp, heldBack, planned, success } from './notices.ts';
import { type Decision, planRecovery } from './plan.ts';
import { type Incident, type RecoveryRecord, afresh, emptyRecord, fold, over, rearmed } from './record.ts';
import { type Replanned, StepRunner, type StepRunnerPorts } from './step-runner.ts';
import type { StepPorts } from './step.ts';
import { Turns } from './turns.ts';

/** What recovery works with. */
export interface RecoveryPorts extends BookPorts, StepPorts {
  readonly logger: Logger;
  /** Why the host is not well; null when it is. */
  readonly hostTrouble: () => string | null;
  /** From 0 to 1. */
  readonly random: () => number;
  /** Since when the service sees its guests without a stall of its own, monotonic ms. Default: since it began. */
  readonly seeingSinceMs?: () => number;
  /** Counts. */
  readonly observer?: RecoveryObserver;
}

/** Recovers machines. `load`, then `start` once the machines were found again; `close` ends it, mid-step too. */
export class Recovery implements RecoveryService {
  readonly #ports: RecoveryPorts;
  readonly #book: RecoveryBook;
  readonly #steps: StepRunner;
  readonly #closing = new AbortController();
  readonly #turns: Turns;
  /** Since when each machine runs; known of those that were started since this service was. */
  readonly #runningSince = new Map<string, number>();
  readonly #fleet: Fleet;
  /** Monotonic: since when guests are seen; see `recoverySightMs`. */
  #seeingMs: number;
  readonly #follower: LogFollower;

  constructor(ports: RecoveryPorts) {
    this.#ports = ports;
    this.#book = new RecoveryBook(ports);
    const closing = this.#closing.signal;
    this.#turns = new Turns({
      ...ports,
      once: (vmId) => (this.#follower.caughtUp ? this.#once(vmId) : Promise.resolve()),
      onLate: () => {
        this.#seeingMs = ports.clock.monotonicMs();
      },
      closing,
    });
    const take = (event: VmEvent): void => this.#take(event);
    const onCaughtUp = (missed: boolean): void => this.#catchUp(missed);
    this.#follower = new LogFollower({ ...ports, take, onCaughtUp, closing }, this.#book);
    this.#fleet = new Fleet(this.#book, ports.hostTrouble);
    this.#seeingMs = ports.clock.monotonicMs();
    const replan = (record: RecoveryRecord): Replanned | null => this.#replan(record);
    const onEnded: StepRunnerPorts['onEnded'] = (step, result, dryRun) => {
      if (!dryRun) ports.observer?.stepEnded(step, result);
    };
    this.#steps = new StepRunner({ ...ports, replan, onEnded }, this.#book, closing);
  }

  /** Takes what is stored. Errors: those of the store. */
  async load(): Promise<void> {
    await this.#book.load();
    for (const { vm, incident } of this.#book.records.values()) {
      if (incident !== null) this.#fleet.noteStop(vm.id, incident.stoppedMs);
    }
  }

  /** Reads the log from where it was left, and acts once it has caught up. */
  start(): void {
    this.#seeingMs = this.#ports.clock.monotonicMs();
    this.#follower.start();
  }

  /** What is under way goes on in the hypervisor; the next service finds out how it ended. Never rejects. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#follower.close();
  }

  get serverDefault(): CompleteRecoveryDefault {
    return this.#book.serverDefault;
  }

  async setServerDefault(asked: unknown): Promise<CompleteRecoveryDefault> {
    const value = await this.#book.setServerDefault(asked);
    for (const vmId of this.#book.records.keys()) this.#turns.take(vmId);
    return value;
  }

  info(vm: string): RecoveryInfo {
    const found = this.#ports.machines.get(vm);
    const record = this.#book.records.get(found.id) ?? emptyRecord({ id: found.id, name: found.name });
    const policy = this.#policy(found);
    const decision = record.incident === null ? null : this.#decide(record, record.incident, found, policy);
    return recoveryInfo({ vm: found, record, policy, decision: decision && this.#byTheWall(decision) });
  }

  /** Stops that are being recovered, and machines that were given up. */
  counts(): RecoveryCounts {
    return recoveryCounts(this.#book.records.values());
  }

  async rearm(vm: string): Promise<RecoveryInfo> {
    const found = this.#ports.machines.get(vm);
    const { id, name } = found;
    const record = this.#book.records.get(id) ?? emptyRecord({ id, name });
    const incident = record.incident ?? standingIncident(found, this.#book.nowMs());
    if (incident !== null || this.#book.records.has(id)) {
      this.#book.set(rearmed(record, incident));
      await this.#book.store(id);
      this.#turns.take(id);
    }
    return this.info(id);
  }

  #catchUp(missed: boolean): void {
    if (missed) {
      this.#steps.skippedTo(this.#book.place);
      const machines = this.#ports.machines.list?.() ?? null;
      const changed = machines && reconcile(this.#book, machines, (vm) => this.#policy(vm));
      for (const vmId of changed ?? []) this.#keep(vmId);
    }
    for (const vmId of this.#book.records.keys()) this.#turns.take(vmId);
  }

  #take(event: VmEvent): void {
    const { vm } = event.data;
    if (vm === undefined) return;
    // Whoever waits for it goes on after this turn.
    this.#steps.readTo(vm.id, event.seq);
    const record = this.#book.records.get(vm.id);
    const isKnown = record !== undefined && event.seq <= record.seq;
    if (isEvent(event, 'vmDeleted')) {
      // Read again after a kill -9, of a machine that was created anew under the same id since.
      if (!isKnown) this.#forget(vm.id);
      return;
    }
    if (isEvent(event, 'stateChanged') && event.data.state === 'running') {
      if (event.data.previousState !== 'paused') this.#runningSince.set(vm.id, this.#timeOf(event));
    }
    if (isKnown) return;
    if (isEvent(event, 'heartbeatStopped')) this.#fleet.noteStop(vm.id, this.#timeOf(event));
    else if (record === undefined) return;
    const isOpen = record !== undefined && record.incident !== null;
    if (!isOpen && isEvent(event, 'heartbeatStopped') && !this.#isWanted(vm.id)) return;
    this.#fold(event, record ?? emptyRecord(vm));
  }

  #fold(event: VmEvent, before: RecoveryRecord): void {
    const { vm } = before;
    const runningSinceMs = this.#runningSince.get(vm.id) ?? this.#startedMs(vm.id);
    const undecided = this.#steps.isUndecided(vm.id);
    const waiting = this.#steps.isWaiting(vm.id);
    const times = { atMs: this.#timeOf(event), runningSinceMs, undecided, waiting };
    const { record: after, succeeded } = fold(before, event, times);
    this.#book.set(after);
    if (before.incident !== after.incident) this.#book.learned(vm.id, event.seq);
    if (succeeded !== null) this.#tellSuccess(after, succeeded);
    else if (before.incident !== after.incident && after.incident === null) this.#keep(vm.id);
    else if (before.gaveUp !== after.gaveUp) this.#keep(vm.id);
    if (after.incident !== null) this.#turns.take(vm.id);
    else this.#turns.cancel(vm.id);
  }

  #forget(vmId: string): void {
    this.#turns.cancel(vmId);
    this.#runningSince.delete(vmId);
    if (this.#book.forget(vmId)) this.#keep(vmId);
  }

  /** Not awaited: where it is lost, the log says it again. */
  #keep(vmId: string): void {
    this.#book.store(vmId).catch((error: unknown) => {
      this.#ports.logger.warn({ err: error, vm: vmId }, 'what recovery knows could not be stored');
    });
  }

  #isWanted(vmId: string): boolean {
    const vm = this.#look(vmId);
    return vm !== null && this.#policy(vm).action !== 'none';
  }

  #startedMs(vmId: string): number | null {
    const startedAt = this.#look(vmId)?.startedAt ?? null;
    return startedAt === null ? null : Math.min(Date.parse(startedAt), this.#book.nowMs());
  }

  /** No step of the wall clock makes a stop of now one of yesterday. */
  #timeOf(event: VmEvent): number {
    const nowMs = this.#book.nowMs();
    return this.#follower.caughtUp ? nowMs : Math.min(Date.parse(event.time), nowMs);
  }

  #look(vmId: string): VmInfo | null {
    try {
      return this.#ports.machines.get(vmId);
    } catch {
      return null;
    }
  }

  #policy(vm: VmInfo): RecoveryPolicy {
    return recoveryPolicy(vm.recovery, this.#book.serverDefault);
  }

  #tellSuccess(record: RecoveryRecord, incident: Incident): void {
    const data = success(incident, this.#book.nowMs());
    if (data === null) {
      this.#keep(record.vm.id);
      return;
    }
    this.#ports.observer?.succeeded(data.step, data.recoveryMs, data.outageMs);
    this.#lost(this.#book.tell(record, 'recoverySucceeded', data));
  }

  #lost(told: Promise<unknown>): void {
    told.catch((error: unknown) => this.#ports.logger.warn({ err: error }, 'an event of recovery was lost'));
  }

  async #once(vmId: string): Promise<void> {
    const record = this.#book.records.get(vmId);
    const vm = this.#look(vmId);
    if (record === undefined || record.incident === null || vm === null) return;
    const policy = this.#policy(vm);
    const { incident } = record;
    if (incident.last?.outcome === 'begun') {
      const goOn = await this.#steps.resume(vmId, incident.last);
      this.#turns.in(vmId, goOn ? 0 : recoveryRecheckMs);
      return;
    }
    if (incident.last?.dryRun === true && !policy.dryRun) {
      // What was rehearsed is done now, from the beginning.
      this.#book.set({ ...record, incident: { ...afresh(incident), planned: false } });
      this.#turns.again(vmId);
      return;
    }
    if (!incident.planned && policy.action !== 'none') {
      const { random, evidence } = this.#ports;
      const now = { isOff: vm.state === 'turnedOff', hasEvidence: evidence !== null, jitter: random() };
      const told = planned(record, incident, policy, now);
      await this.#book.tell(told.record, 'recoveryPlanned', told.data);
      this.#turns.again(vmId);
      return;
    }
    await this.#follow(record, incident, policy, this.#decide(record, incident, vm, policy));
  }

  #decide(record: RecoveryRecord, incident: Incident, vm: VmInfo, policy: RecoveryPolicy): Decision {
    const nowMs = this.#book.nowMs();
    const { bootWindowMs, unread } = this.#ports.machines.recoverable(vm.id);
    const seenFromMs = nowMs + this.#unseenForMs(vm);
    const brake = this.#fleet.brake(vm.id, incident);
    const machine = { bootWindowMs, unread, seenFromMs };
    return planRecovery(planInput({ record, incident, vm, policy, machine, brake, nowMs }));
  }

  /** With its time as people read it: the wall clock may have been set since the service began. */
  #byTheWall(decision: Decision): Decision {
    if (decision.do !== 'wait') return decision;
    return { ...decision, untilMs: decision.untilMs + this.#ports.clock.wallMs() - this.#book.nowMs() };
  }

  /** How long it is until the guest was watched for long enough to go by. */
  #unseenForMs({ guest }: VmInfo): number {
    const { clock, seeingSinceMs } = this.#ports;
    const sinceMs = Math.max(this.#seeingMs, seeingSinceMs?.() ?? this.#seeingMs);
    const neededMs = Math.max(recoverySightMs, 3 * (guest.intervalMs ?? 0));
    return Math.max(0, sinceMs + neededMs - clock.monotonicMs());
  }

  /** As all is now. */
  #replan(record: RecoveryRecord): Replanned | null {
    const vm = this.#look(record.vm.id);
    if (vm === null || record.incident === null) return null;
    const policy = this.#policy(vm);
    const decision = this.#decide(record, record.incident, vm, policy);
    return { decision, dryRun: isRehearsed(record.incident, decision, policy) };
  }

  async #follow(
    record: RecoveryRecord,
    incident: Incident,
    policy: RecoveryPolicy,
    decision: Decision,
  ): Promise<void> {
    const vmId = record.vm.id;
    const { observer } = this.#ports;
    switch (decision.do) {
      case 'nothing':
        break;
      case 'wait':
        this.#turns.in(vmId, Math.max(1, decision.untilMs - this.#book.nowMs()));
        break;
      case 'holdBack': {
        if (decision.reason !== 'gaveUp') this.#turns.in(vmId, recoveryRecheckMs);
        if (incident.told.includes(decision.reason)) break;
        const told = heldBack(record, incident, policy, decision);
        if (!policy.dryRun) observer?.heldBack(decision.reason);
        await this.#book.tell(told.record, 'recoveryHeldBack', told.data);
        break;
      }
      case 'giveUp': {
        const told = gaveUp(record, incident, policy, { ...decision, nowMs: this.#book.nowMs() });
        if (!policy.dryRun) observer?.gaveUp();
        await this.#book.tell(told.record, 'recoveryGaveUp', told.data);
        break;
      }
      case 'step': {
        const dryRun = isRehearsed(incident, decision, policy);
        const outcome = await this.#steps.take(record, incident, decision, dryRun);
        if (outcome === 'overtaken') this.#drop(vmId, incident.stoppedSeq);
        this.#turns.again(vmId);
        break;
      }
    }
  }

  /** An operator's own operation came first: it is theirs now. */
  #drop(vmId: string, stoppedSeq: number): void {
    const record = this.#book.records.get(vmId);
    if (record?.incident?.stoppedSeq !== stoppedSeq) return;
    this.#book.set(over(record));
    this.#keep(vmId);
  }
}
