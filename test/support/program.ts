/** A program as a process of its own, and what it writes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { eventually } from './real-service.ts';

/** One that was started. Its output is both streams together. */
export class Program {
  output = '';
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;

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
  async says(text: string, timeoutMs = 15_000): Promise<void> {
    await eventually(
      () => this.output.includes(text),
      timeoutMs,
      () => `"${text}" in what it wrote:\n${this.output}`,
    );
  }

  /** How it ended by itself: its exit status, or the signal that ended it. */
  async ended(): Promise<number | NodeJS.Signals | null> {
    await this.#closed;
    return this.#child.exitCode ?? this.#child.signalCode;
  }

  /** Tells it to end, and resolves when it has. */
  async end(signal: NodeJS.Signals): Promise<number | NodeJS.Signals | null> {
    this.#child.kill(signal);
    return this.ended();
  }
}
