import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeOrdinary } from './process-priority.ts';

let child: ChildProcess;
let pid: number;
const memory = (): number => Number(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8'));

function mayProtect(): boolean {
  const own = '/proc/self/oom_score_adj';
  const before = readFileSync(own, 'utf8');
  try {
    writeFileSync(own, String(Number(before) - 1));
    writeFileSync(own, before);
    return true;
  } catch {
    return false;
  }
}

beforeEach(async () => {
  child = spawn('sleep', ['60']);
  await once(child, 'spawn');
  pid = child.pid ?? 0;
});
afterEach(() => child.kill('SIGKILL'));

describe('a process of a service that goes before others', () => {
  // Only who has the right may put a process before others (in a container root may have less of it).
  it.skipIf(process.getuid?.() !== 0)('does not go before others', () => {
    setPriority(pid, -10);
    makeOrdinary(pid);
    expect(getPriority(pid)).toBe(0);
  });

  it.skipIf(!mayProtect())('is not kept from being killed for memory', () => {
    writeFileSync(`/proc/${pid}/oom_score_adj`, '-900');
    makeOrdinary(pid);
    expect(memory()).toBe(0);
  });

  it('keeps what it has less than that', () => {
    setPriority(pid, 5);
    writeFileSync(`/proc/${pid}/oom_score_adj`, '300');
    makeOrdinary(pid);
    expect([getPriority(pid), memory()]).toEqual([5, 300]);
  });

  it('that has ended is nobody', async () => {
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(() => makeOrdinary(pid)).not.toThrow();
  });
});
