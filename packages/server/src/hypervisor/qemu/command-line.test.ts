import type { CompleteVmConfiguration } from '@vmpulse/wire';
import { describe, expect, it } from 'vitest';
import { configurationOf } from '../../../../../test/contract/hypervisor-under-test.ts';
import { diskFormat, macAddress, qemuArguments } from './command-line.ts';

const vmId = '0b6f2f0e-8a51-4c0e-9d55-d1f2a3b4c5d6';

function argumentsOf(
  change: Partial<CompleteVmConfiguration>,
  more: { accelerator?: 'kvm' | 'tcg'; restore?: boolean } = {},
): string[] {
  return qemuArguments({
    vmId,
    configuration: configurationOf(change),
    accelerator: more.accelerator ?? 'tcg',
    restore: more.restore ?? false,
  });
}

/** Values of every occurrence of an option. */
function valuesOf(list: readonly string[], option: string): string[] {
  return list.flatMap((each, index) => (each === option ? [list[index + 1] ?? ''] : []));
}

const valueTable: [title: string, change: Partial<CompleteVmConfiguration>, option: string, value: string][] =
  [
    ['the name', { name: 'web-1' }, '-name', 'guest=web-1,debug-threads=on'],
    ['a comma in the name, doubled', { name: 'a,b=c d' }, '-name', 'guest=a,,b=c d,debug-threads=on'],
    ['the id', {}, '-uuid', vmId],
    ['memory', { memoryMiB: 1_536 }, '-m', 'size=1536M'],
    ['processors', { cpus: 7 }, '-smp', 'cpus=7'],
    ['no screen by default', {}, '-display', 'none'],
    ['VNC when asked', { vnc: true }, '-vnc', 'unix:vnc.sock'],
    ['the kernel', { boot: { kernel: '/a,b' } }, '-kernel', '/a,b'],
    ['the initrd', { boot: { kernel: '/k', initrd: '/i' } }, '-initrd', '/i'],
    [
      'the kernel command line as it is',
      { boot: { kernel: '/k', cmdline: 'a=1, b "c"' } },
      '-append',
      'a=1, b "c"',
    ],
    ['what outlives the guest', {}, '-action', 'panic=pause,reboot=reset,shutdown=pause,watchdog=none'],
    [
      'the watchdog action',
      { watchdog: { model: 'i6300esb', action: 'pause' } },
      '-action',
      'panic=pause,reboot=reset,shutdown=pause,watchdog=pause',
    ],
    [
      'the watchdog',
      { watchdog: { model: 'i6300esb', action: 'reset' } },
      '-device',
      'i6300esb,id=watchdog0,addr=0x6',
    ],
    ['the panic device', {}, '-device', 'pvpanic-pci,addr=0x5'],
    [
      'the heartbeat port',
      {},
      '-device',
      'virtserialport,bus=vserial0.0,nr=1,id=heartbeat,chardev=heartbeat,name=org.vmpulse.heartbeat.0',
    ],
    [
      'the agent port',
      {},
      '-device',
      'virtserialport,bus=vserial0.0,nr=2,id=agent,chardev=agent,name=org.qemu.guest_agent.0',
    ],
    [
      'the serial log',
      {},
      '-chardev',
      'socket,id=serial0,path=serial.sock,server=on,wait=off,logfile=serial.log,logappend=on',
    ],
    ['a monitor for operators', {}, '-chardev', 'socket,id=operator,path=operator.sock,server=on,wait=off'],
    ['the monitor', {}, '-chardev', 'socket,id=qmp,path=qmp.sock,server=on,wait=off'],
    ['NAT', { networks: [{ type: 'user' }] }, '-netdev', 'user,id=net0'],
    [
      'a tap',
      { networks: [{ type: 'tap', device: 'tap,1' }] },
      '-netdev',
      'tap,id=net0,ifname=tap,,1,script=no,downscript=no',
    ],
    ['a bridge', { networks: [{ type: 'bridge', device: 'br0' }] }, '-netdev', 'bridge,id=net0,br=br0'],
  ];

const diskTable: [title: string, disk: CompleteVmConfiguration['disks'][number], node: object][] = [
  ['raw by default', { file: '/d.img' }, { driver: 'raw', file: { driver: 'file', filename: '/d.img' } }],
  ['qcow2 by its ending', { file: '/d.QCOW2' }, { driver: 'qcow2' }],
  ['vhd by its ending', { file: '/d.vhd' }, { driver: 'vpc' }],
  ['the format as configured', { file: '/d.vhd', format: 'raw' }, { driver: 'raw' }],
  ['read-only', { file: '/d', readOnly: true }, { 'read-only': true }],
  ['writable by default', { file: '/d' }, { 'read-only': false }],
  ['a file name with commas', { file: '/a,b=",c' }, { file: { driver: 'file', filename: '/a,b=",c' } }],
  ['a block device', { file: '/dev/vg/lv' }, { file: { driver: 'host_device', filename: '/dev/vg/lv' } }],
];

