/**
 * Tells the event log what was decided of one machine, and keeps its open conditions.
 * I3: a condition is opened and closed synchronously with the decision, and at most once; the log keeps it open over
 * restarts in the same transaction as the event.
 */
import type { EventDraft, StopVerdict, VmReference } from '@vmpulse/wire';
import type { Clock } from '../clock.ts';
import type { EventLog } from '../event/log.ts';
import type { Condition, OpenCondition } from '../machine-record.ts';

/** An event's type and data, without what the announcer adds. */
export type Statement = {
  [T in EventDraft['type']]: Pick<Extract<EventDraft, { type: T }>, 'type' | 'data'>;
}[EventDraft['type']];

interface Opened {
  seq: number | null;
  /** Monotonic start of the outage; null when it began before this service did. */
  readonly sinceMonotonicMs: number | null;
  readonly sinceWallMs: number;
  verdict: StopVerdict | null;
}

/** One machine's announcements. */
export class Announcer {
  private readonly clock: Clock;
  private readonly log: EventLog;
  private readonly onFailure: (error: unknown) => void;
  private vm: VmReference;
  private readonly opened = new Map<Condition, Opened>();

  constructor(
    ports: { clock: Clock; log: EventLog; onFailure: (error: unknown) => void },
    vm: VmReference,
    conditions: readonly OpenCondition[],
  ) {
    this.clock = ports.clock;
    this.log = ports.log;
    this.onFailure = ports.onFailure;
    this.vm = vm;
    for (const { condition, seq, sinceMs, verdict } of conditions) {
      this.opened.set(condition, {
        seq,
        sinceMonotonicMs: null,
        sinceWallMs: sinceMs,
        verdict: verdict ?? null,
      });
    }
  }

  /** The machine, as its events name it. */
  get reference(): VmReference {
    return this.vm;
  }

  rename(vm: VmReference): void {
    this.vm = vm;
  }

  isOpen(condition: Condition): boolean {
    return this.opened.has(condition);
  }

  /** seq of the open condition's event; null when closed, or not durable yet. */
  seqOf(condition: Condition): number | null {
    return this.opened.get(condition)?.seq ?? null;
  }

  /** Verdict of the open heartbeatStopped; null where the guest was reset or turned on since. */
  get stopVerdict(): StopVerdict | null {
    return this.opened.get('heartbeatStopped')?.verdict ?? null;
  }

  /** Opens a condition with its event; does nothing when it is open. `sinceMs`: monotonic start of the outage. */
  open(condition: Condition, statement: Statement, sinceMs: number, onDurable?: () => void): void {
    if (this.opened.has(condition)) return;
    const verdict = statement.type === 'heartbeatStopped' ? statement.data.verdict : null;
    const opened: Opened = {
      seq: null,
      sinceMonotonicMs: sinceMs,
      sinceWallMs: this.clock.wallMs(),
      verdict,
    };
    this.opened.set(condition, opened);
    this.tell(statement, (seq) => {
      opened.seq = seq;
      onDurable?.();
    });
  }

  /** Tells another stop of a machine whose heartbeatStopped is still open; the outage goes on from the first. */
  stopAgain(statement: Extract<Statement, { type: 'heartbeatStopped' }>, onDurable: () => void): void {
    const opened = this.opened.get('heartbeatStopped');
    if (opened !== undefined) opened.verdict = statement.data.verdict;
    this.tell(statement, onDurable);
  }

  /** A stop that is not told again: `verdict` holds from here on where the one that was told is of a life before. */
  remainStopped(verdict: StopVerdict): void {
    const opened = this.opened.get('heartbeatStopped');
    if (opened !== undefined) opened.verdict ??= verdict;
  }

  /** The guest begins another life: how the one before stopped says nothing of it. */
  forgetVerdict(): void {
    const opened = this.opened.get('heartbeatStopped');
    if (opened !== undefined) opened.verdict = null;
  }

  /** Closes a condition with the event that `statement` makes of the outage; does nothing when it is closed. */
  close(condition: Condition, statement: (outageMs: number, openedSeq: number | null) => Statement): void {
    const opened = this.opened.get(condition);
    if (opened === undefined) return;
    this.opened.delete(condition);
    const outageMs =
      opened.sinceMonotonicMs === null
        ? this.clock.wallMs() - opened.sinceWallMs
        : this.clock.monotonicMs() - opened.sinceMonotonicMs;
    this.tell(statement(Math.max(0, Math.round(outageMs)), opened.seq));
  }

  /** Appends an event of this machine. Never throws: an event that could not be appended is reported. */
  tell(statement: Statement, onDurable?: (seq: number) => void): void {
    const draft = { ...statement, vm: this.vm, timeMs: this.clock.wallMs() } as EventDraft;
    try {
      this.log
        .append(draft)
        .then((event) => onDurable?.(event.seq))
        .catch(this.onFailure);
    } catch (error) {
      this.onFailure(error);
    }
  }
}
