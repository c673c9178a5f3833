/** What may be asked of the log, and what is said where an answer would leave something out. */
import { type EventType, VmError, eventTypes } from '@vmpulse/wire';
import type { EventQuery } from '../event/log.ts';
import { maxEventPage } from '../limits.ts';

/**
 * The query with its limit kept. Types that do not exist let nothing through; a type named twice is asked for once.
 * Errors: E_INVALIDARG.
 */
export function checkQuery(query: EventQuery): EventQuery {
  const { after, limit, types } = query;
  if (!Number.isSafeInteger(after) || after < 0) {
    throw new VmError('E_INVALIDARG', `after must be a whole number from 0, not ${after}.`, {
      field: '/after',
    });
  }
  if (!Number.isSafeInteger(limit) || limit < 1) {
    throw new VmError('E_INVALIDARG', `limit must be a whole number from 1, not ${limit}.`, {
      field: '/limit',
    });
  }
  const known =
    types === undefined ? undefined : [...new Set(types)].filter((type: EventType) => type in eventTypes);
  return { ...query, limit: Math.min(limit, maxEventPage), ...(known === undefined ? {} : { types: known }) };
}

const goOn = 'Get GET /v1/vms for how the machines are now, and go on';

/** Errors: VMPULSE_E_CURSOR_EXPIRED when retention deleted events after `after`. */
export function checkKept(after: number, deletedThrough: number, lastSeq: number): void {
  if (after >= deletedThrough) return;
  throw new VmError(
    'VMPULSE_E_CURSOR_EXPIRED',
    `Events after ${after} are no longer all kept; the oldest kept is ${deletedThrough + 1}. ${goOn} with ` +
      `after=${lastSeq}, or take what is kept with after=${deletedThrough}.`,
  );
}

/** Errors: VMPULSE_E_CURSOR_EXPIRED when the log has no event `after` yet: the cursor is not of this log. */
export function checkReached(after: number, lastSeq: number): void {
  if (after <= lastSeq) return;
  throw new VmError(
    'VMPULSE_E_CURSOR_EXPIRED',
    `Nothing has the number ${after} yet; the newest is ${lastSeq}. The cursor is from another server, or from ` +
      `before this one was restored. ${goOn} with after=${lastSeq}.`,
  );
}
