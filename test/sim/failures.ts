/** What failed in a run, for a test to show. */
import type { RunResult } from './run.ts';

/** One line for each failure. */
export function failuresOf({ seed, failures }: RunResult): string[] {
  return failures.map(({ rule, guest, text }) => `seed ${seed}: ${rule} ${guest}: ${text}`);
}
