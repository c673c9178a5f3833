import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { ScriptedDisks } from '../../../../test/support/scripted-disks.ts';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { SystemClock } from '../clock.ts';
import { diskLookTimeoutMs, diskPlaceMs, maxHungLooks } from '../limits.ts';
import { DiskLooks, type FileSystemLook } from './disk-looks.ts';

let clock: SimulatedClock;
let disks: ScriptedDisks;
let looks: DiskLooks;

beforeEach(() => {
  clock = new SimulatedClock();
  disks = new ScriptedDisks();
  disks.mount('/', 500);
  looks = new DiskLooks(clock, disks);
});

/** A round, with as much time as it needs; answers what was seen by its path. */
async function look(...paths: string[]): Promise<Record<string, number | string>> {
  const { seen } = await within(looks.look(paths));
  return Object.fromEntries(seen.map((one) => [one.path, one.freeBytes ?? one.trouble]));
}

async function within<T>(round: Promise<T>): Promise<T> {
  const state = { over: false };
  const ended = round.finally(() => {
    state.over = true;
  });
  for (let turn = 0; turn < 50 && !state.over; turn += 1) {
    await clock.settle();
    if (!state.over) await clock.advanceAsync(diskLookTimeoutMs / 10);
  }
  return ended;
}

const hang = (path: string): void => {
  disks.volume(path).hangs = true;
};

describe('a round of looks', () => {
  it('asks each file system for its space once, however many files lie on it', async () => {
    disks.mount('/images', 70);
    expect(await look('/images/a', '/images/b', '/images/c', '/data')).toEqual({ '/images': 70, '/': 500 });
    expect(disks.asked.filter((each) => each.startsWith('space'))).toEqual([
      'space /images/a',
      'space /data',
    ]);
  });

  it('remembers for a time where a file lies, and looks again after it', async () => {
    await look('/a');
    disks.asked = [];
    await look('/a');
    expect(disks.asked).toEqual(['space /a']);
    clock.advance(diskPlaceMs);
    await look('/a');
    expect(disks.asked).toContain('place /a');
  });

  it('follows a link to another file system, and names that', async () => {
    disks.mount('/mnt/big disk', 9);
    disks.links.set('/images', '/mnt/big disk');
    disks.mounts = () => '1 0 8:0 / / rw - ext4 x rw\n2 1 8:1 / /mnt/big\\040disk rw - ext4 x rw';
    expect(await look('/images/a')).toEqual({ '/mnt/big disk': 9 });
  });

  it('leaves out block devices, and says which files are not there', async () => {
    disks.blockDevices.add('/dev/vg/a');
    disks.absent.add('/b');
    const { seen, missing } = await within(looks.look(['/dev/vg/a', '/b']));
    expect(seen).toEqual([]);
    expect([...missing]).toEqual(['/b']);
  });

  it('says why a file system cannot be looked at', async () => {
    disks.volume('/').fails = 'EIO';
    expect(await look('/b/a')).toEqual({ '/b': 'EIO' });
  });
});

describe('a file system that hangs', () => {
  beforeEach(() => {
    disks.mount('/net', 1_000, 'nfs4');
  });

  it('is asked once, however many files are on it and rounds come, while the others are seen', async () => {
    hang('/net');
    const files = Array.from({ length: 50 }, (_one, n) => `/net/${n}/disk`);
    for (let round = 0; round < 5; round += 1) {
      expect(await look(...files, '/data')).toEqual({ '/net': 'it does not answer', '/': 500 });
    }
    expect(disks.waiting).toHaveLength(1);
    expect(disks.asked.filter((each) => each.includes('/net'))).toHaveLength(1);
  });

  it('that hangs after it was seen is known by its device, and is looked at again once it answers', async () => {
    const key = async (): Promise<string | undefined> =>
      (await within(looks.look(['/net/a', '/net/b/c']))).seen.map((one: FileSystemLook) => one.key)[0];
    const before = await key();
    hang('/net');
    expect(await key()).toBe(before);
    expect(await look('/net/a', '/net/b/c')).toEqual({ '/net': 'it does not answer' });
    expect(disks.waiting).toHaveLength(1);
    disks.answer('/net');
    await clock.settle();
    expect(await look('/net/a', '/net/b/c')).toEqual({ '/net': 1_000 });
  });

  it('behind a link beneath the root does not keep the root from being seen', async () => {
    disks.links.set('/images', '/net');
    hang('/net');
    expect(await look('/data', '/images/a')).toEqual({ '/': 500, '/images': 'it does not answer' });
    await look('/images/a', '/images/b', '/data');
    expect(disks.waiting).toHaveLength(1);
  });

  it('beside many others that hang leaves threads to the service', async () => {
    for (let n = 0; n < 9; n += 1) {
      disks.mount(`/more/${n}`, 1, 'nfs');
      hang(`/more/${n}`);
    }
    const seen = await look(...Array.from({ length: 9 }, (_one, n) => `/more/${n}/a`), '/data');
    expect(disks.waiting).toHaveLength(maxHungLooks);
    expect(seen['/']).toBe(500);
  });
});

it('the host itself has free space where this test runs, by whatever way one goes there', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'vmp-'));
  try {
    await symlink(folder, join(folder, 'link'));
    const real = new DiskLooks(new SystemClock());
    const paths = [folder, join(folder, 'link'), join(folder, 'no')];
    const { seen, missing } = await real.look(paths);
    expect(seen).toHaveLength(1);
    expect(seen[0]).toMatchObject({ files: paths.slice(0, 2), trouble: '' });
    expect(seen[0]?.freeBytes).toBeGreaterThan(0);
    expect(folder.startsWith(seen[0]?.path ?? '?')).toBe(true);
    expect([...missing]).toEqual(paths.slice(2));
    // A device whose numbers mountinfo shows otherwise than stat would have no place by its number.
    expect(seen[0]?.key).toMatch(/^\d+:\d+$/u);
  } finally {
    await rm(folder, { recursive: true });
  }
});
