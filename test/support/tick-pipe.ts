/** The host's end of a ticker's port, a named pipe here. */
import { execFileSync } from 'node:child_process';
import { constants, openSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';

/** What takes longer has failed, ms. */
export const deadlineMs = 120_000;

/** A tick as it arrived; times in milliseconds, `atMs` on this process's clock. */
export interface Tick {
  readonly seq: number;
  readonly uptimeMs: number;
  readonly atMs: number;
}

/** The lines that arrived, and a way to await one. */
export class TickPipe {
  readonly path: string;
  readonly lines: { readonly text: string; readonly atMs: number }[] = [];
  readonly #wakers = new Set<() => void>();
  #socket: Socket | undefined;
  #fd = -1;
  #partial = '';

  constructor(directory: string) {
    this.path = join(directory, 'port');
    execFileSync('mkfifo', [this.path]);
  }

  /** Connects the host's side. It is opened for writing too, so that it outlives every ticker. */
  connect(): void {
    this.#fd = openSync(this.path, constants.O_RDWR | constants.O_NONBLOCK);
    this.#socket = new Socket({ fd: this.#fd, readable: true, writable: false });
    this.#socket.setEncoding('latin1');
    this.#socket.on('data', (text: string) => {
      const parts = (this.#partial + text).split('\n');
      this.#partial = parts.pop() ?? '';
      for (const part of parts) this.lines.push({ text: part, atMs: performance.now() });
      for (const wake of this.#wakers) wake();
    });
  }

  /** Stops reading and fills the pipe: the next write of the ticker blocks. */
  async clog(): Promise<void> {
    this.#socket?.pause();
    const filler = Buffer.alloc(4096, '\n');
    // A paused stream still takes a pipeful into its own buffer, so once is not enough.
    for (let round = 0; round < 4; round += 1) {
      try {
        for (;;) writeSync(this.#fd, filler);
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error;
      }
      await elapse(10);
    }
  }

  unclog(): void {
    this.#socket?.resume();
  }

  close(): void {
    this.#socket?.destroy();
  }

  ticks(): Tick[] {
    return this.lines.flatMap(({ text, atMs }) => {
      const match = /^tick (\d+) (\d+)$/.exec(text);
      return match ? [{ seq: Number(match[1]), uptimeMs: Number(match[2]), atMs }] : [];
    });
  }

  /** Resolves when `holds` does; rejects at the deadline with what has arrived. */
  async until(holds: () => boolean): Promise<void> {
    if (holds()) return;
    await new Promise<void>((resolve, reject) => {
      const check = (): void => {
        if (!holds()) return;
        clearTimeout(timer);
        this.#wakers.delete(check);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#wakers.delete(check);
        reject(new Error(`not within ${deadlineMs} ms; arrived: ${JSON.stringify(this.lines)}`));
      }, deadlineMs);
      this.#wakers.add(check);
    });
  }
}

/** Lets time pass where its passing is what is tested. */
export function elapse(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
