/**
 * Whether the host froze a process by its control group (`systemctl freeze`, `docker pause`, a laptop's suspend).
 *
 * The process's state in /proc does not tell: a task frozen by cgroup v2 shows S, as one that merely sleeps (it sits
 * in the signal code in an interruptible sleep; kernel/cgroup/freezer.c), one frozen by the v1 freezer shows D, as
 * one that waits for a disk. Both were seen on Linux 6.18. So the group is asked: in v2 its `cgroup.events` say
 * `frozen 1` as soon as all its tasks are, also where an ancestor was frozen; in v1 its `freezer.state` says FROZEN or,
 * on the way there, FREEZING, which also follow its ancestors. Source: the kernel's admin-guide cgroup-v2.rst and
 * cgroup-v1/freezer-subsystem.rst.
 */
import { readFileSync } from 'node:fs';
import type { Clock } from '../../clock.ts';
import { cgroupCheckMs } from '../../limits.ts';
import { readNow } from './proc.ts';

/** A mounted hierarchy: what of it is mounted (`root`), and where (`at`). */
export interface CgroupMount {
  readonly version: 1 | 2;
  readonly root: string;
  readonly at: string;
}

/** The files that tell of a process's groups; null where it has none that could be frozen. */
export interface FreezerFiles {
  readonly v1: string | null;
  readonly v2: string | null;
}

/** Hierarchies that freeze, of /proc/self/mountinfo (proc(5)). */
export function cgroupMounts(mountinfo: string): CgroupMount[] {
  return mountinfo.split('\n').flatMap((line) => {
    const [mount, source] = line.split(' - ');
    const [, , , root, at] = (mount ?? '').split(' ');
    const [type, , options] = (source ?? '').split(' ');
    if (root === undefined || at === undefined) return [];
    const freezes = type === 'cgroup' && (options ?? '').split(',').includes('freezer');
    if (type !== 'cgroup2' && !freezes) return [];
    return [{ version: type === 'cgroup2' ? 2 : 1, root: unescape(root), at: unescape(at) }];
  });
}

/** Where the state of the groups in a /proc/PID/cgroup is to be read. The root group can not be frozen. */
export function freezerFiles(cgroup: string, mounts: readonly CgroupMount[]): FreezerFiles {
  let v1: string | null = null;
  let v2: string | null = null;
  for (const line of cgroup.split('\n')) {
    const [, id, controllers, path] = /^(\d+):([^:]*):(\/.+)$/.exec(line) ?? [];
    if (path === undefined) continue;
    if (id === '0' && controllers === '') v2 = fileOf(2, path, 'cgroup.events', mounts);
    else if (controllers?.split(',').includes('freezer')) v1 = fileOf(1, path, 'freezer.state', mounts);
  }
  return { v1, v2 };
}

function fileOf(version: 1 | 2, path: string, file: string, mounts: readonly CgroupMount[]): string | null {
  for (const { version: of, root, at } of mounts) {
    if (of !== version) continue;
    const base = root === '/' ? '' : root;
    if (path === base || path.startsWith(`${base}/`)) return `${at}${path.slice(base.length)}/${file}`;
  }
  return null;
}

/** Octal escapes of mountinfo: a space is `\040`. */
function unescape(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_all, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

let mounts: readonly CgroupMount[] | undefined;

/** Of one process. */
export class Freezer {
  readonly #clock: Clock;
  readonly #pid: number;
  #files: FreezerFiles = { v1: null, v2: null };
  #lookedUpMs = -Infinity;

  constructor(clock: Clock, pid: number) {
    this.#clock = clock;
    this.#pid = pid;
  }

  /** Is it frozen now? Synchronously: one or two small files of the kernel's, which no frozen process holds up. */
  frozen(): boolean {
    const nowMs = this.#clock.monotonicMs();
    // A process is moved between groups seldom, and its file costs as much as the answer.
    if (nowMs - this.#lookedUpMs >= cgroupCheckMs) {
      this.#lookedUpMs = nowMs;
      mounts ??= cgroupMounts(read('/proc/self/mountinfo'));
      this.#files = freezerFiles(read(`/proc/${this.#pid}/cgroup`), mounts);
    }
    const { v1, v2 } = this.#files;
    if (v2 !== null && /^frozen 1$/m.test(readNow(v2) ?? '')) return true;
    return v1 !== null && /^(?:FROZEN|FREEZING)$/m.test(readNow(v1) ?? '');
  }
}

/** Empty when it is not there (any more). */
function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
