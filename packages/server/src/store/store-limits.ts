/** Bounds of the store: value, unit, reason. What happens at a bound is said where it is kept. */

/** Longest JSON of one event's data or one machine's record, bytes: a request's body (1 MiB) fits in either. */
export const maxStoredJsonBytes: number = 2 * 1024 * 1024;
/** JSON waiting for the log while it cannot be written, bytes; the other bound is `maxPendingEvents`. */
export const maxPendingBytes: number = 128 * 1024 * 1024;
/** JSON written in one transaction, bytes: it keeps a commit short. */
export const maxBatchBytes: number = 4 * 1024 * 1024;
/** JSON of one page, bytes; a page ends early there, never before its first event. */
export const maxPageBytes: number = 4 * 1024 * 1024;
/** Rows made into events in one turn of the main thread, a millisecond's work or two: a page comes in several turns. */
export const maxRowsPerTurn = 200;
/** Blocks of 512 events one filtered read looks through; a thread reads that in some milliseconds. */
export const maxBlocksPerRead = 400;
/** Reads waiting for the reader: two for each of 1,000 streams. More are refused with VMPULSE_E_LOG_UNAVAILABLE. */
export const maxWaitingReads: number = 2_000;
/** How long a read may take. */
export const readTimeoutMs: number = 30_000;
/** Newest events kept in memory: live streams are served from them, without the database. */
export const maxTailEvents: number = 4_096;
/** JSON of the newest events kept in memory, bytes. */
export const maxTailBytes: number = 8 * 1024 * 1024;
/** How long a commit may take before the log says that it is not writable. The commit itself goes on. */
export const commitTimeoutMs: number = 10_000;
/** Pause after the first failed write; it doubles up to `maxRetryMs`. */
export const firstRetryMs = 100;
/** Longest pause between attempts at writing: a disk with room again is noticed within it. */
export const maxRetryMs: number = 5_000;
/** How long `close` waits for what is pending. */
export const closeTimeoutMs: number = 10_000;
/** How long a thread may take to start and open the database; a migration is within it. */
export const openTimeoutMs: number = 120_000;
/** How long a thread may take to close the database before it is ended. */
export const threadCloseTimeoutMs: number = 5_000;
/** How long a connection waits for a lock that another program holds on the database, ms. */
export const busyTimeoutMs = 500;
/** Frames (pages) of the write-ahead log not yet in the database at which they are copied: 4 MiB. */
export const checkpointFrames: number = 1_000;
/** Frames of the write-ahead log at which it is begun anew even under load: 16 MiB. */
export const restartFrames: number = 4_000;
/** What the file of the write-ahead log keeps of its size when begun anew, bytes. */
export const maxIdleWalBytes: number = 32 * 1024 * 1024;
/** Without a commit for this long, what is in the write-ahead log is copied: the next start has less to do. */
export const idleCheckpointMs: number = 1_000;
/** How often retention looks. */
export const retentionIntervalMs: number = 60_000;
/** Events written after which retention looks before its time. */
export const retentionEvents: number = 20_000;
/** Events deleted in one transaction: an append that comes meanwhile waits for one such, about a millisecond. */
export const retentionChunk = 256;
/** Pause between two deletions, in which appends go ahead. */
export const retentionPauseMs = 10;
