/** Holds as a client asks for them. */
import { type HoldInfo, type HoldRequest, VmError } from '@vmpulse/wire';
import { readHoldInfo } from './answer.ts';
import type { Link } from './link.ts';
import type { RequestOptions } from './transport.ts';

/** How long, and why. Of the lengths at least one; several add up. 1 s to 7 days in all. */
export interface HoldOptions extends RequestOptions {
  seconds?: number;
  minutes?: number;
  hours?: number;
  days?: number;
  /** For whoever finds the watch held: 1 to 500 printable characters. */
  reason: string;
}

/** Begins a hold at `path`. Errors: E_INVALIDARG without a length, VMPULSE_E_REQUEST_INVALID (with `field`). */
export async function beginHold(link: Link, path: string, options: HoldOptions): Promise<HoldInfo> {
  const { seconds, minutes, hours, days, reason, ...request } = options;
  const parts = [seconds, minutes, hours, days];
  if (parts.every((part) => part === undefined)) {
    throw new VmError(
      'E_INVALIDARG',
      'How long? Give seconds, minutes, hours or days: a hold ends by itself.',
    );
  }
  const lengths = [1, 60, 3_600, 86_400].map((unit, index) => unit * (parts[index] ?? 0));
  const body: HoldRequest = { seconds: lengths.reduce((sum, length) => sum + length, 0), reason };
  return readHoldInfo(await link.request('PUT', path, { ...request, body }));
}
