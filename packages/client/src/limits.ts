/** Every bound of the client: value, unit (in the name), reason. */

/** Deadline of a request, its answer's body included, unless the caller says otherwise. */
export const defaultTimeoutMs: number = 30_000;
/** Largest JSON answer taken, bytes: 10,000 machines are about 30 MB. A larger one ends as E_UNEXPECTED. */
export const maxAnswerBytes: number = 128 * 1024 * 1024;
/** Largest unfinished event of a stream, characters; events are below 64 KiB. Beyond it the stream is opened anew. */
export const maxStreamBufferChars: number = 1024 * 1024;
/** Events that wait for one slow sink. Beyond it the sink reads the log in pages, from its own cursor. */
export const maxQueuedEvents = 256;
/** Events asked for in one page. */
export const eventPageSize = 256;
/** Without a byte for this long a stream counts as dead: the server sends a comment each 15 s. */
export const streamIdleTimeoutMs: number = 45_000;
/** First delay before a stream is opened again; it doubles with each failure in a row. */
export const minReconnectDelayMs = 250;
/** Longest delay between two attempts. */
export const maxReconnectDelayMs: number = 10_000;
/** How long a task is waited for unless the caller says otherwise: saving a large machine takes minutes. */
export const defaultTaskTimeoutMs: number = 600_000;
/** First and longest pause between two looks at a task. */
export const taskPollMs: { readonly first: number; readonly longest: number } = { first: 40, longest: 1_000 };
/** How long the last acknowledgement of a sink that leaves may take; what is not acknowledged comes again. */
export const lastAckTimeoutMs: number = 5_000;
/** The part of an answer that is no JSON which an error message quotes, characters. */
export const maxQuotedChars = 200;
/** Newest events asked for at once; they are all held in memory before the first is told. */
export const maxNewestEvents: number = 10_000;
/** How much longer than a program's own deadline its answer is waited for. */
export const guestAnswerSlackMs: number = 15_000;
