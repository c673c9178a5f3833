import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CompleteVmConfiguration } from '@vmpulse/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { configurationOf } from '../../../../../test/contract/hypervisor-under-test.ts';
import { BriskClock } from '../../../../../test/support/brisk-clock.ts';
import { type Command, ScriptedMonitor } from '../../../../../test/support/scripted-monitor.ts';
import { SystemClock } from '../../clock.ts';
import type { ProcessRecord, RunningMachine } from '../hypervisor.ts';
import { QemuHypervisor } from './hypervisor.ts';
import { isAlive } from './proc.ts';
import { SavedState } from './saved-state.ts';

describe('Starting a QEMU that does not start', () => {
  let folder: string;
  const vmId = '0b6f2f0e-8a51-4c0e-9d55-d1f2a3b4c5d6';
  const spawned: ProcessRecord[] = [];
  let clock: BriskClock;

  /** A program that answers the probe and then does as `script` says. */
  const qemuThat = async (script: string): Promise<QemuHypervisor> => {
    const binary = join(folder, `qemu-${crypto.randomUUID()}`);
    const version = 'echo "QEMU emulator version 7.2.22 (Debian)"';
    const probe = `case "$*" in --version) ${version}; exit 0 ;; *probe.rom*) exit 1 ;; esac`;
    await writeFile(binary, `#!/bin/sh\n${probe}\n${script}\n`);
    await chmod(binary, 0o755);
    return new QemuHypervisor({ directory: folder, clock, binary });
  };
  const start = (
    hypervisor: QemuHypervisor,
    change: Partial<CompleteVmConfiguration> = {},
    onSpawned: () => void = () => undefined,
  ): Promise<RunningMachine> =>
    hypervisor.start({
      vmId,
      configuration: configurationOf(change),
      restore: false,
      signal: new AbortController().signal,
      onSpawned: (record) => {
        spawned.push(record);
        onSpawned();
      },
    });

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'qemu-'));
    clock = new BriskClock(50);
    spawned.length = 0;
  });
  afterEach(async () => {
    // One that was killed is gone as soon as it has its turn.
    await expect.poll(() => Promise.all(spawned.map(isAlive))).toEqual(spawned.map(() => false));
    await rm(folder, { recursive: true });
  });

  it('says how to install a QEMU that is missing, and looks again the next time', async () => {
    const binary = join(folder, 'qemu-later');
    const hypervisor = new QemuHypervisor({ directory: folder, clock, binary });
    const words = `${binary} is not installed; install it with: apt-get install qemu-system-x86`;
    await expect(start(hypervisor)).rejects.toMatchObject({ code: 'VMPULSE_E_HYPERVISOR', message: words });
    expect(await hypervisor.probe()).toEqual({ accelerator: null, acceleratorReason: words, version: null });
    await writeFile(binary, '#!/bin/sh\necho "QEMU emulator version 9.1.0"\n');
    await chmod(binary, 0o755);
    expect(await hypervisor.probe()).toMatchObject({ version: '9.1.0' });
  });

  it("gives QEMU's own words and exit status when it refuses its arguments", async () => {
    const hypervisor = await qemuThat(
      'echo "2026-01-01T00:00:00.123456Z qemu: -x: invalid option" >&2; exit 3',
    );
    await expect(start(hypervisor)).rejects.toMatchObject({
      code: 'VMPULSE_E_HYPERVISOR',
      message: 'QEMU ended with exit status 3 before the guest ran; it said: qemu: -x: invalid option',
    });
  });

  it('names the signal of a QEMU that dies at once and says nothing', async () => {
    const hypervisor = await qemuThat('kill -SEGV $$');
    await expect(start(hypervisor)).rejects.toMatchObject({
      message: 'QEMU ended by SIGSEGV before the guest ran; it said nothing',
    });
  });

  it('keeps only the end of what a talkative QEMU said', async () => {
    const hypervisor = await qemuThat('head -c 100000 /dev/zero | tr "\\0" x >&2; echo the end >&2; exit 1');
    const error = await start(hypervisor).catch((thrown: unknown) => thrown);
    expect((error as Error).message).toMatch(/x the end$|xthe end$/);
    expect((error as Error).message.length).toBeLessThan(4_300);
  });

  it('kills a QEMU that never answers', async () => {
    const hypervisor = await qemuThat('exec sleep 1000');
    const started = start(hypervisor, {}, () => clock.hurry());
    await expect(started).rejects.toMatchObject({ code: 'VM_E_TIMED_OUT' });
    expect(spawned).toHaveLength(1);
  });

  it('names the file that is missing, and starts nothing', async () => {
    const hypervisor = await qemuThat('exit 0');
    const boot = { kernel: join(folder, 'no-kernel') };
    await expect(start(hypervisor, { boot })).rejects.toMatchObject({ code: 'E_FILE_NOT_FOUND' });
    await expect(start(hypervisor, { disks: [{ file: '/no/disk' }] })).rejects.toThrow(/no file \/no\/disk/);
    expect(spawned).toEqual([]);
  });

  it("starts it in a session of its own, in the machine's directory, which is the owner's alone", async () => {
    const hypervisor = await qemuThat('pwd >&2; cut -d" " -f 1,6 /proc/$$/stat >&2; exit 1');
    const error = await start(hypervisor).catch((thrown: unknown) => thrown);
    const { directory } = hypervisor.files(vmId);
    const [cwd, ids] = (error as Error).message.replace(/^.*it said: /, '').split('\n');
    expect(cwd).toBe(directory);
    const [pid, session] = (ids ?? '').split(' ');
    expect(session).toBe(pid);
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    expect(await readFile(join(directory, 'qemu.stderr'), 'utf8')).toContain(directory);
  });

  it('takes nothing but a UUID for a path', async () => {
    const hypervisor = await qemuThat('exit 0');
    expect(() => hypervisor.files('../../etc')).toThrow(expect.objectContaining({ code: 'E_INVALIDARG' }));
  });

  it('does not take a data directory whose socket names would be too long', () => {
    const directory = `/${'deep/'.repeat(30)}`;
    expect(() => new QemuHypervisor({ directory, clock: new SystemClock() })).toThrow(
      expect.objectContaining({ code: 'VMPULSE_E_DATA_DIRECTORY' }),
    );
  });
});

