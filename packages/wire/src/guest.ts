/** What an operator asks a guest for by its agent: programs, parameters, frozen file systems. */
import type { JsonSchema, NamedSchema } from './schema-builder.ts';
import {
  flag,
  listOf,
  milliseconds,
  named,
  number,
  objectOf,
  orNull,
  refer,
  text,
} from './schema-builder.ts';

/** Bounds of what a guest is asked for. */
export const guestBounds = {
  /** A program's deadline, ms. */
  executeTimeoutMs: { least: 100, most: 60_000, usual: 20_000 },
  /** Arguments of a program. */
  maxArguments: 1_024,
  /** The program's path, characters. */
  maxPathLength: 4_096,
  /** Kept of each of a program's output streams, bytes. */
  maxOutputBytes: 262_144,
  /** A parameter's name, characters (the original's bound). */
  maxParameterNameLength: 255,
  /** A parameter's value, bytes of UTF-8. */
  maxParameterBytes: 65_536,
  /** How long file systems stay frozen, ms. */
  freezeMs: { least: 1_000, most: 600_000, usual: 60_000 },
} as const;

/** A program to run in a guest: without a shell, as the user the agent runs as. */
export interface GuestExecution {
  /** Looked for in the agent's PATH where it has no slash. */
  path: string;
  args?: string[];
  /** Given to its standard input. */
  input?: string;
  /** 100 to 60,000; default 20,000. */
  timeoutMs?: number;
}

/** What a program wrote to one of its streams. */
export interface GuestOutput {
  /** As text; what is no UTF-8 in it is replaced by U+FFFD. */
  text: string;
  /** The bytes, where they are no UTF-8; else null. */
  base64: string | null;
}

/** How a program in a guest ended. */
export interface GuestExecutionResult {
  /** null when a signal ended it. */
  exitCode: number | null;
  signal: number | null;
  stdout: GuestOutput;
  stderr: GuestOutput;
  /** Was any of the output cut off? */
  truncated: boolean;
  /** From the request to its end, as the host saw it. */
  durationMs: number;
}

/** A parameter of a guest. */
export interface GuestParameter {
  name: string;
  value: string;
}

/** A freeze of a guest's file systems. */
export interface GuestFreeze {
  /** After this time vmpulse thaws them, 1,000 to 600,000 ms; default 60,000. */
  timeoutMs?: number;
}

/** What a freeze or a thaw did. */
export interface GuestFreezeResult {
  /** How many file systems were frozen or thawed; 0: there was nothing to do. */
  fileSystems: number;
}

const { executeTimeoutMs, freezeMs, maxArguments, maxPathLength, maxParameterNameLength } = guestBounds;
const within = ({ least, most, usual }: { least: number; most: number; usual: number }): JsonSchema =>
  number(`Default ${usual}.`, { minimum: least, maximum: most });

const output = named(
  'GuestOutput',
  'What a program wrote to one of its streams.',
  objectOf<GuestOutput>(
    {
      text: text('What is no UTF-8 in it is replaced by U+FFFD.'),
      base64: orNull(text('The bytes, where they are no UTF-8.')),
    },
    {},
  ),
);

/** The schemas of this file. */
export const guestSchemas: readonly NamedSchema[] = [
  named(
    'GuestExecution',
    'A program to run in a guest, without a shell.',
    objectOf<GuestExecution>(
      {
        path: {
          ...text('Looked for in PATH where it has no slash.'),
          minLength: 1,
          maxLength: maxPathLength,
        },
      },
      {
        args: listOf(text(), maxArguments),
        input: text('Given to its standard input.'),
        timeoutMs: within(executeTimeoutMs),
      },
    ),
  ),
  output,
  named(
    'GuestExecutionResult',
    'How a program in a guest ended.',
    objectOf<GuestExecutionResult>(
      {
        exitCode: orNull(number('null when a signal ended it.')),
        signal: orNull(number()),
        stdout: refer('GuestOutput'),
        stderr: refer('GuestOutput'),
        truncated: { ...flag, description: `More than ${guestBounds.maxOutputBytes} bytes of a stream.` },
        durationMs: milliseconds('As the host saw it.'),
      },
      {},
    ),
  ),
  named(
    'GuestParameterChange',
    "A parameter's new value.",
    objectOf<Pick<GuestParameter, 'value'>>({ value: text('At most 64 KiB of UTF-8, without NUL.') }, {}),
  ),
  named(
    'GuestParameter',
    'A parameter of a guest.',
    objectOf<GuestParameter>(
      { name: { ...text(), minLength: 1, maxLength: maxParameterNameLength }, value: text() },
      {},
    ),
  ),
  named(
    'GuestFreeze',
    'For how long file systems are frozen.',
    objectOf<GuestFreeze>({}, { timeoutMs: within(freezeMs) }),
  ),
  named(
    'GuestFreezeResult',
    'What a freeze or a thaw did.',
    objectOf<GuestFreezeResult>({ fileSystems: number('0: there was nothing to do.') }, {}),
  ),
];
