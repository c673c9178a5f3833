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
  VmError,
  type VmEvent,
  type VmInfo,
  isEvent,
} from '@vmpulse/wire';
import type { Timer } from '../clock.ts';
import { type EventStream, openStream } from '../event/outbox.ts';
import { fleetWindowMs, recoveryCursorEvery, recoveryRecheckMs } from '../limits.ts';
import type { Logger } from '../vm/ports.ts';
import { recoveryPolicy } from '../vm/recovery-policy.ts';
import type { RecoveryService } from '../vm/recovery-service.ts';
import { type BookPorts, RecoveryBook } from './book.ts';
import { heardByMs, isMass, isRecovering, planInput, recoveryInfo } from './look.ts';
import { type Decision, foreseenSteps, planRecovery } from './plan.ts';
import { type Incident, type RecoveryRecord, emptyRecord, endAttempt, fold, rearmed } from './record.ts';
import { StepRunner } from './step-runner.ts';
import type { StepPorts } from './step.ts';

/** What recovery works with. */
export interface RecoveryPorts extends BookPorts, StepPorts {
  readonly logger: Logger;
  /** Why the host is not well; null when it is. */
  readonly hostTrouble: () => string | null;
  /** From 0 to 1. */
  readonly random: () => number;
}

/** Recovers machines. `load`, then `start` once the machines were found again; `close` ends it, mid-step too. */
export class Recovery implements RecoveryService {
  readonly #ports: RecoveryPorts;
  readonly #book: RecoveryBook;
  readonly #steps: StepRunner;
  readonly #closing = new AbortController();
  readonly #timers = new Map<string, Timer>();
  readonly #turning = new Set<string>();
  readonly #again = new Set<string>();
  /** Since when each machine runs; known of those that were started since this service was. */
  readonly #runningSince = new Map<string, number>();
  /** Wall times of the stops of the last while. */
  #stopsMs: number[] = [];
  #caughtUp = false;
  /** When this service began, and the last event of those before it. */
  #since = { ms: 0, seq: 0 };
  #unstored = 0;
  #reading: Promise<void> = Promise.resolve();

  constructor(ports: RecoveryPorts) {
    this.#ports = ports;
    this.#book = new RecoveryBook(ports);
    this.#steps = new StepRunner(ports, this.#book, this.#closing.signal);
  }

  /** Takes what is stored. Errors: those of the store. */
  async load(): Promise<void> {
    await this.#book.load();
    for (const { incident } of this.#book.records.values()) {
      if (incident !== null) this.#stopsMs.push(incident.stoppedMs);
    }
  }

  /** Reads the log from where it was left, and acts once it has caught up. */
  start(): void {
    this.#since = { ms: this.#book.nowMs(), seq: this.#ports.log.state().lastSeq };
    this.#reading = this.#read();
  }

