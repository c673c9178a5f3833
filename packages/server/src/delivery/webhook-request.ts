/** What an operator asks of webhooks, read strictly: a misspelt filter must not become one that lets all through. */
import {
  type EventType,
  type ToldVerdict,
  VmError,
  type WebhookFilter,
  eventTypeNames,
  toldVerdictNames,
} from '@vmpulse/wire';
import {
  maxFilterValues,
  maxWebhookMachines,
  maxWebhookUrlLength,
  webhookSecretKeepMs,
  webhookTimeoutMs,
} from '../limits.ts';
import { type WebhookAuthority, checkCaCertificate } from './webhook-authority.ts';
import { isSecret, makeSecret } from './webhook-signature.ts';

type Fields = Readonly<Record<string, unknown>>;

/** A creation, checked. */
export interface CheckedWebhook {
  readonly name: string;
  readonly url: string;
  readonly filter: WebhookFilter;
  readonly timeoutMs: number;
  readonly secret: string;
  readonly authority: WebhookAuthority | null;
  readonly after: number | undefined;
}

/** A change, checked: what is undefined stays. */
export interface CheckedChange {
  readonly url: string | undefined;
  readonly filter: WebhookFilter;
  readonly timeoutMs: number | undefined;
  readonly enabled: boolean | undefined;
  readonly authority: WebhookAuthority | null | undefined;
}

const filterFields = ['types', 'machines', 'verdicts'] as const;
const creationFields = ['name', 'url', 'timeoutMs', 'secret', 'after', 'caCertificate', ...filterFields];
const namePattern = /^[A-Za-z0-9][\w.-]{0,63}$/u;

/** Errors: VMPULSE_E_REQUEST_INVALID with `field`. `lastSeq`: where events from now on begin. */
export function checkWebhookRequest(request: object, lastSeq: number): CheckedWebhook {
  const fields = known(request, creationFields);
  const { name, after } = fields;
  if (typeof name !== 'string' || !namePattern.test(name)) {
    throw invalid(
      'name',
      'A webhook needs a name: 1 to 64 letters, digits, . _ or -, the first a letter or a digit.',
    );
  }
  const isSeq = Number.isSafeInteger(after) && (after as number) >= 0 && (after as number) <= lastSeq;
  if (after !== undefined && !isSeq) {
    throw invalid('after', `after must be a seq from 0 to ${lastSeq}; leave it out for events from now on.`);
  }
  return {
    name,
    url: checkUrl(fields['url']),
    filter: checkFilter(fields, {}),
    timeoutMs: checkTimeout(fields['timeoutMs']) ?? webhookTimeoutMs.usual,
    secret: checkSecret(fields['secret']),
    authority: checkCaCertificate(fields['caCertificate'] ?? null),
    after: after as number | undefined,
  };
}

/** Errors: VMPULSE_E_REQUEST_INVALID with `field`. */
export function checkWebhookChange(request: object, filter: WebhookFilter): CheckedChange {
  const fields = known(request, ['url', 'timeoutMs', 'enabled', 'caCertificate', ...filterFields]);
  const { url, enabled, caCertificate } = fields;
  if (enabled !== undefined && typeof enabled !== 'boolean') {
    throw invalid('enabled', 'enabled must be true or false.');
  }
  return {
    url: url === undefined ? undefined : checkUrl(url),
    filter: checkFilter(fields, filter),
    timeoutMs: checkTimeout(fields['timeoutMs']),
    enabled,
    authority: caCertificate === undefined ? undefined : checkCaCertificate(caCertificate),
  };
}

