import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { killMarked } from './script-leftovers.ts';

function lives(pid: number): boolean {
  try {
    return !/\) [ZX]/u.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 10);
  });
}

it('a process that executes another program meanwhile is found', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'vmpulse-left-'));
  const again = join(directory, 'again');
  // It executes itself, over and over: its environment stays what it was.
  await writeFile(again, '#!/bin/sh\nexec "$0"\n');
  await chmod(again, 0o700);
  const env = { VMPULSE_RUN_DIRECTORY: directory, VMPULSE_SERVER_ID: 'me' };
  let left = 0;
  for (let n = 0; n < 20; n += 1) {
    const child = spawn(again, [], { env, detached: true, stdio: 'ignore' });
    await pause();
    await killMarked({ serverId: 'me', directory, match: 'exactly' });
    const pid = child.pid ?? 0;
    // One that was told to is gone soon.
    for (let turn = 0; turn < 1_000 && lives(pid); turn += 1) await pause();
    if (lives(pid)) {
      left += 1;
      process.kill(pid, 'SIGKILL');
    }
  }
  await rm(directory, { recursive: true });
  expect(left).toBe(0);
});
