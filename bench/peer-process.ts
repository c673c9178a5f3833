/** Programs that benchmarks measure beside vmpulse: found, started privately, and ended. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Where a program is, also where an ordinary user's PATH does not look; null when it is nowhere. */
export function findProgram(name: string): string | null {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/bin', '/sbin'];
  for (const folder of folders) {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return join(folder, name);
    } catch {
      // The next folder may have it.
    }
  }
  return null;
}

/** Says which Debian packages a peer lacks; true when it lacks none. */
export function hasPeer(peer: string, needs: Readonly<Record<string, string>>): boolean {
  const missing = Object.entries(needs).filter(([program]) => findProgram(program) === null);
  if (missing.length === 0) return true;
  const packages = [...new Set(missing.map(([, name]) => name))].join(' ');
  console.log(
    `${peer} is left out: Debian packages are missing. Install them with: apt-get install ${packages}`,
  );
  return false;
}

/** First line of what a program says of its version. */
export function versionOf(program: string, flag = '--version'): string {
  return execFileSync(findProgram(program) ?? program, [flag], { encoding: 'utf8' }).split('\n')[0] ?? '';
}

/** Starts a program that is ended with `end`. Its output is kept for when it fails. */
export class PeerProcess {
  readonly child: ChildProcess;
  output = '';

  constructor(
    program: string,
    args: readonly string[],
    options: { uid?: number; gid?: number; env?: NodeJS.ProcessEnv } = {},
  ) {
    this.child = spawn(findProgram(program) ?? program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      ...options,
    });
    const keep = (chunk: Buffer): void => {
      this.output = (this.output + chunk.toString()).slice(-16_384);
    };
    this.child.stdout?.on('data', keep);
    this.child.stderr?.on('data', keep);
    this.child.on('error', (error) => {
      this.output += error.message;
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  get ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null || this.child.pid === undefined;
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.ended) return;
    const exit = once(this.child, 'exit');
    this.child.kill(signal);
    await exit;
  }
}
