/** What is asked of a guest, checked strictly before the guest hears of it. Errors: E_INVALIDARG, with `field`. */
import {
  guestBounds,
  type GuestExecution,
  type GuestFreeze,
  type GuestParameter,
  VmError,
} from '@vmpulse/wire';
import { didYouMean } from './suggestion.ts';

type Fields = Readonly<Record<string, unknown>>;

const wrong = (detail: string, field?: string): VmError =>
  new VmError('E_INVALIDARG', detail, field === undefined ? {} : { field });

/** The request as an object without unknown properties. */
function fieldsOf(request: unknown, known: readonly string[]): Fields {
  if (typeof request !== 'object' || request === null || Array.isArray(request)) {
    throw wrong('The request is no object.');
  }
  for (const key of Object.keys(request)) {
    if (known.includes(key)) continue;
    const shown = key.slice(0, 64);
    const pointer = `/${shown.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    throw wrong(`There is no property '${shown}'${didYouMean(key, known) || '; leave it out.'}`, pointer);
  }
  return request as Fields;
}

/** Without lone surrogates, which would reach the guest as something else. */
function isWhole(value: unknown): value is string {
  return typeof value === 'string' && !/\p{Cs}/u.test(value);
}

function isText(value: unknown): value is string {
  return isWhole(value) && !value.includes('\0');
}

function time(
  value: unknown,
  { least, most, usual }: { readonly least: number; readonly most: number; readonly usual: number },
): number {
  if (value === undefined) return usual;
  if (Number.isInteger(value) && (value as number) >= least && (value as number) <= most)
    return value as number;
  throw wrong(`timeoutMs must be a whole number of milliseconds from ${least} to ${most}.`, '/timeoutMs');
}

/** A program to run, with its defaults. */
export function checkExecution(
  request: unknown,
): Required<Omit<GuestExecution, 'input'>> & { input?: string } {
  const { path, args, input, timeoutMs } = fieldsOf(request, ['path', 'args', 'input', 'timeoutMs']);
  const { maxArguments, maxPathLength, executeTimeoutMs } = guestBounds;
  if (!isText(path) || path === '' || path.length > maxPathLength) {
    const detail = `path must name a program of the guest, such as /usr/bin/uptime: 1 to ${maxPathLength} characters.`;
    throw wrong(`${detail} Its arguments are apart, in args.`, '/path');
  }
  const list: unknown[] | null = args === undefined ? [] : Array.isArray(args) ? args : null;
  if (list === null || list.length > maxArguments || !list.every(isText)) {
    throw wrong(`args must be a list of at most ${maxArguments} texts without NUL.`, '/args');
  }
  if (input !== undefined && !isWhole(input)) {
    throw wrong('input must be a text: what the program reads from its standard input.', '/input');
  }
  const checked = { path, args: list, timeoutMs: time(timeoutMs, executeTimeoutMs) };
  return input === undefined ? checked : { ...checked, input };
}

/** For how long file systems are frozen, ms. */
export function checkFreeze(request: unknown): Required<GuestFreeze> {
  return { timeoutMs: time(fieldsOf(request, ['timeoutMs'])['timeoutMs'], guestBounds.freezeMs) };
}

/** A parameter's name: as in the original 1 to 255 characters without a backslash. */
export function checkParameterName(name: string): string {
  const most = guestBounds.maxParameterNameLength;
  if (isText(name) && name !== '' && name.length <= most && !name.includes('\\')) return name;
  throw wrong(
    `The name of a parameter has 1 to ${most} characters, none of them a backslash or NUL.`,
    '/name',
  );
}

/** A parameter's new value. */
export function checkParameterChange(request: unknown): Pick<GuestParameter, 'value'> {
  const { value } = fieldsOf(request, ['value']);
  const most = guestBounds.maxParameterBytes;
  if (isText(value) && Buffer.byteLength(value) <= most) return { value };
  throw wrong(`value must be a text without NUL of at most ${most} bytes of UTF-8.`, '/value');
}
