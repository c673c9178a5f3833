import { describe, expect, it } from 'vitest';
import { checkName, maxNameLength, nameKey } from './name.ts';

describe('a name', () => {
  it.each(['web-1', ' web 1 ', 'ü ☃ 漢字', 'a'.repeat(256), '😀'.repeat(256), '...', '%2F', "o'clock"])(
    'may be %j',
    (name) => {
      expect(checkName(name)).toBe(name.trim());
    },
  );

  it.each<[unknown, string]>([
    [undefined, 'VM_E_CONFIG_NO_NAME'],
    [7, 'VM_E_CONFIG_NO_NAME'],
    ['', 'VM_E_CONFIG_NO_NAME'],
    [' \t', 'VM_E_CONFIG_NO_NAME'],
    ['a'.repeat(maxNameLength + 1), 'VM_E_CONFIG_NAME_TOO_LONG'],
    ...Array.from('*?:<>/\\|"', (bad): [unknown, string] => [`a${bad}b`, 'VM_E_CONFIG_NAME_INVALID_CHAR']),
    ['a\u0000b', 'VM_E_CONFIG_NAME_INVALID_CHAR'],
    ['a\u001bb', 'VM_E_CONFIG_NAME_INVALID_CHAR'],
    ['a\u009bb', 'VM_E_CONFIG_NAME_INVALID_CHAR'],
    ['.', 'VM_E_CONFIG_NAME_INVALID_CHAR'],
    ['..', 'VM_E_CONFIG_NAME_INVALID_CHAR'],
  ])('may not be %j: %s', (name, code) => {
    expect(() => checkName(name)).toThrow(expect.objectContaining({ code, field: '/name' }));
  });

  it('is compared in any case and any way to write its accents', () => {
    expect(nameKey('WEB-1 ')).toBe(nameKey('web-1'));
    expect(nameKey('NAI\u0308VE')).toBe(nameKey('naïve'));
    expect(nameKey('web-1')).not.toBe(nameKey('web-2'));
  });
});
