/**
 * Dumps of a guest's memory (QMP dump-guest-memory), written through a FIFO. QEMU has no command that cancels a dump,
 * and holds the guest until it ends; but one whose reader is gone ends at its next write. So a deadline, a bound in
 * bytes and even the end of this service (its reader ends with it) let the guest go. Source: QEMU's dump.c.
 *
 * Format: kdump with zlib where QEMU offers it for this machine, it leaves out what is zero and packs the rest. What
 * goes through a FIFO is its flattened form: crash reads it as it is, `makedumpfile -R` makes a plain one of it. Else
 * ELF, which gdb and crash read, as large as the memory. Bounds are of bytes written, whichever it is.
 */
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { VmError } from '@vmpulse/wire';
import type { Clock } from '../../clock.ts';
import { memoryDumpPollMs, memoryDumpReleaseTimeoutMs } from '../../limits.ts';
import type { QmpLink } from './qmp-link.ts';
import { asObject } from './qmp.ts';

const fifoName = 'memory-dump.fifo';
const run = promisify(execFile);

type Format = 'elf' | 'kdump-zlib';

/** One dump, which `cancel` ends. */
export class MemoryDump {
  readonly #link: QmpLink;
  readonly #clock: Clock;
  readonly #cancelled = new AbortController();
  /** Whose doing a STOP or RESUME is: QEMU stops the guest before it answers the command, and tells both. */
  #holds: 'notYet' | 'asked' | 'held' | 'over' = 'notYet';

  constructor(link: QmpLink, clock: Clock) {
    this.#link = link;
    this.#clock = clock;
  }

  /** It holds a guest that ran, until that is told to run again. */
  get held(): boolean {
    return this.#holds === 'held';
  }

  /** Is this stop or resumption of the guest the dump's own doing? To be called once for each. */
  causes(kind: 'stopped' | 'resumed'): boolean {
    if (kind === 'stopped' && this.#holds === 'asked') this.#holds = 'held';
    else if (kind === 'resumed' && this.#holds === 'held') this.#holds = 'over';
    else return false;
    return true;
  }

  /** Ends it; `write` then rejects once QEMU has let the guest go. */
  cancel(): void {
    this.#cancelled.abort();
  }

  /**
   * Writes the guest's memory to `stem`.kdump or `stem`.elf, complete or not at all, of mode 0600. Resolves
   * or rejects when QEMU is through with it. Errors: E_ABORT, VM_E_OUT_OF_RESOURCE (more than `maxBytes`),
   * VMPULSE_E_HYPERVISOR.
   */
  async write(directory: string, stem: string, maxBytes: number, signal: AbortSignal): Promise<void> {
    const fifo = join(directory, fifoName);
    const partial = `${stem}.partial`;
    const ends = AbortSignal.any([signal, this.#cancelled.signal]);
    await rm(partial, { force: true });
    await releaseMemoryDump(directory);
    const format = await this.#format();
    await run('mkfifo', ['-m', '600', fifo]);
    try {
      // The reader first, or QEMU waits in open() for one, and nothing of it goes on.
      const reader = await openReader(fifo);
      try {
        if (ends.aborted) throw aborted();
        await this.#begin(fifo, format);
        await keepStream(reader, partial, maxBytes, ends);
      } finally {
        reader.destroy();
      }
      const status = await this.#ended();
      if (status !== 'completed') throw failed(status);
      await rename(partial, `${stem}.${format === 'elf' ? 'elf' : 'kdump'}`);
    } catch (error) {
      await this.#ended().catch(() => undefined);
      throw error;
    } finally {
      await rm(partial, { force: true });
      await rm(fifo, { force: true });
    }
  }

  async #begin(fifo: string, format: Format): Promise<void> {
    this.#holds = 'asked';
    try {
      const protocol = `file:${fifo}`;
      await this.#link.execute('dump-guest-memory', { paging: false, protocol, detach: true, format });
    } finally {
      // One that did not run then was stopped by somebody else.
      if (this.#holds === 'asked') this.#holds = 'notYet';
    }
  }

  async #format(): Promise<Format> {
    const answer = asObject(await this.#link.execute('query-dump-guest-memory-capability'));
    const formats = answer?.['formats'];
    return Array.isArray(formats) && formats.includes('kdump-zlib') ? 'kdump-zlib' : 'elf';
  }

  /** Resolves when QEMU dumps no more and, where it held the guest for it, the guest runs again. */
  async #ended(): Promise<string> {
    const deadlineMs = this.#clock.monotonicMs() + memoryDumpReleaseTimeoutMs;
    while (this.#clock.monotonicMs() < deadlineMs) {
      const answer = asObject(await this.#link.execute('query-dump'));
      const status = typeof answer?.['status'] === 'string' ? answer['status'] : 'none';
      // It lets the guest run after it has told the end.
      if (status !== 'active' && (await this.#link.runState()) !== 'saving') return status;
      await this.#clock.sleep(memoryDumpPollMs);
    }
    throw new VmError('VM_E_TIMED_OUT', 'QEMU does not end its dump of the guest; turn the machine off.');
  }
}

/** Lets a QEMU go on that dumps for a service that is gone: who waits in open() gets a reader that ends at once. */
export async function releaseMemoryDump(directory: string): Promise<void> {
  const fifo = join(directory, fifoName);
  try {
    await (await open(fifo, constants.O_RDONLY | constants.O_NONBLOCK)).close();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
  }
  await rm(fifo, { force: true });
}

async function openReader(fifo: string): Promise<Socket> {
  const handle = await open(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  const reader = new Socket({ fd: handle.fd, readable: true, writable: false });
  // The socket has the descriptor from here on, and closes it.
  reader.once('close', () => void handle.close().catch(() => undefined));
  reader.on('error', () => undefined);
  return reader;
}

const blockBytes = 64 * 1024;
const zeros = Buffer.alloc(blockBytes);

/** Much of a guest's memory is zero: such blocks are holes in the file. */
async function keepStream(
  reader: Socket,
  file: string,
  maxBytes: number,
  signal: AbortSignal,
): Promise<void> {
  const stop = (): void => void reader.destroy(aborted());
  if (signal.aborted) throw aborted();
  signal.addEventListener('abort', stop);
  const kept = await open(file, 'wx', 0o600);
  let bytes = 0;
  try {
    for await (const chunk of reader as AsyncIterable<Buffer>) {
      if (bytes + chunk.length > maxBytes) {
        throw new VmError('VM_E_OUT_OF_RESOURCE', `the dump is larger than ${maxBytes} bytes`);
      }
      for (let at = 0; at < chunk.length; at += blockBytes) {
        const block = chunk.subarray(at, at + blockBytes);
        if (!block.equals(zeros.subarray(0, block.length))) await writeAt(kept, block, bytes + at);
      }
      bytes += chunk.length;
    }
    if (signal.aborted) throw aborted();
    await kept.truncate(bytes);
    await kept.sync();
  } finally {
    signal.removeEventListener('abort', stop);
    await kept.close();
  }
}

async function writeAt(file: Awaited<ReturnType<typeof open>>, block: Buffer, at: number): Promise<void> {
  for (let done = 0; done < block.length;) {
    const { bytesWritten } = await file.write(block, done, block.length - done, at + done);
    done += bytesWritten;
  }
}

function aborted(): VmError {
  return new VmError('E_ABORT', 'The dump was cancelled; the guest goes on.');
}

function failed(status: string): VmError {
  return new VmError('VMPULSE_E_HYPERVISOR', `QEMU could not dump the guest's memory (${status}).`);
}
