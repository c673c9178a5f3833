/**
 * The working directories of runs. Those of the service's own user are below the data directory, where nobody else can
 * come; so those of another user are where temporary files are, each made anew under a name that cannot be foreseen.
 */
import { execFile } from 'node:child_process';
import { chown, lstat, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { scriptRemoveMs } from '../limits.ts';
import { killMarked } from './script-leftovers.ts';
import type { ScriptUser } from './script-user.ts';

const execute = promisify(execFile);

/** What the directories are made by. */
export interface RunDirectoryPorts {
  /** Those of the service's own user are made in it. */
  readonly directory: string;
  /** As whom scripts run; undefined: as the service. */
  readonly user?: ScriptUser;
  readonly serverId: string;
}

/** See the head of this file. */
export class RunDirectories {
  readonly #ports: RunDirectoryPorts;
  /** What every one of them begins with. */
  readonly #prefix: string;

  constructor(ports: RunDirectoryPorts) {
    this.#ports = ports;
    const { directory, serverId, user } = ports;
    this.#prefix = user === undefined ? `${directory}/` : join(tmpdir(), `vmpulse-script-${serverId}-`);
  }

  /** A new one, the user's own and nobody else's. `name` is unique among those of this start. */
  async make(name: string): Promise<string> {
    const { user } = this.#ports;
    if (user === undefined) {
      const directory = this.#prefix + name;
      await mkdir(directory, { recursive: true, mode: 0o700 });
      return directory;
    }
    const directory = await mkdtemp(this.#prefix);
    await chown(directory, user.uid, user.gid);
    return directory;
  }

  /** With what is in it. As its user: what a script put there must not lead the service to files of others. */
  async remove(directory: string): Promise<void> {
    const { user } = this.#ports;
    if (user === undefined) await rm(directory, { recursive: true, force: true });
    else
      await execute('/bin/rm', ['-rf', '--', directory], {
        ...user,
        cwd: '/',
        env: {},
        timeout: scriptRemoveMs,
      });
  }

  /** Ends what has left the process group of the run in `directory`. `before`: the processes before it began. */
  async endEscaped(directory: string, before: ReadonlySet<string>): Promise<void> {
    await killMarked({ serverId: this.#ports.serverId, directory, match: 'exactly', except: before });
  }

  /** Ends and removes what a service that was killed left. Resolves with how many processes there were. */
  async clear(): Promise<number> {
    const { user, serverId, directory } = this.#ports;
    const killed = await killMarked({ serverId, directory: this.#prefix, match: 'beginning' });
    await rm(directory, { recursive: true, force: true });
    if (user === undefined) return killed;
    for (const name of await readdir(tmpdir())) {
      const left = join(tmpdir(), name);
      if (!left.startsWith(this.#prefix)) continue;
      const found = await lstat(left);
      if (found.isDirectory() && found.uid === user.uid) await this.remove(left);
    }
    return killed;
  }
}
