/** Events and what else goes over a stream, as server-sent events (WHATWG HTML, section 9.2). */
import { type VmEvent, eventTypeOf } from '@vmpulse/wire';
import { maxCachedFrameBytes, maxCachedFrames, streamRetryMs } from '../limits.ts';

function makeFrame(event: VmEvent): Buffer {
  return Buffer.from(`id: ${event.seq}\nevent: ${eventTypeOf(event)}\ndata: ${JSON.stringify(event)}\n\n`);
}

/**
 * What a stream begins with: the log's newest seq, and the cursor, as comment for people and as `id` without data. A
 * browser dispatches nothing for that but keeps the id, so that it resumes without a gap even before the first event.
 */
export function openingFrame(lastSeq: number, cursor: number): Buffer {
  return Buffer.from(
    `: vmpulse seq ${lastSeq}\nretry: ${streamRetryMs}\n: cursor ${cursor}\nid: ${cursor}\n\n`,
  );
}

/** Tells that the stream lives, and how far it has looked, which its filter may hide. */
export function heartbeatFrame(cursor: number): Buffer {
  return Buffer.from(`: cursor ${cursor}\nid: ${cursor}\n\n`);
}

/** A remark for people. */
export function commentFrame(text: string): Buffer {
  return Buffer.from(`: ${text}\n\n`);
}

/**
 * Frames of the newest events of one log, made once for all streams. A ring by seq: an event never changes under its
 * number, and what an old event of a catching-up stream displaces is made again.
 */
export class FrameCache {
  readonly #seqs = new Float64Array(maxCachedFrames);
  readonly #frames: (Buffer | undefined)[] = Array.from({ length: maxCachedFrames });

  frame(event: VmEvent): Buffer {
    const index = event.seq % maxCachedFrames;
    const cached = this.#seqs[index] === event.seq ? this.#frames[index] : undefined;
    if (cached !== undefined) return cached;
    const frame = makeFrame(event);
    if (frame.length <= maxCachedFrameBytes) {
      this.#seqs[index] = event.seq;
      this.#frames[index] = frame;
    }
    return frame;
  }
}
