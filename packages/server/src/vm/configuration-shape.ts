/** What every part of a configuration is read with: shapes that refuse what they do not know, in plain sentences. */
import { VmError } from '@vmpulse/wire';
import { z } from 'zod';
import { didYouMean } from './suggestion.ts';

/** An object that refuses what it does not know, by name. */
export const strict = <T extends z.ZodRawShape>(shape: T): z.ZodObject<T, z.core.$strict> =>
  z.strictObject(shape, {
    error: (issue) => {
      if (issue.code !== 'unrecognized_keys') return 'must be an object.';
      const [key = ''] = issue.keys;
      return `There is no property '${key}'${didYouMean(key, Object.keys(shape)) || '; leave it out.'}`;
    },
  });

/** A whole number within bounds. */
export const whole = (least: number, most: number): z.ZodInt => {
  const number = new Intl.NumberFormat('en-US');
  const error = `must be a whole number from ${number.format(least)} to ${number.format(most)}.`;
  return z.int({ error }).min(least, { error }).max(most, { error });
};

/** True or false. */
export const flag: z.ZodBoolean = z.boolean({ error: 'must be true or false.' });

/** One of some words. */
export const oneOf = <const T extends readonly [string, ...string[]]>(
  ...words: T
): z.ZodEnum<{ [K in T[number]]: K }> => {
  const list = words.map((word) => `'${word}'`).join(', ');
  return z.enum(words, { error: words.length === 1 ? `must be ${list}.` : `must be one of ${list}.` });
};

/** What was found wrong, as VM_E_PREF_ILLEGAL_VALUE with the field at fault. */
export function violation(issues: readonly z.core.$ZodIssue[]): VmError {
  const issue = issues.find((each) => each.code === 'unrecognized_keys') ?? issues[0];
  const path = (issue?.path ?? []).map(String);
  const unknown = issue?.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
  const field = [...path, ...(unknown === undefined ? [] : [unknown])];
  const where = path.join('/');
  const prefix = where === '' ? '' : unknown === undefined ? `${where} ` : `${where}: `;
  return illegal(pointer(field), prefix + (issue?.message ?? 'The configuration is not valid.'));
}

function pointer(path: readonly string[]): string {
  return path.map((part) => `/${part.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

/** VM_E_PREF_ILLEGAL_VALUE. */
export function illegal(field: string, detail: string): VmError {
  return new VmError('VM_E_PREF_ILLEGAL_VALUE', detail, { field });
}
