/** What an operator asks of a hold, read strictly: a misspelt word must not become a hold of another length. */
import { type HoldRequest, VmError } from '@vmpulse/wire';
import { maxHoldMs, maxHoldReasonLength, minHoldMs } from '../limits.ts';

// What cannot be seen, or steers what shows it: control and format characters, separators of lines, lone surrogates.
// The two joiners belong to the writing of some languages.
const unprintable = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}]/u;

const fields: readonly string[] = ['seconds', 'reason'] satisfies (keyof HoldRequest)[];

/** Length and reason, checked. Errors: VMPULSE_E_REQUEST_INVALID with `field`. */
export function checkHoldRequest(request: HoldRequest): {
  readonly lengthMs: number;
  readonly reason: string;
} {
  const unknown = Object.keys(request).find((key) => !fields.includes(key));
  if (unknown !== undefined) {
    const shown = unknown.slice(0, 64);
    throw invalid(shown, `A hold has no '${shown}'; give seconds and reason.`);
  }
  const { seconds, reason } = request as { readonly [K in keyof HoldRequest]?: unknown };
  return { lengthMs: checkLength(seconds), reason: checkReason(reason) };
}

function checkLength(seconds: unknown): number {
  const lengthMs = typeof seconds === 'number' ? Math.round(seconds * 1_000) : Number.NaN;
  if (lengthMs >= minHoldMs && lengthMs <= maxHoldMs) return lengthMs;
  const bounds = `from ${minHoldMs / 1_000} to ${maxHoldMs / 1_000} (7 days)`;
  throw invalid('seconds', `seconds must be a number ${bounds}; a hold ends by itself.`);
}

function checkReason(reason: unknown): string {
  const text = typeof reason === 'string' ? reason.trim() : '';
  const length = Array.from(text).length;
  if (length >= 1 && length <= maxHoldReasonLength && !unprintable.test(text)) return text;
  throw invalid(
    'reason',
    `reason must be 1 to ${maxHoldReasonLength} printable characters on one line; say why, such as "kernel upgrade".`,
  );
}

function invalid(field: string, detail: string): VmError {
  const pointer = `/${field.replaceAll('~', '~0').replaceAll('/', '~1')}`;
  return new VmError('VMPULSE_E_REQUEST_INVALID', detail, { field: pointer });
}
