/**
 * The records of all machines, and recovery's place in the log: stored with each event of recovery, in its transaction.
 * Within one run of the service its times follow the monotonic clock; between runs only the wall clock goes on, and
 * what lies in the future then (a clock that was set back) is taken for now.
 */
import {
  type CompleteRecoveryDefault,
  type EventDataByType,
  type EventDraft,
  type RecoveryEventData,
  type VmEvent,
  messageIds,
} from '@vmpulse/wire';
import type { Clock } from '../clock.ts';
import type { EventLog } from '../event/log.ts';
import { maxRecoveryHistory } from '../limits.ts';
import type { DocumentStore, StoredDocument } from '../machine-record.ts';
import { completeRecoveryDefault } from '../vm/recovery-policy.ts';
import { disturbs } from './plan.ts';
import type { RecoveryRecord, StepRecord } from './record.ts';

const [recordKind, placeKind, defaultKind] = ['recovery', 'recoveryPlace', 'recoveryDefault'] as const;

/** What the book writes with. */
export interface BookPorts {
  readonly clock: Clock;
  readonly log: EventLog;
  readonly store: DocumentStore;
}

/** Everything recovery keeps. */
export class RecoveryBook {
  readonly records: Map<string, RecoveryRecord> = new Map();
  /** Machines of which a step that disturbs was the last of a stop that is not over: the brake counts among them. */
  readonly stepped: Set<string> = new Set();
  /** Last event read. */
  place = 0;
  serverDefault: CompleteRecoveryDefault = completeRecoveryDefault({ action: 'none' });
  readonly #ports: BookPorts;
  /** Machines of which more is known than is stored, with the event that it was learned from first. */
  readonly #unstored = new Map<string, number>();
  readonly #offsetMs: number;

  constructor(ports: BookPorts) {
    this.#ports = ports;
    this.#offsetMs = ports.clock.wallMs() - ports.clock.monotonicMs();
  }