  /** What is under way goes on in the hypervisor; the next service finds out how it ended. Never rejects. */
  async close(): Promise<void> {
    this.#closing.abort();
    for (const timer of this.#timers.values()) timer.cancel();
    await this.#reading;
    try {
      if (this.#unstored > 0) await this.#book.storePlace();
    } catch (error) {
      this.#ports.logger.warn({ err: error }, 'where recovery was in the log could not be stored');
    }
  }

  get serverDefault(): CompleteRecoveryDefault {
    return this.#book.serverDefault;
  }

  async setServerDefault(asked: unknown): Promise<CompleteRecoveryDefault> {
    const value = await this.#book.setServerDefault(asked);
    for (const vmId of this.#book.records.keys()) this.#turn(vmId);
    return value;
  }

  info(vm: string): RecoveryInfo {
    const found = this.#ports.machines.get(vm);
    const record = this.#book.records.get(found.id) ?? emptyRecord({ id: found.id, name: found.name });
    const policy = this.#policy(found);
    const decision = record.incident === null ? null : this.#decide(record, record.incident, found, policy);
    return recoveryInfo({ vm: found, record, policy, decision });
  }

  async rearm(vm: string): Promise<RecoveryInfo> {
    const { id } = this.#ports.machines.get(vm);
    const record = this.#book.records.get(id);
    if (record !== undefined) {
      this.#book.set(rearmed(record));
      await this.#book.store(id);
      this.#turn(id);
    }
    return this.info(id);
  }

  async #read(): Promise<void> {
    const { log, logger } = this.#ports;
    const target = log.state().lastSeq;
    const { signal } = this.#closing;
    let stream: EventStream = openStream(log, { after: this.#book.place, signal });
    if (this.#book.place >= target) this.#catchUp();
    while (!signal.aborted) {
      try {
        const events = await stream.next();
        for (const event of events) this.#take(event);
        this.#book.place = Math.max(this.#book.place, stream.cursor);
        if (!this.#caughtUp && this.#book.place >= target) this.#catchUp();
        await this.#storePlaceNow();
      } catch (error) {
        if (signal.aborted) return;
        logger.warn({ err: error }, 'recovery could not read the log, and reads on');
        await this.#ports.clock.sleep(recoveryRecheckMs, signal);
        const isGone = error instanceof VmError && error.code === 'VMPULSE_E_CURSOR_EXPIRED';
        const after = isGone ? Math.max(0, log.state().oldestSeq - 1) : this.#book.place;
        stream = openStream(log, { after, signal });
      }
    }
  }

  #catchUp(): void {
    this.#caughtUp = true;
    for (const vmId of this.#book.records.keys()) this.#turn(vmId);
  }

  /** Its own events move it too: the log at rest is not written for that. */
  async #storePlaceNow(): Promise<void> {
    if (this.#unstored < recoveryCursorEvery) return;
    this.#unstored = 0;
    await this.#book.storePlace();
  }

  #take(event: VmEvent): void {
    this.#book.place = event.seq;
    this.#unstored += 1;
    const { vm } = event.data;
    if (vm === undefined) return;
    if (isEvent(event, 'vmDeleted')) {
      this.#forget(vm.id);
      return;
    }
    if (isEvent(event, 'stateChanged') && event.data.state === 'running') {
      if (event.data.previousState !== 'paused') this.#runningSince.set(vm.id, this.#timeOf(event));
    }
    const record = this.#book.records.get(vm.id);
    if (record !== undefined && event.seq <= record.seq) return;
    if (isEvent(event, 'heartbeatStopped')) this.#noteStop(event);
    else if (record === undefined) return;
    const isOpen = record !== undefined && record.incident !== null;
    if (!isOpen && isEvent(event, 'heartbeatStopped') && !this.#isWanted(vm.id)) return;
    this.#fold(event, record ?? emptyRecord(vm));
  }

  #fold(event: VmEvent, before: RecoveryRecord): void {
    const { vm } = before;
    const runningSinceMs = this.#runningSince.get(vm.id) ?? this.#startedMs(vm.id);
    const times = { atMs: this.#timeOf(event), runningSinceMs };
    const { record: after, succeeded } = fold(before, event, times);
    this.#book.set(after);
    if (succeeded !== null) this.#tellSuccess(after, succeeded);
    else if (before.incident !== after.incident && after.incident === null) this.#keep(vm.id);
    else if (before.gaveUp !== after.gaveUp) this.#keep(vm.id);
    this.#steps.readTo(vm.id, event.seq);
    if (after.incident !== null) this.#turn(vm.id);
    else this.#timers.get(vm.id)?.cancel();
  }

  #noteStop(event: VmEvent<'heartbeatStopped'>): void {
    const atMs = this.#timeOf(event);
    this.#stopsMs = [...this.#stopsMs.filter((each) => each > atMs - 60 * fleetWindowMs), atMs].slice(-1_000);
  }

  #forget(vmId: string): void {
    this.#timers.get(vmId)?.cancel();
    this.#timers.delete(vmId);
    this.#runningSince.delete(vmId);
    if (!this.#book.records.delete(vmId)) return;
    this.#keep(vmId);
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
    return this.#caughtUp ? nowMs : Math.min(Date.parse(event.time), nowMs);
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
    const { firstStepMs, last, stoppedMs, stoppedSeq } = incident;
    const nowMs = this.#book.nowMs();
    if (last === null || last.dryRun || firstStepMs === null) {
      this.#keep(record.vm.id);
      return;
    }
    this.#lost(
      this.#book.tell(record, 'recoverySucceeded', {
        stoppedSeq,
        step: last.step,
        attempts: last.attempt,
        outageMs: Math.max(0, nowMs - stoppedMs),
        recoveryMs: Math.max(0, nowMs - firstStepMs),
      }),
    );
  }

  #lost(told: Promise<unknown>): void {
    told.catch((error: unknown) => this.#ports.logger.warn({ err: error }, 'an event of recovery was lost'));
  }

  /** Lets a machine have its turn; turns of one machine follow each other. Never rejects. */
  #turn(vmId: string): void {
    if (!this.#caughtUp || this.#closing.signal.aborted) return;
    if (this.#turning.has(vmId)) this.#again.add(vmId);
    else void this.#turns(vmId);
  }

  async #turns(vmId: string): Promise<void> {
    this.#turning.add(vmId);
    try {
      do {
        this.#again.delete(vmId);
        await this.#once(vmId);
      } while (this.#again.has(vmId) && !this.#closing.signal.aborted);
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      this.#ports.logger.warn({ err: error, vm: vmId }, 'a recovery could not go on, and is tried again');
      this.#turnIn(vmId, recoveryRecheckMs);
    } finally {
      this.#turning.delete(vmId);
    }
  }

  #turnIn(vmId: string, delayMs: number): void {
    this.#timers.get(vmId)?.cancel();
    if (this.#closing.signal.aborted) return;
    this.#timers.set(
      vmId,
      this.#ports.clock.setTimer(() => this.#turn(vmId), delayMs),
    );
  }

  async #once(vmId: string): Promise<void> {
    const record = this.#book.records.get(vmId);
    const vm = this.#look(vmId);
    if (record === undefined || record.incident === null || vm === null) return;
    const policy = this.#policy(vm);
    const { incident } = record;
    const isOld = incident.stoppedSeq <= this.#since.seq;
    const unheardMs = isOld ? heardByMs(vm, this.#since.ms) - this.#book.nowMs() : 0;
    if (unheardMs > 0) return this.#turnIn(vmId, unheardMs);
    if (incident.last?.outcome === 'begun') {
      const goOn = await this.#steps.resume(vmId, incident.last);
      return this.#turnIn(vmId, goOn ? 0 : recoveryRecheckMs);
    }
    if (!incident.planned && policy.action !== 'none') {
      await this.#tellPlan(record, incident, vm, policy);
      this.#again.add(vmId);
      return;
    }
    await this.#follow(record, incident, policy, this.#decide(record, incident, vm, policy));
  }

  async #tellPlan(
    record: RecoveryRecord,
    incident: Incident,
    vm: VmInfo,
    policy: RecoveryPolicy,
  ): Promise<void> {
    const { action, dryRun } = policy;
    const taken = this.#ports.evidence === null ? (['evidence'] as const) : [];
    const steps = foreseenSteps(policy, vm.state === 'turnedOff').filter((step) => step !== taken[0]);
    const planned = { ...incident, planned: true, taken, jitter: this.#ports.random() };
    await this.#book.tell({ ...record, incident: planned }, 'recoveryPlanned', {
      stoppedSeq: incident.stoppedSeq,
      verdict: incident.verdict,
      action,
      steps,
      ...(dryRun ? { dryRun } : {}),
    });
  }

