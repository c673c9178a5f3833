import { VmError, type VmConfiguration } from '@vmpulse/wire';
import { describe, expect, it } from 'vitest';
import { changedKeys, hardwareDiffers } from './configuration-change.ts';
import { changedConfiguration, completeConfiguration } from './configuration.ts';

const id = '6f1c2f0e-7f0f-4a57-9f5e-0d8c5b1f3a10';
const complete = (configuration: object): ReturnType<typeof completeConfiguration> =>
  completeConfiguration({ name: 'web-1', ...configuration }, id);

function refusalOf(configuration: unknown): VmError {
  try {
    completeConfiguration(configuration, id);
  } catch (error) {
    if (error instanceof VmError) return error;
    throw error;
  }
  throw new Error(`It was taken: ${JSON.stringify(configuration)}`);
}

it('a name is enough: every default is filled in', () => {
  expect(completeConfiguration({ name: ' web-1 ' }, id)).toEqual({
    name: 'web-1',
    memoryMiB: 512,
    cpus: 1,
    boot: null,
    disks: [],
    networks: [],
    vnc: false,
    watchdog: null,
    heartbeat: {
      intervalMs: 1_000,
      patience: { spinningMs: 10_000, busyMs: 60_000, additionsStoppedMs: 10_000 },
      bootWindowMaxMs: 600_000,
      watch: true,
    },
    recovery: { action: 'default' },
    autostart: { action: 'never', delaySeconds: 0 },
    shutdownActionOnQuit: 'leaveRunning',
    notes: '',
    values: {},
  });
});

it('a complete configuration is taken as it is', () => {
  const once = complete({
    boot: { kernel: '/boot/vmlinuz', initrd: '/boot/initrd', cmdline: 'console=ttyS0' },
    disks: [{ file: '/a.qcow2' }, { file: '/b.VHD', bus: 'ide' }, { file: '/c.img', readOnly: true }],
    networks: [{ type: 'user' }, { type: 'tap', device: 'tap0', mac: '52:54:00:AB:CD:EF' }],
    watchdog: { model: 'i6300esb', action: 'pause' },
    values: { 'integration/microsoft/heartbeat/rate': 10, 'owner/team': 'web', flag: true, 'a/b': 0 },
  });
  expect(once.disks.map(({ format }) => format)).toEqual(['qcow2', 'vpc', 'raw']);
  expect(once.networks[0]?.mac).toMatch(/^52:54:00(:[0-9a-f]{2}){3}$/);
  expect(once.networks[1]?.mac).toBe('52:54:00:ab:cd:ef');
  expect(completeConfiguration(once, id)).toEqual(once);
  expect(complete({ networks: [{ type: 'user' }] }).networks).toEqual([once.networks[0]]);
});