describe('Restoring with a QEMU that answers by script', () => {
  const vmId = '7d1c3a52-6f0e-4c55-9b5e-2f7f1c1f4a11';

  it('does not take a state for unspent when it is not known whether its guest ran', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'qemu-'));
    const binary = join(folder, 'qemu');
    const version = 'echo "QEMU emulator version 7.2.22"; exit 0';
    await writeFile(
      binary,
      `#!/bin/sh\ncase "$*" in --version) ${version} ;; *probe.rom*) exit 1 ;; esac\nexec sleep 1000\n`,
    );
    await chmod(binary, 0o755);
    const hypervisor = new QemuHypervisor({ directory: folder, clock: new SystemClock(), binary });
    const { directory, savedState } = hypervisor.files(vmId);
    await mkdir(directory, { recursive: true });
    const state = new SavedState(directory);
    await state.describe(configurationOf(), 'tcg');
    await writeFile(`${savedState}.written`, 'the guest');
    await state.commit();
    const monitor = new ScriptedMonitor();
    const status: Record<string, object> = { 'query-status': { status: 'paused' } };
    monitor.answer = ({ execute, id }: Command) => {
      if (execute !== 'cont') monitor.send(`${JSON.stringify({ return: status[execute] ?? {}, id })}\n`);
    };
    await monitor.listen(join(directory, 'qmp.sock'));
    const start = hypervisor.start({
      vmId,
      configuration: configurationOf(),
      restore: true,
      signal: new AbortController().signal,
      onSpawned: () => undefined,
    });
    await expect(start).rejects.toMatchObject({ code: 'VM_E_TIMED_OUT' });
    expect(monitor.commands.map(({ execute }) => execute)).toContain('cont');
    expect(await hypervisor.hasSavedState(vmId)).toBe(false);
    monitor.close();
    await rm(folder, { recursive: true });
  });
});

describe('Finding machines again', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'qemu-'));
  });
  afterEach(async () => {
    await rm(folder, { recursive: true });
  });

  it('finds a thousand that are off without looking through all processes for each', async () => {
    const hypervisor = new QemuHypervisor({ directory: folder, clock: new SystemClock() });
    const ids = Array.from({ length: 1_000 }, () => crypto.randomUUID());
    for (const id of ids.slice(0, 500)) await mkdir(hypervisor.files(id).directory, { recursive: true });
    // Processor time, so that a busy host does not make it fail; all of it is this process's.
    const begun = process.cpuUsage();
    const found = await Promise.all(ids.map((id) => hypervisor.adopt(id, null)));
    const { user, system } = process.cpuUsage(begun);
    expect(found.every(({ kind }) => kind === 'gone')).toBe(true);
    // It takes 0.15 s; looking through all processes for each of them took 14 s.
    expect((user + system) / 1_000).toBeLessThan(7_000);
  });

  it('finds a process that was started after it had looked for another', async () => {
    const clock = new BriskClock(50);
    clock.hurry();
    const hypervisor = new QemuHypervisor({ directory: folder, clock });
    const ids = [crypto.randomUUID(), crypto.randomUUID()] as const;
    for (const id of ids) await mkdir(hypervisor.files(id).directory, { recursive: true });
    expect((await hypervisor.adopt(ids[0], null)).kind).toBe('gone');
    const { directory } = hypervisor.files(ids[1]);
    // As a QEMU that was started and has not written its pid file yet.
    const child = spawn('sh', ['-c', 'read line', 'qemu', '-uuid', ids[1]], {
      cwd: directory,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    await once(child, 'spawn');
    await expect
      .poll(async () => (await hypervisor.adopt(ids[1], null)).kind, { timeout: 120_000 })
      .toBe('running');
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
});

describe('Probing', () => {
  it('tells the log once which accelerator it uses and why', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'qemu-'));
    const binary = join(folder, 'qemu');
    const version = 'echo "QEMU emulator version 7.2.22"';
    await writeFile(binary, `#!/bin/sh\ncase "$*" in --version) ${version}; exit 0 ;; esac\nexit 1\n`);
    await chmod(binary, 0o755);
    const lines: string[] = [];
    const logger = {
      info: (line: unknown) => void lines.push(String(line)),
      warn: (line: unknown) => void lines.push(String(line)),
    };
    const hypervisor = new QemuHypervisor({ directory: folder, clock: new SystemClock(), binary, logger });
    const [info] = await Promise.all([hypervisor.probe(), hypervisor.probe()]);
    await hypervisor.probe();
    expect(lines).toEqual([`QEMU 7.2.22 runs guests with tcg. ${info.acceleratorReason ?? ''}`]);
    await rm(folder, { recursive: true });
  });
});
