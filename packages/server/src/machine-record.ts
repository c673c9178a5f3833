/** What is stored of a machine, and the port that stores it. One writer with the event log, so that both agree. */
import type { CompleteVmConfiguration, EventDraft, EventType, StopVerdict, VmState } from '@vmpulse/wire';
import type { ProcessRecord } from './hypervisor/hypervisor.ts';

/** A lasting condition of a machine: opened by one event, closed by another. Open at most once at a time. */
export type Condition = 'heartbeatStopped' | 'additionsStopped' | 'visibilityLost';

/** Which event opens and which closes a condition; vmDeleted closes all. */
export const conditionRules: Record<Condition, { readonly opens: EventType; readonly closes: EventType }> = {
  heartbeatStopped: { opens: 'heartbeatStopped', closes: 'heartbeatResumed' },
  additionsStopped: { opens: 'additionsStopped', closes: 'additionsResumed' },
  visibilityLost: { opens: 'visibilityLost', closes: 'visibilityRegained' },
};

/**
 * Whether an event begins another life of its guest: one that was reset or turned on, but not one that goes on from a
 * saved state. The verdict of an open heartbeatStopped is not this life's.
 */
export function beginsLife(event: EventDraft): boolean {
  if (event.type !== 'stateChanged') return event.type === 'guestReset';
  return event.data.state === 'turningOn' && event.data.previousState !== 'saved';
}

/** A condition that is open. */
export interface OpenCondition {
  readonly condition: Condition;
  /** seq of the event that opened it. */
  readonly seq: number;
  /** Wall time of that event, ms since 1970. */
  readonly sinceMs: number;
  /**
   * Of a heartbeatStopped: the verdict told last while it was open. Missing where the guest was reset or turned on
   * since (see `beginsLife`), and where it was opened by a vmpulse that did not store it and the event is gone.
   */
  readonly verdict?: StopVerdict;
}

/** A hold that was begun and has not ended: by holdStarted and holdEnded alone, or by the end of its machine. */
export interface StoredHold {
  /** The machine; null: all of them. One hold for each. */
  readonly vmId: string | null;
  readonly reason: string;
  /** Wall times, ms since 1970. */
  readonly sinceMs: number;
  readonly untilMs: number;
}

/** What the monitor wants to know again after a restart. Learned, bounded, never needed to be right. */
export interface WatchMemory {
  /** Ticks came since the present process booted: silence counts. */
  readonly armed: boolean;
  /** Interval its ticker last said, ms. */
  readonly intervalMs: number | null;
  /** Wall time of the last known tick, ms since 1970 (saved now and then, not for each tick). */
  readonly lastTickWallMs: number | null;
  /** Durations of its last boots, ms, newest last, at most 8. */
  readonly bootMs: readonly number[];
  /** What its heartbeat was; null or missing when it had none. */
  readonly source?: 'ticker' | 'agent' | null;
  /** It ticked or answered before, and is awaited, though it may boot now. */
  readonly awaited?: boolean;
  /** Which of its additions stopped, where that was told and is not over. */
  readonly additionsLost?: 'ticker' | 'agent' | null;
  /** The stop told last is of a boot that had not opened the port of its heartbeat: a closed one is no news. */
  readonly toldClosed?: boolean;
  /** Greatest lateness of its ticks, ms; null or missing while too few were seen. */
  readonly latenessMs?: number | null;
}

/** What the guest's additions told, kept when it is off. */
export interface AdditionsRecord {
  readonly version: string | null;
  readonly osName: string | null;
  readonly computerName: string | null;
}

/**
 * What the want of disk space has to do with a machine, changed by its changes of state (vm/disk-space.ts). `pausing`:
 * it is about to be paused for it; `paused`: it was, and nobody touched it since; `exempt`: it was, and somebody
 * resumed it: it is not paused again while the space is short.
 */
export type DiskSpaceMark = 'pausing' | 'paused' | 'exempt';

/** A machine as stored. */
export interface MachineRecord {
  readonly id: string;
  readonly hypervisor: 'qemu' | 'libvirt' | 'fake';
  readonly configuration: CompleteVmConfiguration;
  /** Configuration the present process was started with; null when off. */
  readonly activeConfiguration: CompleteVmConfiguration | null;
  readonly createdMs: number;
  readonly process: ProcessRecord | null;
  /** Ran when the service last stopped in order (for autostart ifRunningAtQuit). */
  readonly runningAtQuit: boolean;
  readonly additions: AdditionsRecord;
  readonly watch: WatchMemory;
  /** Missing or null where space was never short. */
  readonly diskSpace?: DiskSpaceMark | null;
}

/** A machine as loaded: with what the log's events made of it. */
export interface StoredMachine {
  readonly record: MachineRecord;
  /** State of the last stateChanged event; turnedOff when there was none. */
  readonly state: VmState;
  readonly conditions: readonly OpenCondition[];
}

/**
 * A small record of a part of the service that outlives it: a subscription, a cursor, a webhook, a plan of recovery.
 * Kinds and keys are the part's own.
 */
export interface StoredDocument {
  readonly kind: string;
  readonly key: string;
  /** JSON; null removes it. */
  readonly value: unknown;
}

/** A write that belongs to an event. */
export type MachineEffect =
  | { readonly put: MachineRecord }
  | { readonly remove: string }
  | { readonly documents: readonly StoredDocument[] };

/** Stored machines. Writes are ordered with the event log's appends. */
export interface MachineStore {
  loadMachines(): Promise<StoredMachine[]>;
  /** Written by the events themselves, in their transaction: a crash never parts the two. */
  loadHolds(): Promise<StoredHold[]>;
  /** Resolves when durable. Errors: VMPULSE_E_LOG_UNAVAILABLE. */
  putMachine(record: MachineRecord): Promise<void>;
  /** A value of the server's own (`cleanStop`, ...): null when never set. */
  getValue(key: string): Promise<string | null>;
  setValue(key: string, value: string): Promise<void>;
}

/** Stored documents. Writes are ordered with the event log's appends; one that belongs to an event is its effect. */
export interface DocumentStore {
  /** All of a kind, by key. */
  loadDocuments(kind: string): Promise<StoredDocument[]>;
  /** Written together or not at all; resolves when durable. Errors: VMPULSE_E_LOG_UNAVAILABLE, E_INVALIDARG. */
  putDocuments(documents: readonly StoredDocument[]): Promise<void>;
}
