/**
 * Processes of scripts that left their process group, or that a service which was killed left behind. They are known by
 * their environment, as no pid is after its process ended: where they run, and which server started them (another one
 * may have directories of the same name, in a container). One that emptied its environment is not found.
 */
import { readFile, readdir } from 'node:fs/promises';
import { runDirectoryVariable, serverIdVariable } from './script-environment.ts';

/** Looked so often for processes that were started meanwhile. */
const maxPasses = 5;

/** All processes there are, by their pids. */
export async function allProcesses(): Promise<Set<string>> {
  const names = await readdir('/proc');
  return new Set(names.filter((name) => /^\d+$/u.test(name)));
}

/** Which processes are killed. */
export interface Marks {
  readonly serverId: string;
  /** They run in it: in exactly that, or in all that begin so. */
  readonly directory: string;
  readonly match: 'exactly' | 'beginning';
  /** Those that are known not to be among them; it saves looking at each. */
  readonly except?: ReadonlySet<string>;
}

/**
 * Kills every process with these marks. Only processes that this user may read are found, which are those it may have
 * started. Resolves with how many there were.
 */
export async function killMarked({ serverId, directory, match, except }: Marks): Promise<number> {
  const end = match === 'exactly' ? '\0' : '';
  const marks = [`\0${runDirectoryVariable}=${directory}${end}`, `\0${serverIdVariable}=${serverId}\0`].map(
    (mark) => Buffer.from(mark),
  );
  let all = 0;
  for (let pass = 0; pass < maxPasses; pass += 1) {
    const killed = await killAll(marks, except);
    all += killed;
    if (killed === 0) break;
  }
  return all;
}

async function killAll(marks: readonly Buffer[], except?: ReadonlySet<string>): Promise<number> {
  const nul = Buffer.alloc(1);
  let killed = 0;
  for (const pid of await allProcesses()) {
    if (except?.has(pid) === true || Number(pid) === process.pid) continue;
    const environment = await environmentOf(pid);
    if (environment.length === 0) continue;
    const whole = Buffer.concat([nul, environment, nul]);
    if (!marks.every((mark) => whole.includes(mark))) continue;
    try {
      process.kill(Number(pid), 'SIGKILL');
      killed += 1;
    } catch {
      // It ended meanwhile.
    }
  }
  return killed;
}

const nothing = Buffer.alloc(0);
/** One takes some 50 µs, an exec less than a millisecond where the host is not busy. */
const looksWhileEmpty = 100;

/** Empty of a thread of the kernel, of one that ended, of another user's, and of one that emptied it. */
async function environmentOf(pid: string): Promise<Buffer> {
  // One that executes another program just now has none for a moment.
  for (let look = 0; look < looksWhileEmpty; look += 1) {
    try {
      const environment = await readFile(`/proc/${pid}/environ`);
      if (environment.length > 0) return environment;
    } catch (error) {
      if (['EACCES', 'ENOENT', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) return nothing;
    }
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '');
    const [state = 'X', , , , , , flags] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // PF_KTHREAD: there are many, and they have none.
    if (state === 'Z' || state === 'X' || (Number(flags) & 0x20_0000) !== 0) return nothing;
  }
  return nothing;
}
