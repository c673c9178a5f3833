/** What a client asks of subscriptions, read strictly: a misspelt filter must not become "everything". */
import {
  type EventType,
  type EventVerdict,
  type SubscriptionAck,
  type SubscriptionNack,
  type SubscriptionRequest,
  VmError,
  eventTypeNames,
  eventTypePrefix,
  eventVerdictNames,
  maxNameLength,
  subscriptionBounds,
  subscriptionNamePattern,
} from '@vmpulse/wire';

/** What a subscription is, apart from where it stands. */
export interface SubscriptionDefinition {
  readonly types: EventType[] | null;
  readonly machines: string[] | null;
  readonly verdicts: EventVerdict[] | null;
  readonly maxAttempts: number;
  /** Null: none. Missing where an earlier version stored it. */
  readonly ackTimeoutMs?: number | null;
}

type Unchecked<T> = { readonly [K in keyof T]?: unknown };

const name = new RegExp(subscriptionNamePattern, 'u');
// Control and format characters, separators of lines, lone surrogates: a reason is shown on terminals.
const unprintable = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]+/gu;

function invalid(field: string, detail: string): VmError {
  const pointer = `/${field.replaceAll('~', '~0').replaceAll('/', '~1')}`;
  return new VmError('VMPULSE_E_REQUEST_INVALID', detail, { field: pointer });
}

function checkFields(request: object, fields: readonly string[]): void {
  const unknown = Object.keys(request).find((key) => !fields.includes(key));
  if (unknown === undefined) return;
  const shown = unknown.slice(0, 64);
  throw invalid(shown, `There is no '${shown}' here; there is ${fields.join(', ')}.`);
}

/** Errors: VMPULSE_E_REQUEST_INVALID. */
export function checkSubscriptionName(given: string): string {
  if (name.test(given)) return given;
  const rule = "1 to 64 lower-case letters, digits, '.', '_' or '-', the first a letter or digit";
  throw invalid('name', `A subscription's name is ${rule}; not ${JSON.stringify(given.slice(0, 80))}.`);
}

/** Errors: VMPULSE_E_REQUEST_INVALID with `field`. */
export function checkSubscriptionRequest(request: SubscriptionRequest): {
  readonly definition: SubscriptionDefinition;
  readonly from: 'now' | number;
} {
  checkFields(request, ['types', 'machines', 'verdicts', 'from', 'maxAttempts', 'ackTimeoutMs']);
  const given: Unchecked<SubscriptionRequest> = request;
  const machines = checkList(given.machines, 'machines', subscriptionBounds.maxMachines);
  for (const one of machines ?? []) {
    if (one.trim() === '' || Array.from(one).length > maxNameLength) {
      throw invalid('machines', `machines has ${JSON.stringify(one.slice(0, 80))}; give names or ids.`);
    }
  }
  const definition = {
    types: checkWords<EventType>(given.types, 'types', eventTypeNames, (word) =>
      word.startsWith(eventTypePrefix) ? word.slice(eventTypePrefix.length) : word,
    ),
    machines: machines === null ? null : [...new Set(machines.map((one) => one.trim()))],
    verdicts: checkWords<EventVerdict>(given.verdicts, 'verdicts', eventVerdictNames),
    maxAttempts: checkAttempts(given.maxAttempts),
    ackTimeoutMs: checkAckTimeout(given.ackTimeoutMs),
  };
  return { definition, from: checkFrom(given.from) };
}

/** Errors: VMPULSE_E_REQUEST_INVALID with `field`. */
export function checkAck(request: SubscriptionAck): SubscriptionAck {
  checkFields(request, ['seq', 'lease']);
  return { seq: checkSeq(request.seq, 'seq'), lease: checkLease(request.lease) };
}

/** Errors: VMPULSE_E_REQUEST_INVALID with `field`. */
export function checkNack(request: SubscriptionNack): Required<SubscriptionNack> {
  checkFields(request, ['seq', 'lease', 'reason']);
  const { reason = '' } = request as { readonly reason?: unknown };
  if (typeof reason !== 'string') throw invalid('reason', 'reason must be a text.');
  const printable = reason.replaceAll(unprintable, ' ').trim();
  const cut = Array.from(printable).slice(0, subscriptionBounds.maxReasonLength).join('');
  return {
    seq: checkSeq(request.seq, 'seq'),
    lease: checkLease(request.lease),
    reason: cut === '' ? 'not taken' : cut,
  };
}

/** Errors: VMPULSE_E_REQUEST_INVALID with `field`. */
function checkSeq(seq: unknown, field: string): number {
  if (typeof seq === 'number' && Number.isSafeInteger(seq) && seq >= 1) return seq;
  throw invalid(field, `${field} must be the seq of an event, a whole number from 1.`);
}

function checkLease(lease: unknown): string {
  if (typeof lease === 'string' && lease !== '') return lease;
  throw invalid('lease', "lease must be what the stream's message `lease` said.");
}

function checkFrom(from: unknown): 'now' | number {
  if (from === undefined || from === 'now') return 'now';
  if (typeof from === 'number' && Number.isSafeInteger(from) && from >= 1) return from;
  throw invalid('from', "from must be 'now' or the first seq that is wanted, a whole number from 1.");
}

function checkAttempts(attempts: unknown): number {
  const { least, most, usual } = subscriptionBounds.attempts;
  if (attempts === undefined) return usual;
  if (typeof attempts === 'number' && Number.isInteger(attempts) && attempts >= least && attempts <= most) {
    return attempts;
  }
  throw invalid('maxAttempts', `maxAttempts must be a whole number from ${least} to ${most}.`);
}

function checkAckTimeout(timeoutMs: unknown): number | null {
  const { least, most, usual } = subscriptionBounds.ackTimeoutMs;
  if (timeoutMs === undefined) return usual;
  if (timeoutMs === null) return null;
  if (
    typeof timeoutMs === 'number' &&
    Number.isInteger(timeoutMs) &&
    timeoutMs >= least &&
    timeoutMs <= most
  ) {
    return timeoutMs;
  }
  const detail = `ackTimeoutMs must be a whole number from ${least} to ${most}, or null for no deadline.`;
  throw invalid('ackTimeoutMs', detail);
}

function checkList(list: unknown, field: string, most: number): string[] | null {
  if (list === undefined || list === null) return null;
  const isGood = Array.isArray(list) && list.every((one) => typeof one === 'string');
  if (isGood && list.length >= 1 && list.length <= most) return list;
  throw invalid(field, `${field} must be a list of 1 to ${most} texts; leave it out for all.`);
}

function checkWords<T extends string>(
  list: unknown,
  field: string,
  known: readonly T[],
  read: (word: string) => string = (word) => word,
): T[] | null {
  const words = checkList(list, field, known.length)?.map(read);
  if (words === undefined) return null;
  const unknown = words.find((word) => !known.some((one) => one === word));
  if (unknown === undefined) return [...new Set(words as T[])];
  throw invalid(field, `${field} has ${JSON.stringify(unknown.slice(0, 64))}; there is ${known.join(', ')}.`);
}
