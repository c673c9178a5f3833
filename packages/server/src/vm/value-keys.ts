/** A machine's values by slash path: the original's heartbeat keys, and the user's own. */
import { VmError } from '@vmpulse/wire';
import { didYouMean } from './suggestion.ts';

/** What a value can be, as in the original: a string, an unsigned 32-bit number or a boolean. */
export type ConfigurationValue = string | number | boolean;

/** Folder of the original's heartbeat keys; nothing else may stand in it, so that a misspelt one is found. */
const classicFolder = 'integration/microsoft/heartbeat/';
const classicKeys = ['time', 'rate', 'failure_interval', 'failure_attempts'].map(
  (key) => classicFolder + key,
);

const maxKeyLength = 255;
const maxValues = 1_000;
const maxTextLength = 8_192;
/** All of them as JSON, UTF-8 bytes: they are stored anew with every change of a machine's state. */
const maxValuesBytes: number = 64 * 1024;
const maxUnsigned32 = 0xffffffff;

/** The values, checked. Errors: VM_E_PREF_ILLEGAL_VALUE with `field`. */
export function checkValues(values: unknown): Record<string, ConfigurationValue> {
  if (values === undefined) return {};
  if (typeof values !== 'object' || values === null || Array.isArray(values)) {
    throw illegal('/values', 'values must be an object of slash paths, such as {"owner/team": "web"}.');
  }
  const entries = Object.entries(values);
  if (entries.length > maxValues) {
    throw illegal('/values', `values has ${entries.length} keys; at most 1,000 are allowed.`);
  }
  const bytes = Buffer.byteLength(JSON.stringify(values));
  if (bytes > maxValuesBytes) {
    throw illegal(
      '/values',
      `values takes ${bytes} bytes as JSON; at most 65,536 are allowed. Keep less in it.`,
    );
  }
  return Object.fromEntries(entries.map(([key, value]) => [checkKey(key), checkValue(key, value)]));
}

/** JSON pointer of a value's key. */
function valuePointer(key: string): string {
  return `/values/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
}

function checkKey(key: string): string {
  const field = valuePointer(key.slice(0, maxKeyLength));
  const { length } = Array.from(key);
  if (length > maxKeyLength)
    throw illegal(field, `A key of values has ${length} characters; at most 255 are allowed.`);
  if (key === '__proto__' || key.includes('\\') || /\p{Cc}/u.test(key) || key.split('/').includes('')) {
    const rule = 'names joined by single slashes, without backslashes or control characters';
    throw illegal(field, `'${key}' is no key; write ${rule}, such as owner/team.`);
  }
  if (key.toLowerCase().startsWith(classicFolder) && !classicKeys.includes(key)) {
    throw illegal(field, `There is no heartbeat key '${key}'${didYouMean(key, classicKeys) || '.'}`);
  }
  return key;
}

function checkValue(key: string, value: unknown): ConfigurationValue {
  const field = valuePointer(key);
  if (classicKeys.includes(key)) {
    if (isUnsigned32(value) && value > 0) return value;
    throw illegal(field, `${key} must be a whole number from 1 to 4,294,967,295.`);
  }
  if (typeof value === 'boolean' || isUnsigned32(value)) return value;
  if (typeof value === 'string' && value.length <= maxTextLength) return value;
  const kinds = 'a string of at most 8,192 characters, a whole number from 0 to 4,294,967,295, true or false';
  throw illegal(field, `The value of ${key} must be ${kinds}.`);
}

function isUnsigned32(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= maxUnsigned32;
}

function illegal(field: string, detail: string): VmError {
  return new VmError('VM_E_PREF_ILLEGAL_VALUE', detail, { field });
}
