/** Takes steps: tells each as begun, carries it out once that was read back from the log, and tells how it ended. */
import { type ErrorInfo, VmError } from '@vmpulse/wire';
import { gate } from '../vm/gate.ts';
import { errorInfo } from '../vm/task.ts';
import type { RecoveryBook } from './book.ts';
import { type Decision, disturbs, forbids } from './plan.ts';
import { type Incident, type RecoveryRecord, type StepRecord, endAttempt } from './record.ts';
import { type StepPorts, carryOut, wasCarriedOut } from './step.ts';

/** How a step went: `overtaken` by an operation of someone else; `cancelled` before it was carried out. */
export type StepOutcome = 'done' | 'failed' | 'overtaken' | 'cancelled';

/** Someone else's operation was there first, or cut in on this one. */
const overtakings: ReadonlySet<string> = new Set(['VMPULSE_E_OPERATION_IN_PROGRESS', 'E_ABORT']);

interface Ended {
  readonly outcome: 'done' | 'failed';
  readonly reason: string;
  readonly error?: ErrorInfo;
}

/** Takes steps, one at a time for each machine. */
export class StepRunner {
  readonly #ports: StepPorts & { readonly random: () => number };
  readonly #book: RecoveryBook;
  readonly #closing: AbortSignal;
  /** Who waits until the log was read up to an event. */
  readonly #waiting = new Map<string, { readonly seq: number; readonly open: () => void }>();

  constructor(
    ports: StepPorts & { readonly random: () => number },
    book: RecoveryBook,
    closing: AbortSignal,
  ) {
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

  /** Tells a step as begun, and carries it out. */
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
      jitter: this.#ports.random(),
      last: { step, attempt, outcome: 'begun', dryRun, ...fresh },
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
    const { seq } = await this.#book.tell({ ...record, attempts, incident: begun }, 'recoveryStep', data);
    await this.#readBack(record.vm.id, seq);
    return this.#carryOut(record.vm.id, stoppedSeq);
  }

  /** A step that was begun before the service was restarted. False: it is not known yet what became of it. */
  async resume(vmId: string, last: StepRecord): Promise<boolean> {
    const incident = this.#book.records.get(vmId)?.incident ?? null;
    const vm = this.#ports.machines.get(vmId);
    if (incident === null) return true;
    if (vm.task !== null || vm.operations.length === 0) return false;
    if (last.dryRun || !wasCarriedOut(last, vm)) {
      await this.#carryOut(vmId, incident.stoppedSeq);
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

  async #carryOut(vmId: string, stoppedSeq: number): Promise<StepOutcome> {
    const record = this.#book.records.get(vmId);
    const incident = record?.incident ?? null;
    const last = incident?.last ?? null;
    // The heartbeat came back, an operator acted, or the machine was deleted.
    if (this.#closing.aborted || record === undefined || incident === null) return 'cancelled';
    if (incident.stoppedSeq !== stoppedSeq || last?.outcome !== 'begun') return 'cancelled';
    const forbidden = this.#forbidden(vmId, incident, last);
    if (forbidden !== null) {
      await this.#withdraw(record, incident, last, forbidden);
      return 'cancelled';
    }
    if (disturbs(last.step) && !last.dryRun)
      this.#book.set({ ...record, incident: { ...incident, acted: true } });
    let ended: Ended;
    let overtaken = false;
    try {
      const reason = last.dryRun
        ? 'dry run: nothing was done'
        : await carryOut(this.#ports, last.step, vmId, incident);
      ended = { outcome: 'done', reason };
    } catch (thrown) {
      const error = VmError.from(thrown);
      if (error.code === 'VM_E_VM_UNKNOWN' || error.code === 'VM_E_APP_SHUTTING_DOWN') return 'cancelled';
      overtaken = overtakings.has(error.code);
      ended = { outcome: 'failed', reason: 'the operation failed', error: errorInfo(error) };
    }
    if (this.#closing.aborted) return 'cancelled';
    await this.#end(vmId, stoppedSeq, ended, last);
    return overtaken ? 'overtaken' : ended.outcome;
  }

  /** What was decided a moment ago, or by a service before this one, must still hold. What is off by us is started. */
  #forbidden(vmId: string, { taken }: Incident, { step, dryRun }: StepRecord): string | null {
    if (dryRun || !disturbs(step) || (step === 'start' && taken.at(-2) === 'turnOff')) return null;
    try {
      const { state, guest } = this.#ports.machines.get(vmId);
      const verdict = state === 'turnedOff' ? 'exited' : guest.verdict;
      const hold = guest.hold?.reason ?? null;
      return forbids({ verdict, hold }, taken.filter(disturbs).length > 1);
    } catch {
      // One that is gone is told so when the step is tried.
      return null;
    }
  }

  /** It is as if it had never begun. */
  async #withdraw(
    record: RecoveryRecord,
    incident: Incident,
    { step, attempt }: StepRecord,
    why: string,
  ): Promise<void> {
    const { stoppedSeq } = incident;
    const taken = incident.taken.slice(0, -1);
    const firstStepMs = taken.some(disturbs) ? incident.firstStepMs : null;
    const attempts = record.attempts.slice(0, -1);
    const after = { ...record, attempts, incident: { ...incident, taken, firstStepMs, last: null } };
    const reason = `not carried out: ${why}`;
    await this.#book.tell(after, 'recoveryStep', { stoppedSeq, step, phase: 'failed', attempt, reason });
  }

  /** Tells how the step ended, also where the heartbeat came back meanwhile. */
  async #end(
    vmId: string,
    stoppedSeq: number,
    { outcome, reason, error }: Ended,
    begun: StepRecord,
  ): Promise<void> {
    const record = this.#book.records.get(vmId);
    if (record === undefined) return;
    const incident = record.incident?.stoppedSeq === stoppedSeq ? record.incident : null;
    const step = incident?.last ?? begun;
    const { dryRun } = step;
    const last: StepRecord = { ...step, outcome, endedMs: this.#book.nowMs() };
    const attempts =
      incident !== null && disturbs(last.step) ? endAttempt(record.attempts, outcome) : record.attempts;
    const after = {
      ...record,
      attempts,
      incident: incident === null ? record.incident : { ...incident, last },
    };
    await this.#book.tell(after, 'recoveryStep', {
      stoppedSeq,
      step: last.step,
      phase: outcome,
      attempt: last.attempt,
      reason,
      ...(error === undefined ? {} : { error }),
      ...(dryRun ? { dryRun } : {}),
    });
  }
}
