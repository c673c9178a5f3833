/** How the host itself is, in a sentence for people: load and pressure. Linux: proc_loadavg(5), PSI. */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

function read(path: string): string | null {
  try {
    return readFileSync(path, 'ascii');
  } catch {
    return null;
  }
}

/** `load 8.2 on 2 processors, waiting for cpu 40.1 %, memory 0.0 %, io 2.5 % of the last 10 s`. */
export function describeHost(
  readText: (path: string) => string | null = read,
  processors: number = availableParallelism(),
): string {
  const load = readText('/proc/loadavg')?.split(' ')[0];
  const parts = [`load ${load ?? 'not known'} on ${processors} processors`];
  const waits = (['cpu', 'memory', 'io'] as const).flatMap((kind) => {
    const share = /^some avg10=(\d+\.\d+)/u.exec(readText(`/proc/pressure/${kind}`) ?? '')?.[1];
    return share === undefined ? [] : [`${kind} ${share} %`];
  });
  if (waits.length > 0) parts.push(`waiting for ${waits.join(', ')} of the last 10 s`);
  return parts.join(', ');
}

/** Why the host is not well: its load of one minute is above `most` for each processor. null when it is well. */
export function loadTrouble(
  most: number,
  readText: (path: string) => string | null = read,
  processors: number = availableParallelism(),
): string | null {
  const load = Number(readText('/proc/loadavg')?.split(' ')[0] ?? 0);
  return load > most * processors ? describeHost(readText, processors) : null;
}
