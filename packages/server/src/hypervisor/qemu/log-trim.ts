/** Keeps files bounded that QEMU appends to without end: the serial log and its stderr. */
import { open } from 'node:fs/promises';
import type { Clock, Timer } from '../../clock.ts';
import { logCheckMs } from '../../limits.ts';

/**
 * Cuts the file's head off once it is larger than `maxBytes`, keeping the last `keptBytes` from the start of a line.
 * The writer appends (O_APPEND), so it goes on at the new end; what it writes in the instant of the cut may be lost.
 * Returns the bytes removed.
 */
export async function trimLog(path: string, maxBytes: number, keptBytes: number): Promise<number> {
  const file = await open(path, 'r+').catch(() => null);
  if (file === null) return 0;
  try {
    const { size } = await file.stat();
    if (size <= maxBytes) return 0;
    const { buffer, bytesRead } = await file.read(Buffer.alloc(keptBytes), 0, keptBytes, size - keptBytes);
    const tail = fromLineStart(buffer.subarray(0, bytesRead));
    await file.truncate(0);
    const appending = await open(path, 'a');
    try {
      await appending.appendFile(tail);
    } finally {
      await appending.close();
    }
    return size - tail.length;
  } finally {
    await file.close();
  }
}

/** Something that cuts its file where it has grown too large. May reject; the next check tries again. */
export type LogTrim = () => Promise<unknown>;

/** Looks at the files every `logCheckMs` until cancelled. */
export function keepLogsTrimmed(clock: Clock, logs: readonly LogTrim[]): Timer {
  let cancelled = false;
  let timer: Timer;
  const check = async (): Promise<void> => {
    // A full or failing disk: nothing to be done here, and the next check tries again.
    for (const trim of logs) await trim().catch(() => 0);
    if (!cancelled) schedule(logCheckMs);
  };
  const schedule = (delayMs: number): void => {
    timer = clock.setTimer(() => void check(), delayMs);
  };
  // Machines that were adopted together are not all looked at in the same instant.
  schedule(logCheckMs * Math.random());
  return {
    cancel: () => {
      cancelled = true;
      timer.cancel();
    },
  };
}

function fromLineStart(bytes: Buffer): Buffer {
  const newline = bytes.indexOf(0x0a);
  return newline === -1 ? bytes : bytes.subarray(newline + 1);
}
