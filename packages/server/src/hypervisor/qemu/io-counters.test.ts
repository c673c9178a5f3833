import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { diskOperationsOf, packetsSentBy, tapDevices, tapNameIn } from './io-counters.ts';

const drive = (change: object = {}): object => ({
  device: '',
  qdev: '/machine/peripheral/disk0-device/virtio-backend',
  stats: { rd_operations: 1, wr_operations: 20, flush_operations: 300, unmap_operations: 4_000, ...change },
});

describe('Disk operations', () => {
  it('are the sum of what all drives did, and null without a drive', () => {
    expect(diskOperationsOf([drive(), drive({ rd_operations: 2 })])).toBe(8_643);
    expect(diskOperationsOf([])).toBeNull();
  });

  it('are counted where QEMU does not count discards yet', () => {
    expect(diskOperationsOf([drive({ unmap_operations: undefined })])).toBe(321);
  });

  it.each([
    ['no list', {}],
    ['nothing', undefined],
    ['a drive without statistics', [{}]],
    ['a drive that is null', [null]],
    ['a missing counter', [drive({ wr_operations: undefined })]],
    ['a negative one', [drive({ rd_operations: -1 })]],
    ['half an operation', [drive({ rd_operations: 0.5 })]],
    ['a text', [drive({ flush_operations: '3' })]],
    ['a number too large to count with', [drive({ rd_operations: 2 ** 60 })]],
    ['discards that are no number', [drive({ unmap_operations: null })]],
    ['one bad drive among good ones', [drive(), drive({ rd_operations: null })]],
  ])('are refused for %s', (_title, answer) => {
    expect(() => diskOperationsOf(answer)).toThrow(/does not understand/);
  });
});

describe('Packets sent', () => {
  it('are what came in by all taps; null without a tap, or when one can not be read', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'net-'));
    for (const [name, text] of [
      ['tap0', '40\n'],
      ['tap1', '2\n'],
      ['tap2', 'many\n'],
    ] as const) {
      await mkdir(join(folder, name, 'statistics'), { recursive: true });
      await writeFile(join(folder, name, 'statistics', 'rx_packets'), text);
    }
    expect(packetsSentBy(['tap0', 'tap1'], folder)).toBe(42);
    expect(packetsSentBy([], folder)).toBeNull();
    expect(packetsSentBy(['tap0', 'tap3'], folder)).toBeNull();
    expect(packetsSentBy(['tap0', 'tap2'], folder)).toBeNull();
    await rm(folder, { recursive: true });
  });

  it.each([
    ['pos:\t0\nflags:\t0104002\nmnt_id:\t24\nino:\t90\niff:\ttap0\n', 'tap0'],
    ['pos:\t0\nflags:\t0104002\n', null],
    ['iff:\t\n', null],
    ['iff:\t..\n', null],
    ['iff:\ta/b\n', null],
    ['iff:\tabcdefghijklmnop\n', null],
  ])('are looked up by the name the kernel gives: %j', (fdinfo, name) => {
    expect(tapNameIn(fdinfo)).toBe(name);
  });

  it('are of no tap where a process has none, or is gone', () => {
    expect(tapDevices(process.pid)).toEqual([]);
    expect(tapDevices(2 ** 22 + 1)).toEqual([]);
  });
});
