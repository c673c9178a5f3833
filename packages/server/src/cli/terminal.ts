/** Where a command reads its surroundings and writes its answer: the process's own, or a test's. */
/** What a command sees of the world besides the server. */
export interface Terminal {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly workingDirectory: string;
  /** Writes a line to stdout; resolves when a slow reader has room for more. */
  out(line: string): Promise<void>;
  /** Writes a line to stderr. */
  err(line: string): void;
  /** Replaces the last line of stderr, when that is a terminal: for progress. Empty: takes it away. */
  progress(line: string): void;
  /** Is stdout a terminal? */
  readonly isTty: boolean;
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
    out: (line) =>
      new Promise((resolve) => {
        if (stdout.write(`${line}\n`)) resolve();
        else stdout.once('drain', resolve);
      }),
    err: (line) => void process.stderr.write(`${line}\n`),
    progress: (line) => {
      if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${line}`);
    },
    isTty: isTTY,
    color: isTTY && (process.env['NO_COLOR'] ?? '') === '' && process.env['TERM'] !== 'dumb',
    interrupted: controller.signal,
  };
}
