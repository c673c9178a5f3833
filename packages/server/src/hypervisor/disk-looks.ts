/**
 * Looks at the space of the host's file systems, each once however many files lie on it. A network file system may
 * hang for good, and a look that hangs keeps a thread of libuv's pool, so:
 *  1. looks are made one after the other, each with a deadline; one that is late goes on beside the others;
 *  2. where a look hangs none is begun: not at its file's folder, its device, nor its mount if that is a network's;
 *  3. at most `maxHungLooks` may hang anywhere (one more on the host's own disks); until one returns no other begins.
 */
import { readFileSync } from 'node:fs';
import { stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Clock, withDeadline } from '../clock.ts';
import { diskLookTimeoutMs, diskPlaceMs, maxHungLooks } from '../limits.ts';

/** What a look needs of the host. */
export interface DiskSystem {
  /** Of what a symbolic link leads to. Rejects as fs.stat does. `holdsData`: a regular file or a folder. */
  place(path: string): Promise<{ readonly device: string; readonly holdsData: boolean }>;
  /** Rejects as fs.statfs does. `totalBytes` 0: it has no space of its own. */
  space(path: string): Promise<{ readonly freeBytes: number; readonly totalBytes: number }>;
  /** Text of /proc/self/mountinfo, proc_pid_mountinfo(5); reading it never hangs. */
  mounts(): string;
}

/** What was seen of a file system, or of a place that could not be looked at. */
export interface FileSystemLook {
  /** The same for the same file system while it is mounted. */
  readonly key: string;
  /** Where it is mounted; of a place that was never seen, its folder. */
  readonly path: string;
  /** Free for who is not root; null where that is not known. */
  readonly freeBytes: number | null;
  /** Why it is not known. */
  readonly trouble: string;
  /** Of those asked for. */
  readonly files: readonly string[];
}

/** The host itself. */
const hostSystem: DiskSystem = {
  async place(path) {
    const found = await stat(path, { bigint: true });
    // Numbered as mountinfo does: gnu_dev_major(3), gnu_dev_minor(3).
    const major = ((found.dev >> 8n) & 0xfffn) | ((found.dev >> 32n) & ~0xfffn);
    const minor = (found.dev & 0xffn) | ((found.dev >> 12n) & ~0xffn);
    return { device: `${major}:${minor}`, holdsData: found.isFile() || found.isDirectory() };
  },
  async space(path) {
    const { bavail, bsize, blocks } = await statfs(path);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  },
  mounts: () => readFileSync('/proc/self/mountinfo', 'utf8'),
};

interface Mount {
  readonly path: string;
  readonly device: string;
  readonly isNetwork: boolean;
}

interface Place {
  readonly device: string;
  readonly holdsData: boolean;
  readonly atMs: number;
}

interface Gathered {
  readonly mount: Mount;
  readonly files: string[];
  readonly trouble: string;
}

/** Kinds of file systems that another machine or a process answers for. */
const networkKinds = /^(?:nfs|cifs|smb|9p|ceph|gluster|fuse|afs|ocfs|gfs|lustre|beegfs|virtiofs)/u;
const hangs = 'it does not answer';

/** Looks at file systems; never two rounds at once. */
export class DiskLooks {
  readonly #clock: Clock;
  readonly #system: DiskSystem;
  #places = new Map<string, Place>();
  /** What hangs: the keys at which no look begins. */
  readonly #hung = new Set<readonly string[]>();

  constructor(clock: Clock, system: DiskSystem = hostSystem) {
    this.#clock = clock;
    this.#system = system;
  }

