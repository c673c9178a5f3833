/** One open event stream, byte by byte: bounded, and dead when it is silent for too long. */
import { VmError, type VmEvent } from '@vmpulse/wire';
import { createParser } from 'eventsource-parser';
import { readEvent } from './answer.ts';
import { maxStreamBufferChars } from './limits.ts';

/** One message of a stream. */
export interface StreamMessage {
  /** Undefined where it has no name. */
  readonly event: string | undefined;
  readonly data: unknown;
}

/** How to read a stream. */
interface StreamOptions {
  /** No byte for this long ends it with VM_E_TIMED_OUT. */
  readonly idleTimeoutMs: number;
  /** Ends the reading without error. */
  readonly signal: AbortSignal;
}

/** How to read a stream of events. */
export interface EventStreamOptions extends StreamOptions {
  /** Called with each event, in the order they came. What it throws ends the reading. */
  readonly onEvent: (event: VmEvent) => void;
}

/** How to read a stream of messages. */
export interface MessageStreamOptions extends StreamOptions {
  /** Called with each message, in the order they came. What it throws ends the reading. */
  readonly onMessage: (message: StreamMessage) => void;
}

/**
 * Reads until the stream ends (resolves) or is unusable (rejects): VM_E_TIMED_OUT when idle, E_UNEXPECTED for what is
 * no event or an event that has no end, VMPULSE_E_UNREACHABLE when the connection broke.
 */
export function readEventStream(
  stream: ReadableStream<Uint8Array>,
  { onEvent, ...options }: EventStreamOptions,
): Promise<void> {
  return readMessages(stream, { ...options, onMessage: ({ data }) => onEvent(readEvent(data)) });
}

/** Reads messages that are not all events, to the same ends as readEventStream. */
export async function readMessages(
  stream: ReadableStream<Uint8Array>,
  { idleTimeoutMs, signal, onMessage }: MessageStreamOptions,
): Promise<void> {
  const reader = stream.getReader();
  let idle = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const cancel = (): void => {
    // What cancelling a broken stream throws is of no use to anyone.
    reader.cancel().catch(() => undefined);
  };
  const watch = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      idle = true;
      cancel();
    }, idleTimeoutMs);
  };
  signal.addEventListener('abort', cancel, { once: true });
  const feed = messageParser(onMessage);
  try {
    watch();
    for (;;) {
      if (signal.aborted) return;
      const { done, value } = await reader.read();
      if (idle)
        throw new VmError('VM_E_TIMED_OUT', `The event stream was silent for ${idleTimeoutMs / 1000} s.`);
      if (done || signal.aborted) return;
      watch();
      feed(value);
    }
  } catch (thrown) {
    if (signal.aborted) return;
    if (thrown instanceof VmError) throw thrown;
    throw new VmError('VMPULSE_E_UNREACHABLE', 'The event stream broke off.', { cause: thrown });
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', cancel);
    cancel();
  }
}

function messageParser(onMessage: (message: StreamMessage) => void): (bytes: Uint8Array) => void {
  const decoder = new TextDecoder();
  let overflow = false;
  const parser = createParser({
    maxBufferSize: maxStreamBufferChars,
    onEvent: ({ event, data }) => onMessage({ event, data: parseData(data) }),
    onError: (error) => {
      overflow ||= error.type === 'max-buffer-size-exceeded';
    },
  });
  return (bytes) => {
    parser.feed(decoder.decode(bytes, { stream: true }));
    if (overflow)
      throw new VmError(
        'E_UNEXPECTED',
        `An event of the stream has no end after ${maxStreamBufferChars} characters.`,
      );
  };
}

function parseData(data: string): unknown {
  try {
    return JSON.parse(data) as unknown;
  } catch (error) {
    throw new VmError('E_UNEXPECTED', 'The event stream carried something that is no event.', {
      cause: error,
    });
  }
}