describe('The QEMU command line', () => {
  it.each(valueTable)('gives %s', (_title, change, option, value) => {
    expect(valuesOf(argumentsOf(change), option)).toContain(value);
  });

  it.each(diskTable)('gives a disk: %s', (_title, disk, node) => {
    const [value] = valuesOf(argumentsOf({ disks: [disk] }), '-blockdev');
    expect(JSON.parse(value ?? '')).toMatchObject({ 'node-name': 'disk0', ...node });
  });

  it('uses kvm with the processor of the host, and tcg with all it can emulate', () => {
    expect(valuesOf(argumentsOf({}, { accelerator: 'kvm' }), '-machine')).toEqual(['q35,accel=kvm']);
    expect(valuesOf(argumentsOf({}, { accelerator: 'kvm' }), '-cpu')).toEqual(['host']);
    expect(valuesOf(argumentsOf({}, { accelerator: 'kvm' }), '-d')).toEqual([]);
    expect(valuesOf(argumentsOf({}), '-d')).toEqual(['cpu_reset']);
    expect(valuesOf(argumentsOf({}), '-D')).toEqual(['cpu-reset.log']);
    expect(valuesOf(argumentsOf({}), '-cpu')).toEqual(['max']);
  });

  it('starts stopped, so that no event is missed, and takes a saved state when told', () => {
    expect(argumentsOf({})).toContain('-S');
    expect(valuesOf(argumentsOf({}), '-incoming')).toEqual([]);
    expect(valuesOf(argumentsOf({}, { restore: true }), '-incoming')).toEqual(['defer']);
  });

  it('adds nothing of its own and reads no configuration of the host', () => {
    expect(argumentsOf({}).slice(0, 2)).toEqual(['-nodefaults', '-no-user-config']);
  });

  it('gives a screen only to what may need one', () => {
    const screens = (change: Partial<CompleteVmConfiguration>): number =>
      valuesOf(argumentsOf(change), '-device').filter((device) => device.startsWith('VGA')).length;
    expect(screens({ boot: { kernel: '/k' } })).toBe(0);
    expect(screens({ boot: { kernel: '/k' }, vnc: true })).toBe(1);
    expect(screens({})).toBe(1);
  });

  it('puts every device of the largest machine at an address of its own', () => {
    const devices = valuesOf(
      argumentsOf({
        vnc: true,
        watchdog: { model: 'i6300esb', action: 'none' },
        disks: Array.from({ length: 24 }, (_unused, index) => ({
          file: `/d${index}`,
          bus: index < 12 ? ('virtio' as const) : ('ide' as const),
        })),
        networks: Array.from({ length: 8 }, () => ({ type: 'user' as const })),
      }),
      '-device',
    );
    const places = devices.flatMap(
      (device) => /(?:addr|bus=(?:ide|ahci\d)\.)=?[^,]+/.exec(device)?.[0] ?? [],
    );
    expect(new Set(places).size).toBe(places.length);
    expect(devices.filter((device) => device.startsWith('ide-hd'))).toHaveLength(12);
    expect(devices.filter((device) => device.startsWith('virtio-blk-pci'))).toHaveLength(12);
    expect(devices.filter((device) => device.startsWith('ich9-ahci'))).toHaveLength(1);
    const order = devices.flatMap((device) => /bootindex=(\d+)/.exec(device)?.[1] ?? []).map(Number);
    expect(order.toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: 24 }, (_unused, index) => index + 1),
    );
  });
});

describe('macAddress', () => {
  it("is QEMU's prefix and a hash of the machine and the adapter", () => {
    const first = macAddress(vmId, 0, { type: 'user' });
    expect(first).toMatch(/^52:54:00(:[\da-f]{2}){3}$/);
    expect(macAddress(vmId, 0, { type: 'tap', device: 'x' })).toBe(first);
    expect(macAddress(vmId, 1, { type: 'user' })).not.toBe(first);
    expect(macAddress(crypto.randomUUID(), 0, { type: 'user' })).not.toBe(first);
  });

  it('is the configured one where there is one', () => {
    expect(macAddress(vmId, 0, { type: 'user', mac: '52:54:00:12:34:56' })).toBe('52:54:00:12:34:56');
  });
});

describe('diskFormat', () => {
  it('goes by the ending of the name, whatever its case', () => {
    expect(diskFormat({ file: '/a.b/c' })).toBe('raw');
    expect(diskFormat({ file: '/a.qcow2' })).toBe('qcow2');
  });
});
