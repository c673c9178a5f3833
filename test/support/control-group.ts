/** Control groups of the host's, for tests that freeze a process. */
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cgroupMounts } from '../../packages/server/src/hypervisor/qemu/freezer.ts';

/** A group of its own below the root group. */
export class ControlGroup {
  readonly path: string;
  readonly #version: 1 | 2;

  private constructor(path: string, version: 1 | 2) {
    this.path = path;
    this.#version = version;
  }

  /** A new group of the hierarchy of that version, or why this machine gives none. */
  static async make(version: 1 | 2): Promise<ControlGroup | string> {
    const mounts = cgroupMounts(await readFile('/proc/self/mountinfo', 'utf8'));
    const mount = mounts.find((each) => each.version === version);
    if (mount === undefined) return `no control groups v${version} that freeze are mounted here`;
    const path = join(mount.at, `vmpulse-test-${crypto.randomUUID()}`);
    try {
      await mkdir(path);
      await writeFile(join(path, 'cgroup.procs'), '');
      return new ControlGroup(path, version);
    } catch (error) {
      await rmdir(path).catch(() => undefined);
      return `no control group can be made here: ${String(error)}`;
    }
  }

  /** Moves a process with all its threads into it. */
  async add(pid: number): Promise<void> {
    await writeFile(join(this.path, 'cgroup.procs'), `${pid}`);
  }

  async freeze(): Promise<void> {
    if (this.#version === 2) await writeFile(join(this.path, 'cgroup.freeze'), '1');
    else await writeFile(join(this.path, 'freezer.state'), 'FROZEN');
  }

  async thaw(): Promise<void> {
    if (this.#version === 2) await writeFile(join(this.path, 'cgroup.freeze'), '0');
    else await writeFile(join(this.path, 'freezer.state'), 'THAWED');
  }

  /** Only once its processes are gone or elsewhere; a process that was killed leaves it a moment later. */
  async remove(): Promise<void> {
    for (let tries = 0; tries < 100; tries += 1) {
      try {
        await rmdir(this.path);
        return;
      } catch {
        await new Promise((resolve) => {
          setTimeout(resolve, 20);
        });
      }
    }
  }
}
