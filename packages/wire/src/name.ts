/** Rules of machine names, those of the original. */
import { VmError } from './error.ts';

/** Longest machine name, characters. */
export const maxNameLength = 256;

const forbidden = /[*?:<>/\\|"]/u;

/**
 * The name as it is kept: surrounding blanks taken off.
 * Errors: VM_E_CONFIG_NO_NAME, VM_E_CONFIG_NAME_TOO_LONG, VM_E_CONFIG_NAME_INVALID_CHAR.
 */
export function checkName(name: unknown): string {
  if (typeof name !== 'string' || name.trim() === '') {
    throw new VmError('VM_E_CONFIG_NO_NAME', 'The machine has no name; give it one of 1 to 256 characters.', {
      field: '/name',
    });
  }
  const trimmed = name.trim();
  if (Array.from(trimmed).length > maxNameLength) {
    throw new VmError(
      'VM_E_CONFIG_NAME_TOO_LONG',
      `The name has ${Array.from(trimmed).length} characters; at most ${maxNameLength} are allowed.`,
      { field: '/name' },
    );
  }
  const bad = forbidden.exec(trimmed)?.[0];
  // Control characters would break logs and terminals; "." and ".." cannot be told from path segments in a URL.
  if (bad !== undefined || /\p{Cc}/u.test(trimmed) || trimmed === '.' || trimmed === '..') {
    const what = bad === undefined ? 'a control character or is a path segment' : `the character ${bad}`;
    throw new VmError(
      'VM_E_CONFIG_NAME_INVALID_CHAR',
      `The name contains ${what}; leave out * ? : < > / \\ | " and control characters.`,
      { field: '/name' },
    );
  }
  return trimmed;
}

/** The form under which names are compared: they are case-insensitive. */
export function nameKey(name: string): string {
  return name.trim().normalize('NFC').toLowerCase();
}
