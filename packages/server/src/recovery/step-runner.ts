/**
 * Takes steps: tells each as begun; once that was read back from the log, and with it all that came before, plans once
 * more from what the machine is then, carries the step out where it is still the one to take, and tells how it ended.
 */
import { type ErrorInfo, type RecoveryEventData, type RecoveryStepName, VmError } from '@vmpulse/wire';
import { gate } from '../vm/gate.ts';
import { errorInfo } from '../vm/task.ts';
import type { RecoveryBook } from './book.ts';
import { type Decision, disturbs } from './plan.ts';
import {
  type Incident,
  type RecoveryRecord,
  type StepRecord,
  attemptedAt,
  endAttempt,
  overIfHeard,
  untaken,
  withoutBegun,
} from './record.ts';
import { type StepPorts, carryOut, wasCarriedOut } from './step.ts';

/** How a step went: `overtaken` by someone who cancelled it; `cancelled` before it was carried out. */
export type StepOutcome = 'done' | 'failed' | 'overtaken' | 'cancelled';

/** What a runner works with. */
export interface StepRunnerPorts extends StepPorts {
  readonly random: () => number;
  /** What is to be done about a machine's stop as all is now; null where nothing is known of it. */
  readonly replan: (record: RecoveryRecord) => Replanned | null;
  /** A step ended. */
  readonly onEnded: (
    step: RecoveryStepName,
    result: 'done' | 'failed' | 'cancelled',
    dryRun: boolean,
  ) => void;
}

/** A decision, and whether it is one of a dry run. */
export interface Replanned {
  readonly decision: Decision;
  readonly dryRun: boolean;
}

type BegunStep = Pick<StepRecord, 'step' | 'attempt' | 'dryRun'>;

interface Ended {
  readonly outcome: 'done' | 'failed';
  readonly reason: string;
  readonly error?: ErrorInfo;
}

/** Takes steps, one at a time for each machine. */
export class StepRunner {
  readonly #ports: StepRunnerPorts;
  readonly #book: RecoveryBook;
  readonly #closing: AbortSignal;
  /** Who waits until the log was read up to an event. */
  readonly #waiting = new Map<string, { readonly seq: number; readonly open: () => void }>();

  /**
   * Machines of which a step is under way that can still be called off: it waits for the log, or was asked for, but
   * QEMU was not told.
   */
  readonly #undecided = new Map<string, 'waiting' | 'asked'>();

