import { VmError } from '@vmpulse/wire';
import { describe, expect, it } from 'vitest';
import { socketAddress } from './socket-path.ts';

describe('socketAddress', () => {
  it('takes the absolute path where it is the shorter one', () => {
    expect(socketAddress('/run/a.sock', '/some/where/deep')).toBe('/run/a.sock');
  });

  it('takes the relative path where it is the shorter one', () => {
    expect(socketAddress('/some/where/deep/a.sock', '/some/where')).toBe('deep/a.sock');
  });

  it('reaches a socket whose absolute path is too long from a directory near it', () => {
    const directory = `/${'d'.repeat(150)}`;
    expect(socketAddress(`${directory}/a.sock`, directory)).toBe('a.sock');
  });

  it('counts bytes, not characters, and takes exactly 107 of them', () => {
    const fits = `/${'ü'.repeat(53)}`;
    expect(socketAddress(fits, '/x/y/z')).toBe(fits);
    expect(() => socketAddress(`${fits}a`, '/x/y/z')).toThrow(VmError);
  });

  it('says what to do when both are too long', () => {
    const attempt = () => socketAddress(`/${'d'.repeat(120)}/a.sock`, '/elsewhere');
    expect(attempt).toThrow(expect.objectContaining({ code: 'VMPULSE_E_DATA_DIRECTORY' }));
    expect(attempt).toThrow(/shorter path \(--data DIR\)/);
  });
});