describe('what breaks a rule is refused with its field', () => {
  const disk = { file: '/a' };
  const key = 'integration/microsoft/heartbeat/';
  it.each<[object, string, RegExp]>([
    [{ memoryMiB: 15 }, '/memoryMiB', /from 16 to 16,777,216/],
    [{ memoryMiB: 16_777_217 }, '/memoryMiB', /from 16 to 16,777,216/],
    [{ memoryMiB: 16.5 }, '/memoryMiB', /whole number/],
    [{ memoryMiB: '512' }, '/memoryMiB', /whole number/],
    [{ memoryMiB: null }, '/memoryMiB', /whole number/],
    [{ cpus: 0 }, '/cpus', /from 1 to 255/],
    [{ cpus: 256 }, '/cpus', /from 1 to 255/],
    [{ boot: {} }, '/boot/kernel', /absolute path/],
    [{ boot: { kernel: 'vmlinuz' } }, '/boot/kernel', /absolute path/],
    [{ boot: { kernel: '/k', initrd: './i' } }, '/boot/initrd', /absolute path/],
    [{ boot: { kernel: '/k', cmdline: 'a\0b' } }, '/boot/cmdline', /NUL/],
    [{ disks: {} }, '/disks', /list of at most 24/],
    [{ disks: Array.from({ length: 25 }, () => disk) }, '/disks', /at most 24/],
    [{ disks: [disk, { file: 'b' }] }, '/disks/1/file', /absolute path/],
    [{ disks: [disk, disk] }, '/disks/1/file', /attached twice/],
    [{ disks: [{ file: '/a', format: 'vmdk' }] }, '/disks/0/format', /'qcow2', 'raw', 'vpc'/],
    [{ disks: [{ file: '/a', bus: 'scsi' }] }, '/disks/0/bus', /'virtio', 'ide'/],
    [{ disks: [{ file: '/a', readOnly: 1 }] }, '/disks/0/readOnly', /true or false/],
    [{ disks: [{ file: '/a', readOnly: true, bus: 'ide' }] }, '/disks/0/readOnly', /virtio/],
    [{ disks: [1, 2, 3, 4, 5].map((n) => ({ file: `/${n}`, bus: 'ide' })) }, '/disks/4/bus', /IDE takes 4/],
    [{ networks: Array.from({ length: 9 }, () => ({ type: 'user' })) }, '/networks', /at most 8/],
    [{ networks: [{ type: 'nat' }] }, '/networks/0/type', /'user', 'tap', 'bridge'/],
    [{ networks: [{ type: 'tap' }] }, '/networks/0/device', /missing/],
    [{ networks: [{ type: 'user', device: 'tap0' }] }, '/networks/0/device', /leave it out/],
    [{ networks: [{ type: 'tap', device: 'a,script=/x' }] }, '/networks/0/device', /1 to 15 letters/],
    [{ networks: [{ type: 'user', mac: '53:54:00:12:34:56' }] }, '/networks/0/mac', /one adapter/],
    [{ vnc: 'yes' }, '/vnc', /true or false/],
    [{ watchdog: { model: 'ib700', action: 'reset' } }, '/watchdog/model', /'i6300esb'/],
    [{ watchdog: { model: 'i6300esb' } }, '/watchdog/action', /one of/],
    [{ heartbeat: { intervalMs: 99 } }, '/heartbeat/intervalMs', /from 100 to 60,000/],
    [{ heartbeat: { intervalMs: 60_001 } }, '/heartbeat/intervalMs', /from 100 to 60,000/],
    [{ heartbeat: { bootWindowMaxMs: 9_999 } }, '/heartbeat/bootWindowMaxMs', /from 10,000 to 3,600,000/],
    [{ heartbeat: { patience: { busyMs: -1 } } }, '/heartbeat/patience/busyMs', /whole number/],
    [{ recovery: { action: 'pray' } }, '/recovery/action', /'none', 'notify'/],
    [{ recovery: { action: 'reset', attempts: 0 } }, '/recovery/attempts', /from 1 to 100/],
    [{ recovery: { action: 'reset', atOnce: 1 } }, '/recovery/atOnce', /no property 'atOnce'/],
    [{ autostart: { action: 'sometimes' } }, '/autostart/action', /'never', 'always'/],
    [{ autostart: { action: 'always', delaySeconds: -1 } }, '/autostart/delaySeconds', /whole number/],
    [{ shutdownActionOnQuit: 'kill' }, '/shutdownActionOnQuit', /'leaveRunning'/],
    [{ notes: 'x'.repeat(16_385) }, '/notes', /at most 16384/],
    [{ values: [] }, '/values', /object/],
    [
      { values: { [`${key}rate`]: 0 } },
      '/values/integration~1microsoft~1heartbeat~1rate',
      /from 1 to 4,294,967,295/,
    ],
    [{ values: { [`${key}time`]: '60' } }, '/values/integration~1microsoft~1heartbeat~1time', /whole number/],
    [
      { values: { [`${key}time`]: 2 ** 32 } },
      '/values/integration~1microsoft~1heartbeat~1time',
      /whole number/,
    ],
    [
      { values: { [`${key}rates`]: 5 } },
      '/values/integration~1microsoft~1heartbeat~1rates',
      /did you mean .*\/rate'/,
    ],
    [{ values: { 'a//b': 1 } }, '/values/a~1~1b', /single slashes/],
    [{ values: { 'a\\b': 1 } }, '/values/a\\b', /backslashes/],
    [{ values: { ['x'.repeat(256)]: 1 } }, `/values/${'x'.repeat(255)}`, /256 characters/],
    [{ values: { a: -1 } }, '/values/a', /whole number from 0/],
    [{ values: { a: {} } }, '/values/a', /a string/],
    [{ memoryMib: 512 }, '/memoryMib', /no property 'memoryMib'; did you mean 'memoryMiB'\?/],
    [{ colour: 'red' }, '/colour', /no property 'colour'; leave it out/],
    [
      { boot: { kernel: '/k', comandline: '' } },
      '/boot/comandline',
      /boot: There is no property 'comandline'/,
    ],
    [{ heartbeat: { patience: { bussyMs: 1 } } }, '/heartbeat/patience/bussyMs', /did you mean 'busyMs'/],
  ])('%j', (configuration, field, sentence) => {
    const error = refusalOf({ name: 'web-1', ...configuration });
    expect(error.code).toBe('VM_E_PREF_ILLEGAL_VALUE');
    expect(error.field).toBe(field);
    expect(error.message).toMatch(sentence);
  });

  it.each([
    [{}, 'VM_E_CONFIG_NO_NAME'],
    [{ name: ' ' }, 'VM_E_CONFIG_NO_NAME'],
    [{ name: 'x'.repeat(257) }, 'VM_E_CONFIG_NAME_TOO_LONG'],
    [{ name: 'a/b' }, 'VM_E_CONFIG_NAME_INVALID_CHAR'],
  ])('%j: %s', (configuration, code) => {
    expect(refusalOf(configuration)).toMatchObject({ code, field: '/name' });
  });

  it.each([null, [], 'web-1', 7])('%j is no configuration', (configuration) => {
    expect(refusalOf(configuration).code).toBe('VM_E_PREF_ILLEGAL_VALUE');
  });

  it('a prototype cannot be smuggled in', () => {
    const configuration: unknown = JSON.parse('{"name":"a","values":{"__proto__":1}}');
    expect(refusalOf(configuration).message).toMatch(/no key/);
    expect(refusalOf(JSON.parse('{"name":"a","__proto__":{"x":1}}')).field).toBe('/__proto__');
  });
});

