/** Why something that is asked of webhooks is not done. */
import { VmError } from '@vmpulse/wire';
import type { EventLog } from '../event/log.ts';
import { maxWebhooks } from '../limits.ts';
import type { Lookups } from './webhook-address.ts';

/** Errors: VMPULSE_E_NOT_FOUND. */
export function unknownWebhook(name: string): VmError {
  const shown = name.slice(0, 64);
  return new VmError('VMPULSE_E_NOT_FOUND', `There is no webhook '${shown}'; see vmpulse webhook list.`);
}

/** Errors: VMPULSE_E_NOT_FOUND. */
export function unknownLetter(name: string, seq: number): VmError {
  const detail = `'${name}' has no dead letter #${seq}; vmpulse webhook dead-letters lists them.`;
  return new VmError('VMPULSE_E_NOT_FOUND', detail);
}

/** Errors: E_ALREADY_EXISTS where the name is taken, VM_E_OUT_OF_RESOURCE where there are `count` already. */
export function requireRoom(name: string, isTaken: boolean, count: number): void {
  if (isTaken) {
    const detail = `There is a webhook '${name}'; choose another name.`;
    throw new VmError('E_ALREADY_EXISTS', detail, { field: '/name' });
  }
  if (count < maxWebhooks) return;
  throw new VmError('VM_E_OUT_OF_RESOURCE', `There are ${maxWebhooks} webhooks; delete one first.`);
}

/** Errors: VMPULSE_E_LOG_UNAVAILABLE. */
export function requireWritable(log: EventLog): void {
  const { writable, error } = log.state();
  if (writable) return;
  const detail = `Nothing can be written now (${error ?? 'unknown'}); mend that and ask again.`;
  throw new VmError('VMPULSE_E_LOG_UNAVAILABLE', detail);
}

/** Errors: E_ACCESSDENIED for a literal private address where those are forbidden. */
export function requireAllowed(lookups: Lookups, url: string): void {
  try {
    lookups.checkLiteral(new URL(url).hostname);
  } catch (cause) {
    const detail = `${(cause as Error).message} (--webhooks-public-only).`;
    throw new VmError('E_ACCESSDENIED', detail, { cause, field: '/url' });
  }
}