  /** Wall time that no step of the wall clock moves while the service runs, ms. */
  nowMs(): number {
    return Math.round(this.#ports.clock.monotonicMs() + this.#offsetMs);
  }

  /** Takes what is stored. Where nothing is, recovery begins with what comes: no stop of the past is recovered. */
  async load(): Promise<void> {
    const { store, log } = this.#ports;
    const [records, places, defaults] = await Promise.all(
      [recordKind, placeKind, defaultKind].map((kind) => store.loadDocuments(kind)),
    );
    for (const { key, value } of records ?? []) {
      const record = notLater(value as RecoveryRecord, this.nowMs());
      this.records.set(key, record);
      this.#noteStep(record);
    }
    const [stored] = defaults ?? [];
    if (stored !== undefined) this.serverDefault = completeRecoveryDefault(stored.value);
    const [place] = places ?? [];
    this.place = place === undefined ? log.state().lastSeq : Number(place.value);
    if (place === undefined) await store.putDocuments([this.#placeDocument()]);
  }

  /**
   * Tells an event of a machine, and stores what is known of it with it. Resolves when durable; where that is lost
   * it is as before, unless more became known meanwhile. Errors: VMPULSE_E_LOG_UNAVAILABLE.
   */
  async tell<T extends keyof RecoveryEventData>(
    record: RecoveryRecord,
    type: T,
    data: Omit<EventDataByType[T], 'messageId'>,
  ): Promise<VmEvent> {
    const { clock, log } = this.#ports;
    const vmId = record.vm.id;
    const before = this.records.get(vmId);
    const written = this.set(record);
    const stored = this.#storing([vmId]);
    const draft = {
      type,
      vm: record.vm,
      timeMs: Math.trunc(clock.wallMs()),
      data: { messageId: messageIds[type], ...data },
    } as unknown as EventDraft;
    try {
      const event = await log.append(draft, {
        documents: [this.#document(record), this.#placeDocument([vmId])],
      });
      stored();
      return event;
    } catch (error) {
      if (before !== undefined && this.records.get(vmId) === written) this.set(before);
      throw error;
    }
  }

  /** Changes what is known, until the next write. */
  set(record: RecoveryRecord): RecoveryRecord {
    const attempts = record.attempts.slice(-maxRecoveryHistory);
    const kept = { ...record, attempts };
    this.records.set(record.vm.id, kept);
    this.#noteStep(kept);
    return kept;
  }

  /** Forgets a machine, until the next write. False where nothing was known of it. */
  forget(vmId: string): boolean {
    this.stepped.delete(vmId);
    return this.records.delete(vmId);
  }

  /** More is known of a machine by an event, which is read again after a crash unless the machine is stored before. */
  learned(vmId: string, seq: number): void {
    if (!this.#unstored.has(vmId)) this.#unstored.set(vmId, seq);
  }

  /** Stores what is known of a machine. */
  store(vmId: string): Promise<void> {
    return this.#storeAll([vmId]);
  }

  /** Stores the place in the log, and what was learned up to it. */
  storePlace(): Promise<void> {
    return this.#storeAll([...this.#unstored.keys()]);
  }

  async #storeAll(vmIds: readonly string[]): Promise<void> {
    const stored = this.#storing(vmIds);
    const documents = vmIds.map((vmId) => {
      const record = this.records.get(vmId);
      return record === undefined ? removed(vmId) : this.#document(record);
    });
    await this.#ports.store.putDocuments([...documents, this.#placeDocument(vmIds)]);
    stored();
  }

  /** Errors: VM_E_PREF_ILLEGAL_VALUE. */
  async setServerDefault(asked: unknown): Promise<CompleteRecoveryDefault> {
    const value = completeRecoveryDefault(asked);
    await this.#ports.store.putDocuments([{ kind: defaultKind, key: 'default', value }]);
    this.serverDefault = value;
    return value;
  }

  /** What is known now is being written; what this answers is called once it is durable. */
  #storing(vmIds: readonly string[]): () => void {
    const next = this.place + 1;
    const written = vmIds.map((vmId) => [vmId, this.records.get(vmId)] as const);
    return () => {
      for (const [vmId, record] of written) {
        if (this.records.get(vmId) === record) this.#unstored.delete(vmId);
        else if (this.#unstored.has(vmId)) this.#unstored.set(vmId, next);
      }
    };
  }

  #noteStep({ vm, incident }: RecoveryRecord): void {
    const last = incident?.last ?? null;
    if (last !== null && disturbs(last.step)) this.stepped.add(vm.id);
    else this.stepped.delete(vm.id);
  }

  #document(record: RecoveryRecord): StoredDocument {
    const value = { ...record, seq: Math.max(record.seq, this.place) };
    return { kind: recordKind, key: record.vm.id, value };
  }

  /** What is learned of `stored` is written with it. */
  #placeDocument(stored: readonly string[] = []): StoredDocument {
    const written = new Set(stored);
    let read = this.place;
    for (const [vmId, seq] of this.#unstored) if (!written.has(vmId)) read = Math.min(read, seq - 1);
    return { kind: placeKind, key: 'place', value: read };
  }
}

function removed(vmId: string): StoredDocument {
  return { kind: recordKind, key: vmId, value: null };
}

function notLater(record: RecoveryRecord, nowMs: number): RecoveryRecord {
  const at = (ms: number): number => Math.min(ms, nowMs);
  const maybe = (ms: number | null): number | null => (ms === null ? null : at(ms));
  const { incident } = record;
  return {
    ...record,
    attempts: record.attempts.map((attempt) => ({ ...attempt, atMs: at(attempt.atMs) })),
    incident:
      incident === null
        ? null
        : {
            ...incident,
            ...(incident.previous === undefined || incident.previous === null
              ? {}
              : { previous: ended(incident.previous, maybe) }),
            stoppedMs: at(incident.stoppedMs),
            runningSinceMs: maybe(incident.runningSinceMs),
            firstStepMs: maybe(incident.firstStepMs),
            last: incident.last === null ? null : ended(incident.last, maybe),
          },
  };
}

function ended(step: StepRecord, maybe: (ms: number | null) => number | null): StepRecord {
  return { ...step, endedMs: maybe(step.endedMs) };
}
