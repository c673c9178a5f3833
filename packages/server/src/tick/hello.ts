/** The ticker's first line: words of `key=value`, each value percent-encoded UTF-8. */
import type { Hello } from './source.ts';

/** Longest value that is kept, in UTF-16 units; a longer one counts as not given. */
const maxValueLength = 256;
const minIntervalMs = 100;
const maxIntervalMs = 60_000;

/** Controls, formats (which reorder text on a screen), separators of lines, and code points that stand for nothing. */
const unprintable = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/u;
const words = /^[!-<>-~]+=[!-~]*$/;

/** Text a guest gave about itself, or null when it is empty, longer than 256 or holds what a screen should not get. */
export function printable(text: unknown): string | null {
  if (typeof text !== 'string' || text.length === 0 || text.length > maxValueLength) return null;
  return unprintable.test(text) ? null : text;
}

function decoded(value: string | undefined): string | null {
  if (value === undefined) return null;
  try {
    return printable(decodeURIComponent(value));
  } catch {
    // A % without two hexadecimal digits, or bytes that are not UTF-8.
    return null;
  }
}

function decimal(value: string | undefined): number | null {
  if (value === undefined || !/^\d+$/.test(value)) return null;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : null;
}

/**
 * The hello that a line (without its newline) holds, or null when it is none. `v` is required and at least 1; a later
 * version is a hello too, since its ticks must count all the same. Of a key given twice the first counts. A value that
 * does not decode, or an interval outside 100..60000, is null and takes nothing else with it.
 */
export function parseHello(line: string): Hello | null {
  const [first, ...rest] = line.split(' ');
  if (first !== 'hello') return null;
  const values = new Map<string, string>();
  for (const word of rest) {
    if (!words.test(word)) return null;
    const equals = word.indexOf('=');
    const key = word.slice(0, equals);
    if (!values.has(key)) values.set(key, word.slice(equals + 1));
  }
  const protocol = decimal(values.get('v'));
  if (protocol === null || protocol < 1) return null;
  const intervalMs = decimal(values.get('interval_ms'));
  const inRange = intervalMs !== null && intervalMs >= minIntervalMs && intervalMs <= maxIntervalMs;
  return {
    protocol,
    version: decoded(values.get('version')),
    intervalMs: inRange ? intervalMs : null,
    os: decoded(values.get('os')),
    host: decoded(values.get('host')),
  };
}
