import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it, vi } from 'vitest';
import { SystemClock } from '../../clock.ts';
import type { ProcessRecord } from '../hypervisor.ts';
import { bootId, isAlive, parseStat, readStat, sampleProcess } from './proc.ts';
import { killProcess } from './process.ts';

const tail = '1 1 1 0 -1 4194304 100 0 0 0 12 3 0 0 20 0 4 0 258078 1 2';

describe('parseStat', () => {
  it.each([
    ['a plain name', `42 (qemu) S ${tail}`, 'qemu'],
    ['spaces', `42 (CPU 0/TCG) S ${tail}`, 'CPU 0/TCG'],
    ['parentheses', `42 (a) R (b)) S ${tail}`, 'a) R (b)'],
    ['nothing', `42 () S ${tail}`, ''],
    ['a line break', `42 (a\nb) S ${tail}`, 'a\nb'],
  ])('takes a name of %s', (_title, text, comm) => {
    expect(parseStat(text)).toEqual({ comm, state: 'S', cpuTicks: 15, startTicks: 258_078 });
  });

  it.each([
    '',
    '42',
    '42 (qemu',
    '42 (qemu) S 1 2 3',
    `42 (qemu) ?? ${tail}`,
    `42 (q) S ${tail.replace('258078', 'x')}`,
  ])('gives null for %j', (text) => {
    expect(parseStat(text)).toBeNull();
  });
});

describe('The process of a record', () => {
  const make = async (): Promise<{ record: ProcessRecord; ended: Promise<unknown> }> => {
    const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
    const ended = once(child, 'exit');
    const pid = child.pid ?? 0;
    const startTicks = (await readStat(pid))?.startTicks ?? 0;
    const boot = await bootId();
    return {
      record: { pid, startTicks, bootId: boot, directory: '/', accelerator: 'tcg', startedAt: '' },
      ended,
    };
  };

  it('is there until it ends, and nothing is killed then that got its pid', async () => {
    const { record, ended } = await make();
    expect(await isAlive(record)).toBe(true);
    const other = { ...record, startTicks: record.startTicks - 1 };
    expect(await isAlive(other)).toBe(false);
    expect(await isAlive({ ...record, bootId: 'another boot' })).toBe(false);
    await killProcess(other);
    expect(await isAlive(record)).toBe(true);
    await killProcess(record);
    await ended;
    expect(await isAlive(record)).toBe(false);
  });

  it('is gone as a zombie', async () => {
    // The shell starts a child that ends, and never waits for it.
    const parent = spawn('sh', ['-c', 'sleep 0.05 & echo $!; exec sleep 1000'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [line] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(line.toString());
    const startTicks = (await readStat(pid))?.startTicks ?? 0;
    const record: ProcessRecord = {
      pid,
      startTicks,
      bootId: await bootId(),
      directory: '/',
      accelerator: 'tcg',
      startedAt: '',
    };
    const deadline = performance.now() + 120_000;
    while ((await readStat(pid))?.state !== 'Z' && performance.now() < deadline)
      await new SystemClock().sleep(5);
    expect((await readStat(pid))?.state).toBe('Z');
    expect(await isAlive(record)).toBe(false);
    parent.kill('SIGKILL');
    await once(parent, 'exit');
  });

  it('is sampled with its threads, and as gone when another process has its pid', async () => {
    const { record, ended } = await make();
    // A process just made may wait for its program's pages (D), and has not run yet on a busy machine.
    await vi.waitFor(() => {
      const sample = sampleProcess(new SystemClock(), record, [record.pid], true);
      expect(sample.processState).toMatch(/^[SR]$/);
      expect(sample.vcpus[0]?.tid).toBe(record.pid);
      expect(sample.frozen).toBe(true);
      expect(sample.mainLoop?.runNs).toBeGreaterThan(0);
    }, 120_000);
    const other = { ...record, startTicks: record.startTicks + 1 };
    expect(sampleProcess(new SystemClock(), other, [], true)).toMatchObject({
      processState: null,
      mainLoop: null,
    });
    await killProcess(record);
    await ended;
    expect(sampleProcess(new SystemClock(), record, [], true)).toMatchObject({
      processState: null,
      vcpus: [],
      frozen: false,
    });
  });
});
