/** What a service that was killed left behind: processes of its scripts, and their directories. */
import { readFile, readdir, rm } from 'node:fs/promises';
import { runDirectoryVariable } from './script-environment.ts';

/**
 * Kills every process whose environment says that it runs below `directory`, and removes what is in it. Only processes
 * that this user may read are found, which are those it may have started. Resolves with how many there were.
 */
export async function clearLeftovers(directory: string): Promise<number> {
  let killed = 0;
  const mark = Buffer.from(`\0${runDirectoryVariable}=${directory}/`);
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/u.test(pid) || Number(pid) === process.pid) continue;
    const environment = await readFile(`/proc/${pid}/environ`).catch(() => undefined);
    if (environment === undefined || !Buffer.concat([Buffer.alloc(1), environment]).includes(mark)) continue;
    try {
      process.kill(Number(pid), 'SIGKILL');
      killed += 1;
    } catch {
      // It ended meanwhile.
    }
  }
  await rm(directory, { recursive: true, force: true });
  return killed;
}
