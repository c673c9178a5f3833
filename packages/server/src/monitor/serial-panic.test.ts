import { describe, expect, test } from 'vitest';
import { kernelPanicIn } from './serial-panic.ts';

const linux = [
  '[    1.000000] Linux version 6.1.0-cloud-amd64',
  '[   90.100000] sysrq: Trigger a crash',
  '[   90.100100] Kernel panic - not syncing: sysrq triggered crash',
  '[   90.100200] CPU: 0 PID: 77 Comm: sh',
  '[   90.200000] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---',
  '',
].join('\r\n');

describe('the end of a serial log', () => {
  test.each([
    ['of Linux', linux, 'sysrq triggered crash ]---'],
    ['of Linux that printed no end yet', linux.slice(0, linux.indexOf('CPU:')), 'sysrq triggered crash'],
    ['of FreeBSD', 'login: \r\npanic: ufs_dirbad: /: bad dir\r\ncpuid = 0\r\n', 'ufs_dirbad: /: bad dir'],
    ['cut off within its text', 'Kernel panic - not sync', null],
    ['that says no more', 'Kernel panic - not syncing: \n', 'kernel panic'],
    ['of a healthy guest', 'Debian GNU/Linux 12 guest ttyS0\r\n\r\nlogin: ', null],
    ['of nothing', '', null],
    ['that somebody quotes within a line', 'echo do not panic: it is fine\n', null],
  ])('%s', (_name, tail, found) => {
    expect(kernelPanicIn(tail)).toBe(found);
  });

  test.each([
    'SeaBIOS (version 1.16.2)',
    '[    0.000000] Linux version 6.1.0',
    'Welcome to GNU GRUB',
    'BdsDxe: loading Boot0001',
  ])('is no panic when the guest boots again after it: %s', (line) => {
    expect(kernelPanicIn(`${linux}\n${line}\n`)).toBeNull();
  });

  test('is printable and bounded whatever the guest prints', () => {
    const found = kernelPanicIn(`Kernel panic - not syncing: \u001b[31m${'x'.repeat(5_000)}\u0007\n`);
    expect(found).toMatch(/^\[31mx{156}$/u);
  });
});
