/** What the main thread and the store's threads say to each other. Strings and numbers only: cheap to copy. */
import type { ErrorCode } from '@vmpulse/wire';

/** What a transaction does besides adding an event. */
export type RowEffect =
  | { readonly op: 'put'; readonly vmId: string; readonly record: string }
  | { readonly op: 'remove'; readonly vmId: string }
  | { readonly op: 'state'; readonly vmId: string; readonly state: string }
  /** Of the open heartbeatStopped. */
  | { readonly op: 'forgetVerdict'; readonly vmId: string }
  /** Of a dropped event: written only where the machine is stored. */
  | {
      readonly op: 'keep';
      readonly vmId: string;
      readonly record: string | undefined;
      readonly state: string | undefined;
    }
  | { readonly op: 'value'; readonly key: string; readonly value: string }
  | { readonly op: 'hold'; readonly hold: HoldRow }
  | { readonly op: 'endHold'; readonly vmId: string }
  /** `value` is JSON; null removes the document. */
  | { readonly op: 'document'; readonly kind: string; readonly key: string; readonly value: string | null };

/** A hold as stored; `vmId` is empty for the one on all machines. */
export interface HoldRow {
  readonly vmId: string;
  readonly reason: string;
  readonly sinceMs: number;
  readonly untilMs: number;
}

/** An event as stored, without its number. */
export interface EventRow {
  readonly type: string;
  readonly vmId: string | null;
  readonly vmName: string | null;
  readonly timeMs: number;
  /** JSON. */
  readonly data: string;
}

/** What goes into one transaction together: an event and what it means, or only an effect. */
export interface WriteItem {
  readonly event: EventRow | null;
  readonly effects: readonly RowEffect[];
}

/** How long the write-ahead log is, in pages, and how much of it the database already has. */
export interface WalState {
  readonly frames: number;
  readonly checkpointed: number;
}

/** A call that a thread answers. */
export interface Call {
  request: unknown;
  answer: unknown;
}

/** Calls of the thread that writes. */
export interface WriterCalls {
  open: {
    request: { file: string; maxPages: number | null };
    answer: { serverId: string; lastSeq: number; deletedThrough: number };
  };
  write: {
    /** `afterSeq`: set when an earlier attempt's end is unknown; where the log then stood. */
    request: { items: readonly WriteItem[]; afterSeq: number | null };
    answer: { firstSeq: number; lastSeq: number; wal: WalState };
  };
  retain: {
    request: { cutoffMs: number; maxBytes: number; chunk: number };
    answer: { deletedThrough: number; more: boolean; wal: WalState };
  };
  restartWal: { request: null; answer: WalState };
  /** For tests: at how many pages the disk is full. */
  maxPages: { request: number; answer: null };
  close: { request: null; answer: null };
}

/** An event's row as read: seq, type, vm id, vm name, time, data. */
export type ReadRow = readonly [number, string, string | null, string | null, number, string];

/** Calls of the thread that reads. */
export interface ReaderCalls {
  open: { request: { file: string }; answer: null };
  page: {
    request: { after: number; limit: number; vmId: string | null; types: readonly string[] | null };
    answer: { rows: ReadRow[]; next: number; lastSeq: number; deletedThrough: number };
  };
  machines: {
    request: null;
    answer: {
      machines: { vmId: string; record: string; state: string | null }[];
      conditions: {
        vmId: string;
        condition: string;
        seq: number;
        sinceMs: number;
        verdict: string | null;
      }[];
    };
  };
  holds: { request: null; answer: HoldRow[] };
  value: { request: string; answer: string | null };
  documents: { request: string; answer: { key: string; value: string }[] };
  close: { request: null; answer: null };
}

/** Calls of the thread that copies the write-ahead log into the database. */
export interface CheckpointCalls {
  open: { request: { file: string }; answer: null };
  passive: { request: null; answer: WalState };
  close: { request: null; answer: null };
}

/** Why a thread could not do what it was asked. */
export interface Failure {
  readonly message: string;
  /** SQLite's primary result code. */
  readonly sqliteCode: number | null;
  /** Where the thread itself knows what it means for the operator. */
  readonly code: ErrorCode | null;
}

/** One message to a thread. */
export interface CallMessage {
  readonly call: string;
  readonly request: unknown;
}

/** One message from a thread; they come in the order of the calls. */
export type AnswerMessage = { readonly answer: unknown } | { readonly failure: Failure };
