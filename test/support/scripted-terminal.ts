/** A terminal that keeps what was written to it. */
import type { Terminal } from '../../packages/server/src/cli/terminal.ts';

/** See above; `interrupt` is Ctrl-C. */
export class ScriptedTerminal implements Terminal {
  readonly env: Record<string, string | undefined>;
  readonly workingDirectory: string;
  isTty = false;
  isErrTty = false;
  /** What `input` gives. */
  stdin = '';
  /** Bytes written as they are. */
  readonly rawOut: Uint8Array[] = [];
  readonly rawErr: Uint8Array[] = [];
  readonly color: boolean = false;
  readonly outLines: string[] = [];
  readonly errLines: string[] = [];
  readonly progressLines: string[] = [];
  readonly #controller = new AbortController();

  constructor(env: Record<string, string | undefined>, workingDirectory: string) {
    this.env = env;
    this.workingDirectory = workingDirectory;
  }

  get interrupted(): AbortSignal {
    return this.#controller.signal;
  }

  interrupt(): void {
    this.#controller.abort();
  }

  out(line: string): Promise<void> {
    this.outLines.push(line);
    return Promise.resolve();
  }

  input(): Promise<string> {
    return Promise.resolve(this.stdin);
  }

  raw(bytes: Uint8Array, to: 'out' | 'err'): Promise<void> {
    (to === 'out' ? this.rawOut : this.rawErr).push(bytes);
    return Promise.resolve();
  }

  err(line: string): void {
    this.errLines.push(line);
  }

  progress(line: string): void {
    this.progressLines.push(line);
  }

  get output(): string {
    return this.outLines.join('\n');
  }

  get errors(): string {
    return this.errLines.join('\n');
  }
}