describe('a change', () => {
  const current = complete({
    boot: { kernel: '/k' },
    heartbeat: { intervalMs: 2_000 },
    values: { 'owner/team': 'web', stays: 1 },
  });

  it('replaces what it names, keeps the rest, and null takes away', () => {
    const changed = changedConfiguration(
      current,
      { boot: null, cpus: 2, values: { 'owner/team': null, added: true } },
      id,
    );
    expect(changed).toEqual({ ...current, boot: null, cpus: 2, values: { stays: 1, added: true } });
  });

  it('is told key by key, value keys as they are', () => {
    const change = { cpus: 2, heartbeat: { intervalMs: 500 }, values: { 'owner/team': null, added: true } };
    const changed = changedConfiguration(current, change, id);
    expect(changedKeys(current, changed)).toEqual([
      { key: 'cpus', value: 2, hardware: true },
      { key: 'heartbeat/intervalMs', value: 500, hardware: false },
      { key: 'owner/team', value: null, hardware: false },
      { key: 'added', value: true, hardware: false },
    ]);
    expect(hardwareDiffers(current, changed)).toBe(true);
    expect(hardwareDiffers(current, { ...changed, cpus: 1 })).toBe(false);
  });

  it.each<[unknown, string]>([
    [{ cpus: 0 }, '/cpus'],
    [{ cpu: 2 }, '/cpu'],
    [{ values: 'x' }, '/values'],
    [{ name: '' }, '/name'],
    [null, ''],
  ])('%j is checked as a configuration is', (change, field) => {
    expect(() => changedConfiguration(current, change as VmConfiguration, id)).toThrow(
      expect.objectContaining({ field }),
    );
  });
});
