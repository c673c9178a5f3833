/** Lines of a guest agent's answers: JSON ended by a newline, with 0xFF before the answer to a delimited sync. */

const newline = 0x0a;
/** Never part of UTF-8, so it always means: forget what came before. */
const delimiter = 0xff;

/** Receives lines. */
export interface FrameHandler {
  /** How long the line that is coming in may be, bytes. */
  bound(): number;
  /** A line, and whether the delimiter stood before it. */
  line(text: string, delimited: boolean): void;
  /** A line was longer than its bound; what is left of it is skipped. */
  tooLong(): void;
}

/** Puts lines together from what is read, keeping at most what the bound allows. */
export class AgentFrames {
  readonly #handler: FrameHandler;
  #parts: Buffer[] = [];
  #keptBytes = 0;
  #delimited = false;
  #skipping = false;

  constructor(handler: FrameHandler) {
    this.#handler = handler;
  }

  /** Drops the unfinished line. */
  reset(): void {
    this.#parts = [];
    this.#keptBytes = 0;
    this.#delimited = false;
    this.#skipping = false;
  }

  /** Takes the first `length` bytes, which may be overwritten once the call returns. */
  feed(bytes: Uint8Array, length: number): void {
    const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, length);
    let at = 0;
    while (at < length) {
      const found = chunk.indexOf(newline, at);
      const end = found < 0 ? length : found;
      this.#take(chunk.subarray(at, end), found >= 0);
      at = end + 1;
    }
  }

  #take(whole: Buffer, ended: boolean): void {
    const mark = whole.lastIndexOf(delimiter);
    if (mark >= 0) {
      this.reset();
      this.#delimited = true;
    }
    const part = whole.subarray(mark + 1);
    if (!this.#skipping && this.#keptBytes + part.length > this.#handler.bound()) {
      this.reset();
      this.#skipping = true;
      this.#handler.tooLong();
    }
    if (!ended) {
      if (this.#skipping) return;
      this.#parts.push(Buffer.from(part));
      this.#keptBytes += part.length;
      return;
    }
    const text = this.#skipping ? null : Buffer.concat([...this.#parts, part]).toString('utf8');
    const delimited = this.#delimited;
    this.reset();
    if (text !== null) this.#handler.line(text, delimited);
  }
}