  /**
   * Looks at what `paths` lie on. Those that are not there are in `missing`; files that take no space of a file system
   * (block devices) and file systems without a size are left out. Never rejects.
   */
  async look(
    paths: readonly string[],
  ): Promise<{ readonly seen: readonly FileSystemLook[]; readonly missing: ReadonlySet<string> }> {
    const mounts = this.#mounts();
    const kept = new Set(paths);
    for (const path of this.#places.keys()) if (!kept.has(path)) this.#places.delete(path);
    const groups = new Map<string, Gathered>();
    const missing = new Set<string>();
    for (const path of kept) {
      const textual = mountOf(mounts, path);
      const { place, trouble } = await this.#placeOf(path, textual);
      if (place === undefined && trouble === '') missing.add(path);
      if (place?.holdsData === false || (place === undefined && trouble === '')) continue;
      const mount = place === undefined ? unknownPlace(path, textual) : mountOf(mounts, path, place.device);
      const key = place?.device ?? `unknown ${mount.path}`;
      // A place that was known stays known; whether its space can be had is asked below.
      const group = groups.get(key) ?? { mount, files: [], trouble: place === undefined ? trouble : '' };
      groups.set(key, group);
      group.files.push(path);
    }
    const seen: FileSystemLook[] = [];
    for (const [key, group] of groups) {
      const look = await this.#lookAt(key, group);
      if (look === 'gone') for (const file of group.files) missing.add(file);
      else if (look !== null) seen.push(look);
    }
    return { seen, missing };
  }

  /** Where a file lies: as known, or as seen now. No place and no trouble: it is not there. */
  async #placeOf(path: string, mount: Mount): Promise<{ place?: Place; trouble: string }> {
    const known = this.#places.get(path);
    const nowMs = this.#clock.monotonicMs();
    if (known !== undefined && nowMs - known.atMs < diskPlaceMs) return { place: known, trouble: '' };
    const answer = await this.#ask(path, known?.device ?? mount.device, mount, () =>
      this.#system.place(path),
    );
    if ('value' in answer) {
      const place = { ...answer.value, atMs: nowMs };
      this.#places.set(path, place);
      return { place, trouble: '' };
    }
    if (isAbsence(answer.trouble)) {
      this.#places.delete(path);
      return { trouble: '' };
    }
    return known === undefined ? answer : { place: known, trouble: answer.trouble };
  }

  /** null where it has no space to speak of; `gone`: all its files. */
  async #lookAt(key: string, { mount, files, trouble }: Gathered): Promise<FileSystemLook | 'gone' | null> {
    const look = { key, path: mount.path, files };
    if (trouble !== '') return { ...look, freeBytes: null, trouble };
    for (const file of files) {
      const answer = await this.#ask(file, key, mount, () => this.#system.space(file));
      if ('value' in answer) {
        const { freeBytes, totalBytes } = answer.value;
        return totalBytes === 0 ? null : { ...look, freeBytes, trouble: '' };
      }
      if (!isAbsence(answer.trouble)) return { ...look, freeBytes: null, trouble: answer.trouble };
      this.#places.delete(file);
    }
    return 'gone';
  }

  async #ask<T>(
    path: string,
    device: string,
    mount: Mount,
    call: () => Promise<T>,
  ): Promise<{ value: T } | { trouble: string }> {
    const keys = [`folder ${dirname(path)}`, ...(mount.isNetwork ? [`mount ${mount.path}`] : [])];
    // What lies beneath the root may be a link to anywhere: one such that hangs says nothing of the others.
    if (this.#places.has(path)) keys.push(`device ${device}`);
    const bound = mount.isNetwork ? maxHungLooks : maxHungLooks + 1;
    if (this.#hung.size >= bound || keys.some((key) => this.#hangsAt(key))) return { trouble: hangs };
    const asked = call();
    const late = new Error(hangs);
    try {
      return { value: await withDeadline(this.#clock, asked, diskLookTimeoutMs, () => late) };
    } catch (error) {
      if (error !== late) return { trouble: (error as NodeJS.ErrnoException).code ?? String(error) };
      this.#hung.add(keys);
      const back = (): void => void this.#hung.delete(keys);
      void asked.then(back, back);
      return { trouble: hangs };
    }
  }

  #hangsAt(key: string): boolean {
    for (const keys of this.#hung) if (keys.includes(key)) return true;
    return false;
  }

  #mounts(): Mount[] {
    try {
      return parseMounts(this.#system.mounts());
    } catch {
      return [];
    }
  }
}

/** Beneath a disk of the host's own a folder may be a link to anywhere, and that is where nothing answers. */
function unknownPlace(path: string, textual: Mount): Mount {
  return textual.isNetwork ? textual : { ...textual, path: dirname(path) };
}

function isAbsence(code: string): boolean {
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/** `36 35 98:0 /root /mnt/point rw,noatime master:1 - ext3 /dev/root rw` */
function parseMounts(text: string): Mount[] {
  return text.split('\n').flatMap((line) => {
    const [, , device, , path] = line.split(' ');
    const kind = line.split(' - ')[1]?.split(' ')[0];
    if (device === undefined || path === undefined || kind === undefined) return [];
    const plain = path.replace(/\\([0-7]{3})/gu, (_all, code: string) =>
      String.fromCharCode(Number.parseInt(code, 8)),
    );
    return [{ path: plain, device, isNetwork: networkKinds.test(kind) }];
  });
}

/**
 * The mount that a path lies in by its text, of those of `device` where one is given; a link may lead to a mount
 * elsewhere, which is then the first of that device. Some (btrfs) have another number there than their files have.
 */
function mountOf(mounts: readonly Mount[], path: string, device?: string): Mount {
  const within = (each: Mount): boolean =>
    each.path === '/' || path === each.path || path.startsWith(`${each.path}/`);
  const longest = (those: readonly Mount[]): Mount | undefined =>
    those.reduce<Mount | undefined>(
      (best, each) => (best === undefined || each.path.length >= best.path.length ? each : best),
      undefined,
    );
  const own = mounts.filter((each) => each.device === device);
  return (
    longest(own.filter(within)) ??
    own[0] ??
    longest(mounts.filter(within)) ?? { path: '/', device: '', isNetwork: false }
  );
}
