/** Exit codes of the command line, for scripts. The help of `vmpulse` shows this table. */
import type { ErrorCode, VmError } from '@vmpulse/client';

/** What each exit code says. */
export const exitCodes = {
  ok: 0,
  /** The operation failed. */
  failed: 1,
  /** The command line or a value in it is wrong. */
  usage: 2,
  /** No such machine, task or file. */
  notFound: 3,
  /** Not possible in the present state, or in conflict with something that is. */
  refused: 4,
  /** No server answers. */
  unreachable: 5,
  /** Token missing or wrong, or no permission on the socket. */
  notPermitted: 6,
  /** Not complete in time; it may still come to its end. */
  timedOut: 7,
  /** Ctrl-C. */
  interrupted: 130,
} as const;

/** The table for the help. */
export const exitCodeHelp: string = `Exit codes:
  0 done   1 failed   2 usage   3 not found   4 refused in this state
  5 no server answers   6 not permitted   7 timed out   130 interrupted`;

const byCode: Partial<Record<ErrorCode, number>> = {
  VM_E_VM_UNKNOWN: exitCodes.notFound,
  VMPULSE_E_NOT_FOUND: exitCodes.notFound,
  VM_E_PREF_NOT_FOUND: exitCodes.notFound,
  E_FILE_NOT_FOUND: exitCodes.notFound,
  E_PATH_NOT_FOUND: exitCodes.notFound,
  VMPULSE_E_UNREACHABLE: exitCodes.unreachable,
  VMPULSE_E_UNAUTHENTICATED: exitCodes.notPermitted,
  E_ACCESSDENIED: exitCodes.notPermitted,
  VM_E_TIMED_OUT: exitCodes.timedOut,
};

/** The exit code of an error that a request ended with: by its code, else by its HTTP status. */
export function exitCodeOf(error: VmError): number {
  const code = byCode[error.code];
  if (code !== undefined) return code;
  if (error.status === 400) return exitCodes.usage;
  return error.status === 409 || error.status === 410 ? exitCodes.refused : exitCodes.failed;
}

/** Ends the command with a code of its own instead of that of its error. */
export class ExitError extends Error {
  readonly exitCode: number;
  /** Told on stderr, unless `quiet`. */
  readonly error: VmError;
  /** Whoever failed has said so itself. */
  readonly quiet: boolean;

  constructor(exitCode: number, error: VmError, { quiet = false }: { readonly quiet?: boolean } = {}) {
    super(error.message, { cause: error });
    this.name = 'ExitError';
    this.exitCode = exitCode;
    this.error = error;
    this.quiet = quiet;
  }
}
