/** A program as a process of its own, and what it writes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { eventually, patienceMs } from './real-service.ts';

/** One that was started. Its output is both streams together. */
export class Program {
  output = '';
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  #asked: NodeJS.Signals | undefined;

  constructor(executable: string, args: readonly string[], options: { readonly input?: string } = {}) {
    const child = spawn(executable, args, { stdio: 'pipe' });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8');
      stream.on('data', (text: string) => {
        this.output += text;
      });
    }
    child.stdin.on('error', () => undefined);
    if (options.input !== undefined) child.stdin.end(options.input);
    this.#closed = once(child, 'close');
    this.#child = child;
  }

  /** Resolves once it has written this. */
  async says(text: string, timeoutMs: number = patienceMs): Promise<void> {
    await eventually(
      () => this.output.includes(text),
      () => `"${text}" in what it wrote:\n${this.output}`,
      timeoutMs,
    );
  }

  /** Its exit status, or the signal that ended it. One that does not end in time is killed, and that is an error. */
  async ended(timeoutMs: number = patienceMs): Promise<number | NodeJS.Signals | null> {
    const late = setTimeout(() => this.#child.kill('SIGKILL'), timeoutMs);
    try {
      await this.#closed;
    } finally {
      clearTimeout(late);
    }
    const { exitCode, signalCode } = this.#child;
    if (signalCode === 'SIGKILL' && this.#asked !== 'SIGKILL')
      throw new Error(`it did not end within ${timeoutMs} ms, or was killed:\n${this.output}`);
    return exitCode ?? signalCode;
  }

  /** Tells it to end, and resolves when it has. */
  async end(signal: NodeJS.Signals): Promise<number | NodeJS.Signals | null> {
    this.#asked = signal;
    this.#child.kill(signal);
    return this.ended();
  }
}