  #decide(record: RecoveryRecord, incident: Incident, vm: VmInfo, policy: RecoveryPolicy): Decision {
    const nowMs = this.#book.nowMs();
    const { atOnce } = this.#book.serverDefault;
    const mass = isMass(incident, this.#stopsMs, atOnce);
    const others = mass
      ? [...this.#book.records.values()].filter((each) => each.vm.id !== vm.id && isRecovering(each, nowMs))
          .length
      : 0;
    const hostTrouble = mass ? this.#ports.hostTrouble() : null;
    const { bootWindowMs } = this.#ports.machines.recoverable(vm.id);
    const brake = { mass, others, atOnce, hostTrouble };
    return planRecovery(planInput({ record, incident, vm, policy, bootWindowMs, brake, nowMs }));
  }

  async #follow(
    record: RecoveryRecord,
    incident: Incident,
    policy: RecoveryPolicy,
    decision: Decision,
  ): Promise<void> {
    const vmId = record.vm.id;
    const { stoppedSeq } = incident;
    const rehearsal = policy.dryRun ? { dryRun: true as const } : {};
    switch (decision.do) {
      case 'nothing':
        break;
      case 'wait':
        this.#turnIn(vmId, Math.max(1, decision.untilMs - this.#book.nowMs()));
        break;
      case 'holdBack': {
        const { reason, detail } = decision;
        if (reason !== 'gaveUp') this.#turnIn(vmId, recoveryRecheckMs);
        // An operation is over soon, and told by its own events.
        if (reason === 'operation' || incident.told.includes(reason)) break;
        const told = { ...incident, told: [...incident.told, reason] };
        const data = { stoppedSeq, reason, detail, ...rehearsal };
        await this.#book.tell({ ...record, incident: told }, 'recoveryHeldBack', data);
        break;
      }
      case 'giveUp': {
        const { reason, attempts } = decision;
        const detail =
          `${attempts} ${attempts === 1 ? 'attempt' : 'attempts'} in ${policy.windowMs / 60_000} min ` +
          `brought no lasting ` +
          `heartbeat; look at the machine, then vmpulse recovery rearm ${record.vm.name}`;
        const gaveUp = { atMs: this.#book.nowMs(), reason: detail, dryRun: policy.dryRun };
        const told = { ...incident, told: [...incident.told, 'gaveUp'] };
        const data = { stoppedSeq, reason, attempts, detail, ...rehearsal };
        await this.#book.tell({ ...record, incident: told, gaveUp }, 'recoveryGaveUp', data);
        break;
      }
      case 'step': {
        const failed = await this.#steps.take(record, incident, decision, policy.dryRun);
        if (failed === 'overtaken') this.#drop(vmId, stoppedSeq);
        this.#again.add(vmId);
        break;
      }
    }
  }

  /** An operator's own operation came first: it is theirs now. */
  #drop(vmId: string, stoppedSeq: number): void {
    const record = this.#book.records.get(vmId);
    if (record?.incident?.stoppedSeq !== stoppedSeq) return;
    this.#book.set({ ...record, incident: null, attempts: endAttempt(record.attempts, 'failed') });
    this.#keep(vmId);
  }
}
