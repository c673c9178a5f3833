import { execFileSync } from 'node:child_process';
import { constants } from 'node:fs';
import { access, mkdir, mkdtemp, open, readFile, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Command, ScriptedMonitor } from '../../../../../test/support/scripted-monitor.ts';
import { BriskClock } from '../../../../../test/support/brisk-clock.ts';
import type { HypervisorEvent } from '../hypervisor.ts';
import { machineFiles } from './command-line.ts';
import { QemuMachine } from './machine.ts';
import { bootId, readStat } from './proc.ts';

const fifoName = 'memory-dump.fifo';

describe('A dump of memory from a QEMU that answers by script', () => {
  let folder: string;
  let monitor: ScriptedMonitor;
  let machine: QemuMachine;
  let clock: BriskClock;
  let told: string[];
  let formats: string[];
  /** What the dump writes; null: it goes on until nobody reads. */
  let content: string | null;
  let status: string;
  let runState: string;
  let refusal: string | null;
  /** QEMU goes on saying that it dumps. */
  let isEndless: boolean;

  const event = (name: string): void =>
    monitor.send(`${JSON.stringify({ event: name, timestamp: { seconds: 0, microseconds: 0 } })}\n`);
  const end = (result: string): void => {
    if (runState === 'save-vm') {
      runState = 'running';
      event('RESUME');
    }
    status = result;
  };
  const dump = async (): Promise<void> => {
    const fifo = await open(join(folder, fifoName), 'w');
    try {
      if (content !== null) await fifo.write(content);
      else for (;;) await fifo.write(Buffer.alloc(65_536, 'x'));
    } catch {
      status = 'failed';
    } finally {
      await fifo.close();
    }
    if (!isEndless) end(status === 'failed' ? 'failed' : 'completed');
  };
  const answers: Record<string, () => object> = {
    'query-status': () => ({ status: runState }),
    'query-dump': () => ({ status }),
    'query-dump-guest-memory-capability': () => ({ formats }),
    'query-migrate': () => ({}),
    'dump-guest-memory': () => {
      status = 'active';
      if (runState === 'running') {
        runState = 'save-vm';
        event('STOP');
      }
      void dump();
      return {};
    },
  };
  const answer = ({ execute, id }: Command): void => {
    const isRefused = execute === 'dump-guest-memory' && refusal !== null;
    const error = { class: 'GenericError', desc: refusal };
    const said = isRefused ? { error } : { return: answers[execute]?.() ?? {} };
    monitor.send(`${JSON.stringify({ ...said, id })}\n`);
  };
  const kept = async (): Promise<string[]> =>
    (await readdir(folder)).filter((name) => /^memory|fifo|partial/u.test(name)).toSorted();
  const begin = (most = 1_000, signal = new AbortController().signal): Promise<void> =>
    machine.dumpMemory(join(folder, 'memory'), most, signal);
  const underWay = (): Promise<void> => expect.poll(() => status).toBe('active');

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dump-'));
    [content, status, runState, refusal] = ['the memory', 'none', 'running', null];
    formats = ['elf', 'kdump-zlib'];
    isEndless = false;
    told = [];
    monitor = new ScriptedMonitor();
    monitor.answer = answer;
    await monitor.listen(join(folder, machineFiles.qmp));
    const record = {
      pid: process.pid,
      startTicks: (await readStat(process.pid))?.startTicks ?? 0,
      bootId: await bootId(),
      directory: folder,
      accelerator: 'tcg' as const,
      startedAt: new Date(0).toISOString(),
    };
    clock = new BriskClock(5);
    machine = new QemuMachine({ record, clock, child: null });
    machine.setListener(({ kind }: HypervisorEvent) => void told.push(kind));
    await machine.link.connect();
  });
  afterEach(async () => {
    await machine.detach();
    monitor.close();
    await rm(folder, { recursive: true });
  });

  it.each([
    ['memory.kdump', ['elf', 'kdump-zlib']],
    ['memory.elf', ['elf']],
  ])('is %s where QEMU offers %j, for its owner only, and not told as a pause', async (name, offered) => {
    formats = offered;
    await begin();
    expect(await kept()).toEqual([name]);
    expect(await readFile(join(folder, name), 'utf8')).toBe('the memory');
    expect((await stat(join(folder, name))).mode & 0o777).toBe(0o600);
    expect(told).toEqual([]);
  });

  it('larger than its bound ends, and the guest goes on', async () => {
    content = null;
    await expect(begin(200_000)).rejects.toMatchObject({ code: 'VM_E_OUT_OF_RESOURCE' });
    expect([runState, await kept()]).toEqual(['running', []]);
  });

  it('that is cancelled ends, and the guest goes on', async () => {
    content = null;
    const cancel = new AbortController();
    const dumped = begin(1e12, cancel.signal);
    const failed = expect(dumped).rejects.toMatchObject({ code: 'E_ABORT' });
    await underWay();
    expect(await machine.runState()).toBe('running');
    await expect(begin()).rejects.toThrow(/written already/u);
    cancel.abort();
    await failed;
    expect([runState, await kept(), told]).toEqual(['running', [], []]);
  });

  it('that QEMU refuses leaves nothing', async () => {
    refusal = 'not now';
    await expect(begin()).rejects.toThrow(/not now/u);
    expect(await kept()).toEqual([]);
  });

  it('begins where a killed service left one that waits for its reader: that one goes on', async () => {
    execFileSync('mkfifo', [join(folder, fifoName)]);
    const waiting = open(join(folder, fifoName), 'w');
    await begin();
    await (await waiting).close();
    expect(await kept()).toEqual(['memory.kdump']);
  });

  it('asks QEMU for nothing where its way cannot be made', async () => {
    await mkdir(join(folder, fifoName));
    await expect(begin()).rejects.toThrow(/memory-dump\.fifo/u);
    expect(monitor.commands.map(({ execute }) => execute)).not.toContain('dump-guest-memory');
    expect(runState).toBe('running');
  });

  it('is no dump where QEMU has written all and never says that it ended', async () => {
    isEndless = true;
    clock.hurry();
    await expect(begin()).rejects.toMatchObject({ code: 'VM_E_TIMED_OUT' });
    expect(await kept()).toEqual([]);
    // The next one is refused for what QEMU says, and not because this one were still under way.
    refusal = 'there is a dump in process';
    await expect(begin()).rejects.toThrow(/in process/u);
  });

  it('gives way to a pause, which is told', async () => {
    content = null;
    const failed = expect(begin(1e12)).rejects.toMatchObject({ code: 'E_ABORT' });
    await underWay();
    await machine.pause();
    expect(runState).toBe('running');
    event('STOP');
    await failed;
    await expect.poll(() => told).toEqual(['stopped']);
  });

  it('of a guest that stood still tells what somebody else does to it meanwhile', async () => {
    [content, runState] = [null, 'guest-panicked'];
    const failed = expect(begin(1e12)).rejects.toMatchObject({ code: 'E_ABORT' });
    await underWay();
    event('RESUME');
    event('STOP');
    await expect.poll(() => told).toEqual(['resumed', 'stopped']);
    await machine.pause();
    await failed;
  });

  it('ends when the service lets go of the machine: the guest is not left standing still', async () => {
    content = null;
    const failed = expect(begin(1e12)).rejects.toMatchObject({ code: 'E_ABORT' });
    await underWay();
    await machine.detach();
    await failed;
    expect(runState).toBe('running');
    await expect(access(join(folder, fifoName), constants.F_OK)).rejects.toThrow();
  });
});
