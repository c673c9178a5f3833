/** A machine's serial log: what of it is of the present boot. */
import { statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { maxSerialTailBytes } from '../../limits.ts';
import { trimLog } from './log-trim.ts';

/** The file QEMU appends to. */
export class SerialLog {
  readonly #path: string;
  /** Where the present boot's text begins; 0 when that is not known. */
  #bootAt = 0;
  #trimming: Promise<number> = Promise.resolve(0);

  constructor(path: string) {
    this.#path = path;
  }

  /** The guest begins anew: what the log holds by now is of an earlier boot. Synchronously, 5 microseconds. */
  booted(): void {
    try {
      this.#bootAt = statSync(this.#path).size;
    } catch {
      this.#bootAt = 0;
    }
  }

  /** As trimLog; what is left of the present boot is still known for it. */
  trim(maxBytes: number, keptBytes: number): Promise<number> {
    this.#trimming = trimLog(this.#path, maxBytes, keptBytes).then((removed) => {
      this.#bootAt = Math.max(0, this.#bootAt - removed);
      return removed;
    });
    return this.#trimming;
  }

  /** The last of what the guest wrote since it booted, at most `maxSerialTailBytes`; empty when there is nothing. */
  async tail(): Promise<string> {
    for (;;) {
      const trimming = this.#trimming;
      await trimming.catch(() => 0);
      const text = await this.#read();
      // Cut while it was read: what was read may be anything.
      if (trimming === this.#trimming) return text;
    }
  }

  async #read(): Promise<string> {
    const file = await open(this.#path, 'r').catch(() => null);
    if (file === null) return '';
    try {
      const { size } = await file.stat();
      // A log shorter than that was replaced: all of it is new.
      const bootAt = this.#bootAt > size ? 0 : this.#bootAt;
      const length = Math.min(size - bootAt, maxSerialTailBytes);
      if (length === 0) return '';
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
      return buffer.toString('latin1', 0, bytesRead);
    } finally {
      await file.close();
    }
  }
}
