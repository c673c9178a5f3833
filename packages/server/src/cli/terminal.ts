/** Where a command reads its surroundings and writes its answer: the process's own, or a test's. */
import { text } from 'node:stream/consumers';

/** What a command sees of the world besides the server. */
export interface Terminal {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly workingDirectory: string;
  /** Writes a line to stdout; resolves when a slow reader has room for more. */
  out(line: string): Promise<void>;
  /** All of stdin, as text. */
  input(): Promise<string>;
  /** Writes a line to stderr. */
  err(line: string): void;
  /** Replaces the last line of stderr, when that is a terminal: for progress. Empty: takes it away. */
  progress(line: string): void;
  /** Writes bytes as they are to stdout or stderr; resolves when a slow reader has room for more. */
  raw(bytes: Uint8Array, to: 'out' | 'err'): Promise<void>;
  /** Is stdout a terminal? */
  readonly isTty: boolean;
  /** Is stderr one? */
  readonly isErrTty: boolean;
  /** Colors are wanted: a terminal, and no NO_COLOR. */
  readonly color: boolean;
  /** Aborts on Ctrl-C. */
  readonly interrupted: AbortSignal;
}

/** The process's own terminal. Whoever closes our stdout (`| head`) ends the command quietly, as with other tools. */
export function processTerminal(): Terminal {
  const controller = new AbortController();
  process.once('SIGINT', () => controller.abort());
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  const { stdout } = process;
  // The declaration promises a terminal; of a pipe or a file both are undefined.
  const isTTY = Boolean((stdout as { isTTY?: boolean }).isTTY);
  return {
    env: process.env,
    workingDirectory: process.cwd(),
    out: (line) => written(stdout, `${line}\n`),
    input: () => text(process.stdin),
    raw: (bytes, to) => written(to === 'out' ? stdout : process.stderr, bytes),
    err: (line) => void process.stderr.write(`${line}\n`),
    progress: (line) => {
      if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${line}`);
    },
    isTty: isTTY,
    isErrTty: Boolean((process.stderr as { isTTY?: boolean }).isTTY),
    color: isTTY && (process.env['NO_COLOR'] ?? '') === '' && process.env['TERM'] !== 'dumb',
    interrupted: controller.signal,
  };
}

function written(stream: NodeJS.WriteStream, chunk: string | Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    if (stream.write(chunk)) resolve();
    else stream.once('drain', resolve);
  });
}
