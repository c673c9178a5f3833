/** Priorities of the processes that the service starts. */
import { readFileSync, writeFileSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';

/**
 * Takes from a process what it inherited of a service that goes before others (Nice= and OOMScoreAdjust= of its unit):
 * a detector that its guests compete with on equal terms is late when it must not be, and a guest that cannot be killed
 * for memory takes the host with it. To be called right after it was started, before it has threads; what it had less
 * than an ordinary process stays. Never throws: a process without it runs as well as it can.
 */
export function makeOrdinary(pid: number): void {
  try {
    if (getPriority(pid) < 0) setPriority(pid, 0);
    const file = `/proc/${pid}/oom_score_adj`;
    if (Number(readFileSync(file, 'utf8')) < 0) writeFileSync(file, '0');
  } catch {
    // It ended already, or belongs to another user.
  }
}
