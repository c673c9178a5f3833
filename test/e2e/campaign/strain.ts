/** The host's processors: shared out among rounds, and burnt where a round is about their want. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import type { Strain } from './kind.ts';

/** So many processors are shared out; who waits is served in order. */
export class Processors {
  readonly #total: number;
  #free: number;
  #last: Promise<void> = Promise.resolve();
  #waiting: { readonly count: number; readonly go: () => void }[] = [];

  constructor(total: number) {
    this.#total = total;
    this.#free = total;
  }

  /** Runs `work` with so many processors to itself. */
  async with<T>(strain: Strain, work: () => Promise<T>): Promise<T> {
    const count = strain === 'none' ? 0 : strain === 'core' ? 1 : this.#total;
    if (count === 0) return work();
    await new Promise<void>((resolve) => {
      this.#waiting.push({ count, go: resolve });
      this.#serve();
    });
    try {
      return await work();
    } finally {
      this.#free += count;
      this.#serve();
    }
  }

  /** Runs `work` while no other such work runs: to restore a guest costs most of a second of a processor. */
  async alone<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work);
    this.#last = mine.then(
      () => undefined,
      () => undefined,
    );
    return mine;
  }

  #serve(): void {
    for (let next = this.#waiting[0]; next !== undefined && next.count <= this.#free;) {
      this.#free -= next.count;
      this.#waiting.shift();
      next.go();
      next = this.#waiting[0];
    }
  }
}

/** Burners at work, so that none outlives the campaign. */
const burning = new Set<ChildProcess>();

/** Starts `count` processes that compute, at a nice value, on one processor where `cpu` says so; end them. */
export function burn(count: number, nice: number, cpu?: number): { end: () => void } {
  const loop = ['nice', '-n', String(nice), 'sh', '-c', 'while :; do :; done'];
  const bound = cpu === undefined ? [] : ['taskset', '-c', String(cpu)];
  const [program = '', ...args] = [...bound, ...loop];
  const mine = Array.from({ length: count }, () => {
    const child = spawn(program, args, { stdio: 'ignore' });
    burning.add(child);
    return child;
  });
  return {
    end: () => {
      for (const child of mine) {
        child.kill('SIGKILL');
        burning.delete(child);
      }
    },
  };
}

/** Ends every burner that is left. */
export function quench(): void {
  for (const child of burning) child.kill('SIGKILL');
  burning.clear();
}

/** Lets a process run only where its processor has nothing else to do, and ties it to one processor. */
export function demote(pid: number, cpu: number): void {
  execFileSync('taskset', ['-a', '-p', '-c', String(cpu), String(pid)], { stdio: 'ignore' });
  execFileSync('chrt', ['-a', '-i', '-p', '0', String(pid)], { stdio: 'ignore' });
}
