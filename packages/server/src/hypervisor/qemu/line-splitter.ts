/** Cuts a stream of bytes into lines. Works on bytes, so that a character split across chunks stays whole. */

const newline = 0x0a;

/** Collects chunks until a line is complete; longer lines than `maxBytes` are refused. */
export class LineSplitter {
  readonly #maxBytes: number;
  #parts: Buffer[] = [];
  #pendingBytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Lines that `chunk` completes, without their ends; null when a line exceeds the bound. */
  push(chunk: Buffer): string[] | null {
    const lines: string[] = [];
    let start = 0;
    for (let end = chunk.indexOf(newline); end !== -1; end = chunk.indexOf(newline, start)) {
      if (!this.#keep(chunk.subarray(start, end))) return null;
      lines.push(Buffer.concat(this.#parts).toString('utf8'));
      this.#parts = [];
      this.#pendingBytes = 0;
      start = end + 1;
    }
    return this.#keep(chunk.subarray(start)) ? lines : null;
  }

  #keep(part: Buffer): boolean {
    this.#pendingBytes += part.length;
    if (this.#pendingBytes > this.#maxBytes) return false;
    if (part.length > 0) this.#parts.push(part);
    return true;
  }
}
