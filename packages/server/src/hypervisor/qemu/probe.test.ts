import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SimulatedClock } from '../../../../../test/support/simulated-clock.ts';
import { type Clock, SystemClock } from '../../clock.ts';
import { parseVersion, type Probe, probeRom } from './probe.ts';
import { rememberedProbe } from './probe-memory.ts';

describe('The accelerator probe', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'probe-'));
  });
  afterEach(async () => {
    await rm(folder, { recursive: true });
  });

  const probeWith = async (
    guest: string,
    device = '/dev/null',
    clock: Clock = new SystemClock(),
  ): Promise<Probe> => {
    const binary = join(folder, 'qemu');
    const version =
      'if [ "$1" = --version ]; then echo "QEMU emulator version 7.2.22 (Debian x)"; exit 0; fi';
    await writeFile(binary, `#!/bin/sh\n${version}\n${guest}\n`);
    await chmod(binary, 0o755);
    return rememberedProbe(folder, binary, clock, device);
  };

  it('takes kvm when a guest did its work under it', async () => {
    expect(await probeWith('printf V; exit 85')).toEqual({
      accelerator: 'kvm',
      acceleratorReason: null,
      version: '7.2.22',
      lasting: true,
    });
  });

  it.each([
    [
      'QEMU ends otherwise',
      'echo "failed to initialize kvm" >&2; exit 1',
      /did not run under kvm: failed to initialize/,
    ],
    ['the guest ran but never ended its work', 'printf V; exec sleep 60', /more slowly than tcg/],
  ])('takes tcg and says why when %s', async (_title, guest, reason) => {
    const info = await probeWith(guest);
    expect(info.accelerator).toBe('tcg');
    expect(info.acceleratorReason).toMatch(reason);
  });

  it('leaves no guest behind that outlives a service that was killed: it ends by itself', async () => {
    // No deadline of this clock ever comes, as with a service that is gone.
    const info = await probeWith('printf V; exec sleep 60', '/dev/null', new SimulatedClock());
    expect(info.accelerator).toBe('tcg');
  });

  it('takes tcg and says why when it cannot try', async () => {
    const before = process.env['TMPDIR'];
    process.env['TMPDIR'] = join(folder, 'missing');
    try {
      const info = await probeWith('printf V; exit 85');
      expect(info).toMatchObject({ accelerator: 'tcg', lasting: false });
      expect(info.acceleratorReason).toMatch(/could not be tried: ENOENT/);
    } finally {
      if (before === undefined) delete process.env['TMPDIR'];
      else process.env['TMPDIR'] = before;
    }
  });

  it('does not try without the device', async () => {
    const info = await probeWith('exit 85', join(folder, 'kvm'));
    expect(info).toMatchObject({ accelerator: 'tcg' });
    expect(info.acceleratorReason).toMatch(/There is no .*kvm: load kvm_intel/);
  });

  it('makes a firmware that starts at the reset vector with a jump to its code', () => {
    const rom = probeRom();
    expect(rom).toHaveLength(65_536);
    const target = 0xfff0 + 3 + rom.readInt16LE(0xfff1);
    expect(rom[0xfff0]).toBe(0xe9);
    expect(rom.subarray(target, target + 2)).toEqual(Buffer.from([0xb0, 'V'.charCodeAt(0)]));
  });
});

describe('What a probe found', () => {
  let folder: string;
  let binary: string;
  const runs = async (): Promise<number> =>
    (await readFile(join(folder, 'runs'), 'utf8').catch(() => '')).length;
  const install = async (version: string): Promise<void> => {
    const told = `if [ "$1" = --version ]; then echo "QEMU emulator version ${version}"; exit 0; fi`;
    await writeFile(binary, `#!/bin/sh\n${told}\nprintf x >> ${folder}/runs\necho no >&2\nexit 1\n`);
    await chmod(binary, 0o755);
  };
  const probe = (): Promise<Probe> => rememberedProbe(folder, binary, new SystemClock(), '/dev/null');

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'probe-'));
    binary = join(folder, 'qemu');
    await install('7.2.22');
  });
  afterEach(async () => {
    await rm(folder, { recursive: true });
  });

  it('is known to a service that is started again, which runs no guest', async () => {
    const first = await probe();
    expect(first.acceleratorReason).toMatch(/did not run under kvm: no/);
    expect(await probe()).toEqual(first);
    expect(await runs()).toBe(1);
  });

  it('is found out again for another QEMU, after the host booted, and when the file says nothing', async () => {
    await probe();
    await install('9.1.0');
    expect((await probe()).version).toBe('9.1.0');
    expect(await runs()).toBe(2);
    const path = join(folder, 'accelerator.json');
    const kept = await readFile(path, 'utf8');
    await writeFile(path, kept.replace(/"bootId": "[^"]*"/, '"bootId": "another"'));
    await probe();
    expect(await runs()).toBe(3);
    await writeFile(path, 'garbage');
    await probe();
    expect(await runs()).toBe(4);
  });
});

describe('parseVersion', () => {
  it.each([
    ['QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright', '7.2.22'],
    ['QEMU emulator version 10.0', '10.0'],
    ['something else', null],
  ])('reads %j as %j', (text, version) => {
    expect(parseVersion(text)).toBe(version);
  });
});