/** Errors: VMPULSE_E_REQUEST_INVALID with `field`. */
export function checkWebhookRotation(request: object): { readonly secret: string; readonly keepMs: number } {
  const fields = known(request, ['secret', 'keepOldSeconds']);
  const seconds = fields['keepOldSeconds'] ?? webhookSecretKeepMs.usual / 1_000;
  const maxSeconds = webhookSecretKeepMs.max / 1_000;
  if (typeof seconds !== 'number' || !(seconds >= 0 && seconds <= maxSeconds)) {
    throw invalid('keepOldSeconds', `keepOldSeconds must be a number from 0 to ${maxSeconds} (7 days).`);
  }
  return { secret: checkSecret(fields['secret']), keepMs: Math.round(seconds * 1_000) };
}

function known(request: object, names: readonly string[]): Fields {
  const unknown = Object.keys(request).find((key) => !names.includes(key));
  if (unknown === undefined) return request as Fields;
  const shown = unknown.slice(0, 64);
  throw invalid(shown, `There is no '${shown}' here; give ${names.join(', ')}.`);
}

function checkUrl(value: unknown): string {
  const text = typeof value === 'string' && value.length <= maxWebhookUrlLength ? value.trim() : '';
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol) || url.hostname === '') {
    throw invalid(
      'url',
      `url must be an http or https URL of at most ${maxWebhookUrlLength} characters: https://example.org/hook.`,
    );
  }
  if (url.username !== '' || url.password !== '' || url.hash !== '') {
    throw invalid('url', 'url must have no user, password or fragment: it is shown, and logged by proxies.');
  }
  return url.href;
}

function checkTimeout(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  const { min, max } = webhookTimeoutMs;
  if (typeof value === 'number' && value >= min && value <= max) return Math.round(value);
  throw invalid('timeoutMs', `timeoutMs must be a number from ${min} to ${max}.`);
}

function checkSecret(value: unknown): string {
  if (value === undefined) return makeSecret();
  if (typeof value === 'string' && isSecret(value)) return value;
  throw invalid(
    'secret',
    'secret must be whsec_ and 24 to 64 bytes in base64; leave it out to have one made.',
  );
}

/** `filter` with what `fields` says: a list replaces its part, null takes it away. */
function checkFilter(fields: Fields, filter: WebhookFilter): WebhookFilter {
  const types = checkPart(fields, 'types', filter.types, oneOf<EventType>(eventTypeNames), maxFilterValues);
  const verdicts = checkPart(
    fields,
    'verdicts',
    filter.verdicts,
    oneOf<ToldVerdict>(toldVerdictNames),
    maxFilterValues,
  );
  const isName = (item: unknown): item is string =>
    typeof item === 'string' && item.trim() !== '' && item.length <= 512;
  const machines = checkPart(fields, 'machines', filter.machines, isName, maxWebhookMachines);
  return {
    ...(types === undefined ? {} : { types }),
    ...(machines === undefined ? {} : { machines }),
    ...(verdicts === undefined ? {} : { verdicts }),
  };
}

function oneOf<T extends string>(names: readonly T[]): (item: unknown) => item is T {
  return (item): item is T => names.includes(item as T);
}

function checkPart<T>(
  fields: Fields,
  key: (typeof filterFields)[number],
  before: readonly T[] | undefined,
  isItem: (item: unknown) => item is T,
  max: number,
): readonly T[] | undefined {
  const value = fields[key];
  if (value === undefined) return before;
  if (value === null) return undefined;
  if (!Array.isArray(value) || value.length === 0 || value.length > max) {
    throw invalid(key, `${key} must be a list of 1 to ${max}; leave it out to let all through.`);
  }
  const index = value.findIndex((item) => !isItem(item));
  if (index === -1) return [...new Set(value as T[])];
  const shown = JSON.stringify(value[index])?.slice(0, 64) ?? '';
  throw invalid(`${key}/${index}`, `${shown} is nothing that ${key} can name.`, false);
}

function invalid(field: string, detail: string, escape = true): VmError {
  const pointer = escape ? field.replaceAll('~', '~0').replaceAll('/', '~1') : field;
  return new VmError('VMPULSE_E_REQUEST_INVALID', detail, { field: `/${pointer}` });
}