  constructor(ports: StepRunnerPorts, book: RecoveryBook, closing: AbortSignal) {
    this.#ports = ports;
    this.#book = book;
    this.#closing = closing;
    closing.addEventListener('abort', () => {
      for (const { open } of this.#waiting.values()) open();
    });
  }

  /** The log was read up to `seq`, what is of this machine. */
  readTo(vmId: string, seq: number): void {
    const waiting = this.#waiting.get(vmId);
    if (waiting !== undefined && waiting.seq <= seq) waiting.open();
  }

  /** Events were no longer kept: nothing more is read up to `seq`. */
  skippedTo(seq: number): void {
    for (const waiting of this.#waiting.values()) if (waiting.seq <= seq) waiting.open();
  }

  /** Has QEMU not been told of the step under way, so that a heartbeat still calls it off? */
  isUndecided(vmId: string): boolean {
    return this.#undecided.has(vmId);
  }

  /** Was the step under way not even asked for, so that nothing that happens to the machine is its doing? */
  isWaiting(vmId: string): boolean {
    return this.#undecided.get(vmId) === 'waiting';
  }

  /** Tells a step as begun, and carries it out. Errors: VMPULSE_E_LOG_UNAVAILABLE; then nothing was done. */
  async take(
    record: RecoveryRecord,
    incident: Incident,
    decision: Extract<Decision, { do: 'step' }>,
    dryRun: boolean,
  ): Promise<StepOutcome> {
    const { step, attempt, counts } = decision;
    const { stoppedSeq } = incident;
    const nowMs = this.#book.nowMs();
    const fresh = { begunSeq: null, endedSeq: null, endedMs: null, seen: [], stoppedAgain: false };
    const begun: Incident = {
      ...incident,
      taken: [...incident.taken, step],
      firstStepMs: incident.firstStepMs ?? (disturbs(step) ? nowMs : null),
      last: { step, attempt, outcome: 'begun', dryRun, ...fresh },
      previous: incident.last,
    };
    const entry = { atMs: nowMs, step, stoppedSeq, outcome: 'begun' as const, dryRun, counts };
    const attempts = disturbs(step) ? [...record.attempts, entry] : record.attempts;
    const reason = `${incident.verdict}, event ${stoppedSeq}`;
    const data = {
      stoppedSeq,
      step,
      phase: 'begun' as const,
      attempt,
      reason,
      ...(dryRun ? { dryRun } : {}),
    };
    const vmId = record.vm.id;
    const { operationsBegun } = this.#ports.machines.recoverable(vmId);
    // The log may be slow: what is told until this is carried out, an operator's start above all, is not its doing.
    if (disturbs(step) && !dryRun) this.#undecided.set(vmId, 'waiting');
    try {
      const { seq } = await this.#book.tell({ ...record, attempts, incident: begun }, 'recoveryStep', data);
      await this.#readBack(vmId, seq);
    } catch (error) {
      this.#undecided.delete(vmId);
      // It is not on record, so it must not be done.
      const now = this.#book.records.get(vmId);
      if (now?.incident?.stoppedSeq === stoppedSeq) this.#book.set(untaken(now));
      throw error;
    }
    try {
      return await this.#carryOut(vmId, stoppedSeq, { step, attempt, dryRun }, operationsBegun);
    } finally {
      this.#undecided.delete(vmId);
    }
  }

  /**
   * A step that was begun before the service was restarted; one that was not carried out is planned anew. False: it is
   * not known yet what became of it.
   */
  async resume(vmId: string, last: StepRecord): Promise<boolean> {
    const incident = this.#book.records.get(vmId)?.incident ?? null;
    const vm = this.#ports.machines.get(vmId);
    if (incident === null) return true;
    if (vm.task !== null || vm.operations.length === 0) return false;
    if (last.dryRun || !wasCarriedOut(last, vm)) {
      const reason = 'the service was restarted before it was carried out';
      await this.#cancel(vmId, incident.stoppedSeq, last, reason);
      return true;
    }
    const reason = 'it was carried out, or may have been, before the service was restarted';
    await this.#end(vmId, incident.stoppedSeq, { outcome: 'done', reason }, last);
    return true;
  }

  async #readBack(vmId: string, seq: number): Promise<void> {
    if (this.#book.place >= seq || this.#closing.aborted) return;
    const { passed, open } = gate();
    this.#waiting.set(vmId, { seq, open });
    await passed;
    this.#waiting.delete(vmId);
  }

  async #carryOut(
    vmId: string,
    stoppedSeq: number,
    begun: BegunStep,
    operationsBegun: number,
  ): Promise<StepOutcome> {
    const record = this.#book.records.get(vmId);
    // Stopping: the next service finds it begun. Deleted: there is nothing to tell of.
    if (this.#closing.aborted || record === undefined) return 'cancelled';
    const { incident } = record;
    const isOver =
      incident === null || incident.stoppedSeq !== stoppedSeq || incident.last?.outcome !== 'begun';
    const against = isOver
      ? 'the stop is over, or an operator acted'
      : this.#whyNot(record, begun, operationsBegun);
    if (against !== null) {
      await this.#cancel(vmId, stoppedSeq, begun, against);
      return 'cancelled';
    }
    const acted = incident?.acted ?? false;
    const acts = disturbs(begun.step) && !begun.dryRun;
    if (acts && (begun.step === 'reset' || begun.step === 'turnOff')) this.#undecided.set(vmId, 'asked');
    else if (acts) this.#noteActed(vmId, stoppedSeq);
    const goAhead = (): boolean => {
      const isOpen = this.#book.records.get(vmId)?.incident?.stoppedSeq === stoppedSeq;
      if (isOpen && acts) this.#noteActed(vmId, stoppedSeq);
      return isOpen;
    };
    let reason = 'dry run: nothing was done';
    try {
      if (!begun.dryRun)
        reason = await carryOut(this.#ports, begun.step, vmId, incident as Incident, goAhead);
    } catch (thrown) {
      return await this.#failed(vmId, stoppedSeq, begun, VmError.from(thrown), acted);
    }
    if (acts) this.#noteActed(vmId, stoppedSeq);
    // What could not be told is told as of a step that was begun before a restart.
    if (!this.#closing.aborted) await this.#end(vmId, stoppedSeq, { outcome: 'done', reason }, begun);
    return 'done';
  }

  /** From here on a heartbeat may be the step's doing. */
  #noteActed(vmId: string, stoppedSeq: number): void {
    this.#undecided.delete(vmId);
    const record = this.#book.records.get(vmId);
    if (record?.incident?.stoppedSeq !== stoppedSeq) return;
    const { incident } = record;
    // The log may have kept it waiting, and its window counts from what was done.
    const attempts = attemptedAt(record.attempts, this.#book.nowMs());
    this.#book.set({ ...record, attempts, incident: { ...incident, acted: true } });
  }

  async #failed(
    vmId: string,
    stoppedSeq: number,
    begun: BegunStep,
    error: VmError,
    acted: boolean,
  ): Promise<StepOutcome> {
    const { code } = error;
    if (this.#closing.aborted || code === 'VM_E_VM_UNKNOWN' || code === 'VM_E_APP_SHUTTING_DOWN') {
      return 'cancelled';
    }
    if (code === 'E_ABORT' || code === 'VMPULSE_E_OPERATION_IN_PROGRESS') {
      const record = this.#book.records.get(vmId);
      if (record?.incident?.stoppedSeq === stoppedSeq) {
        this.#book.set({ ...record, incident: { ...record.incident, acted } });
      }
      await this.#cancel(vmId, stoppedSeq, begun, error.message);
      // A start that someone cancelled, or turned the machine off in: it is theirs now.
      return code === 'E_ABORT' && begun.step === 'start' ? 'overtaken' : 'cancelled';
    }
    const reason = 'the operation failed';
    if (disturbs(begun.step) && !begun.dryRun) this.#noteActed(vmId, stoppedSeq);
    await this.#end(vmId, stoppedSeq, { outcome: 'failed', reason, error: errorInfo(error) }, begun);
    return 'failed';
  }

  /**
   * Why the step is not the one to take any more; null where it is. Evidence disturbs nobody. `operationsBegun`: on the
   * machine, when the step was decided.
   */
  #whyNot(record: RecoveryRecord, { step, dryRun }: BegunStep, operationsBegun: number): string | null {
    if (!disturbs(step)) return null;
    const now = this.#ports.replan(untaken(record));
    if (now === null) return 'the machine is gone';
    // Its events may come after the step's own: the log does not tell of it yet.
    if (this.#ports.machines.recoverable(record.vm.id).operationsBegun !== operationsBegun)
      return 'an operator acted';
    const { decision } = now;
    if (decision.do === 'step' && decision.step === step && now.dryRun === dryRun) return null;
    if (decision.do === 'holdBack') return `${decision.reason}: ${decision.detail}`;
    return 'the machine, or its policy, changed meanwhile';
  }

  /** Tells that the step was not carried out; it counts as never begun. */
  async #cancel(vmId: string, stoppedSeq: number, begun: BegunStep, reason: string): Promise<void> {
    const record = this.#book.records.get(vmId);
    if (record === undefined) return;
    const isOpen = record.incident?.stoppedSeq === stoppedSeq;
    const after = isOpen
      ? overIfHeard(untaken(record))
      : { ...record, attempts: withoutBegun(record.attempts) };
    this.#ports.onEnded(begun.step, 'cancelled', begun.dryRun);
    await this.#tell(after, stoppedSeq, begun, { phase: 'cancelled', reason });
  }

  /** Tells how the step ended, also where the heartbeat came back meanwhile. */
  async #end(
    vmId: string,
    stoppedSeq: number,
    { outcome, reason, error }: Ended,
    begun: BegunStep,
  ): Promise<void> {
    const record = this.#book.records.get(vmId);
    if (record === undefined) return;
    this.#ports.onEnded(begun.step, outcome, begun.dryRun);
    const incident = record.incident?.stoppedSeq === stoppedSeq ? record.incident : null;
    const step = incident?.last ?? null;
    const isOwn = record.attempts.at(-1)?.outcome === 'begun';
    const after: RecoveryRecord = {
      ...record,
      attempts: disturbs(begun.step) && isOwn ? endAttempt(record.attempts, outcome) : record.attempts,
      incident:
        incident === null || step === null
          ? record.incident
          : {
              ...incident,
              jitter: this.#ports.random(),
              heard: outcome === 'failed' && incident.heard === true,
              last: { ...step, outcome, endedMs: this.#book.nowMs() },
              previous: null,
            },
    };
    await this.#tell(overIfHeard(after), stoppedSeq, begun, {
      phase: outcome,
      reason,
      ...(error && { error }),
    });
  }

  async #tell(
    after: RecoveryRecord,
    stoppedSeq: number,
    { step, attempt, dryRun }: BegunStep,
    how: Pick<RecoveryEventData['recoveryStep'], 'phase' | 'reason' | 'error'>,
  ): Promise<void> {
    const rehearsal = dryRun ? { dryRun: true as const } : {};
    const data = { stoppedSeq, step, attempt, ...how, ...rehearsal };
    const { seq } = await this.#book.tell(after, 'recoveryStep', data);
    // What the machine did in it is read before: once the next step began it would be taken for someone else's doing.
    await this.#readBack(after.vm.id, seq);
  }
}
