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
import type { RecoveryRecord } from './record.ts';

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
  /** Last event read. */
  place = 0;
  serverDefault: CompleteRecoveryDefault = completeRecoveryDefault({ action: 'none' });
  readonly #ports: BookPorts;
  readonly #offsetMs: number;
  /** Changed since it was last stored: a place that is stored without them would have their events forgotten. */
  readonly #unstored = new Set<string>();

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
      this.records.set(key, notLater(value as RecoveryRecord, this.nowMs()));
    }
    const [stored] = defaults ?? [];
    if (stored !== undefined) this.serverDefault = completeRecoveryDefault(stored.value);
    const [place] = places ?? [];
    this.place = place === undefined ? log.state().lastSeq : Number(place.value);
    if (place === undefined) await store.putDocuments([this.#placeDocument()]);
  }

  /** Tells an event of a machine, and stores what is known of it with it. Resolves when durable. */
  tell<T extends keyof RecoveryEventData>(
    record: RecoveryRecord,
    type: T,
    data: Omit<EventDataByType[T], 'messageId'>,
  ): Promise<VmEvent> {
    this.set(record);
    const { clock, log } = this.#ports;
    const draft = {
      type,
      vm: record.vm,
      timeMs: Math.trunc(clock.wallMs()),
      data: { messageId: messageIds[type], ...data },
    } as unknown as EventDraft;
    return this.#stored((documents) => log.append(draft, { documents }));
  }

  /** Changes what is known, until the next write. */
  set(record: RecoveryRecord): void {
    const attempts = record.attempts.slice(-maxRecoveryHistory);
    this.records.set(record.vm.id, { ...record, attempts });
    this.#unstored.add(record.vm.id);
  }

  /** Stores what is known of a machine. */
  async store(vmId: string): Promise<void> {
    this.#unstored.add(vmId);
    await this.storePlace();
  }

  /** Stores the place in the log, and with it all that events up to there changed. */
  async storePlace(): Promise<void> {
    await this.#stored((documents) => this.#ports.store.putDocuments(documents));
  }

  /** Errors: VM_E_PREF_ILLEGAL_VALUE. */
  async setServerDefault(asked: unknown): Promise<CompleteRecoveryDefault> {
    const value = completeRecoveryDefault(asked);
    await this.#ports.store.putDocuments([{ kind: defaultKind, key: 'default', value }]);
    this.serverDefault = value;
    return value;
  }

  /** What cannot be written now is written with what comes next. */
  async #stored<T>(write: (documents: StoredDocument[]) => Promise<T>): Promise<T> {
    const changed = [...this.#unstored];
    this.#unstored.clear();
    const documents = changed.map((vmId) => {
      const record = this.records.get(vmId);
      return record === undefined ? removed(vmId) : this.#document(record);
    });
    try {
      return await write([...documents, this.#placeDocument()]);
    } catch (error) {
      for (const vmId of changed) this.#unstored.add(vmId);
      throw error;
    }
  }

  #document(record: RecoveryRecord): StoredDocument {
    const value = { ...record, seq: Math.max(record.seq, this.place) };
    return { kind: recordKind, key: record.vm.id, value };
  }

  #placeDocument(): StoredDocument {
    return { kind: placeKind, key: 'place', value: this.place };
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
            stoppedMs: at(incident.stoppedMs),
            runningSinceMs: maybe(incident.runningSinceMs),
            firstStepMs: maybe(incident.firstStepMs),
            last: incident.last === null ? null : { ...incident.last, endedMs: maybe(incident.last.endedMs) },
          },
  };
}
