import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Command, ScriptedMonitor } from '../../../../../test/support/scripted-monitor.ts';
import { SystemClock } from '../../clock.ts';
import { machineFiles } from './command-line.ts';
import { QemuMachine } from './machine.ts';
import { bootId, readStat } from './proc.ts';

/** Its time passes `pace` times as fast for those who look at it; its timers do not. */
class PacedClock extends SystemClock {
  pace = 1;

  override monotonicMs(): number {
    return super.monotonicMs() * this.pace;
  }
}

describe('A machine whose QEMU answers by script', () => {
  let folder: string;
  let monitor: ScriptedMonitor;
  let machine: QemuMachine;
  let clock: PacedClock;
  /** Answers in turn, the last one again and again; a string is a refusal, null no answer. */
  let script: Record<string, (object | string | null)[]>;
  const answer = ({ execute, id }: Command): void => {
    const list = script[execute] ?? [{}];
    const next = list.length > 1 ? list.shift() : list[0];
    if (next === null) return;
    const said =
      typeof next === 'string' ? { error: { class: 'GenericError', desc: next } } : { return: next };
    monitor.send(`${JSON.stringify({ ...said, id })}\n`);
  };
  const commands = (): string[] =>
    monitor.commands.map(({ execute }) => execute).filter((name) => !name.startsWith('q') || name === 'quit');
  const savedFiles = async (): Promise<string[]> =>
    (await readdir(folder)).filter((name) => name.startsWith('saved-state')).toSorted();

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'machine-'));
    script = { 'query-status': [{ status: 'paused' }], 'query-migrate': [{}] };
    monitor = new ScriptedMonitor();
    monitor.answer = answer;
    await monitor.listen(join(folder, machineFiles.qmp));
    // Any process that lives will do: nothing is done to it.
    const stat = await readStat(process.pid);
    const record = {
      pid: process.pid,
      startTicks: stat?.startTicks ?? 0,
      bootId: await bootId(),
      directory: folder,
      accelerator: 'tcg' as const,
      startedAt: new Date(0).toISOString(),
    };
    clock = new PacedClock();
    machine = new QemuMachine({ record, clock, child: null });
    await machine.link.connect();
    await writeFile(join(folder, 'saved-state'), 'the guest');
    await writeFile(join(folder, 'saved-state.json'), '{}');
  });
  afterEach(async () => {
    await machine.detach();
    monitor.close();
    await rm(folder, { recursive: true });
  });

  it('keeps its saved state when QEMU refuses to let the guest go on', async () => {
    script['cont'] = ['Failed to get "write" lock'];
    await expect(machine.resume()).rejects.toThrow(/refused cont: Failed to get/);
    expect(await savedFiles()).toEqual(['saved-state', 'saved-state.json']);
    expect(await readFile(join(folder, 'saved-state'), 'utf8')).toBe('the guest');
  });

  it('keeps its saved state when QEMU refuses a reset', async () => {
    script['system_reset'] = ['not now'];
    await expect(machine.reset()).rejects.toThrow(/refused system_reset/);
    expect(await savedFiles()).toEqual(['saved-state', 'saved-state.json']);
  });

  it('never restores a state again when it is not known whether the guest went on', async () => {
    script['cont'] = [null];
    const resumed = machine.resume();
    await expect.poll(commands).toContain('cont');
    monitor.socket?.destroy();
    await expect(resumed).rejects.toThrow(/did not answer cont/);
    expect(await savedFiles()).not.toContain('saved-state');
  });

  it('cancels a save that is under way, and waits for its end, before the guest goes on', async () => {
    script['query-migrate'] = [
      { status: 'active' },
      { status: 'active' },
      { status: 'cancelling' },
      'busy',
      { status: 'device' },
      { status: 'cancelled' },
    ];
    expect(await machine.runState()).toBe('saving');
    await machine.resume();
    expect(commands()).toEqual(['migrate_cancel', 'migrate_cancel', 'cont']);
    expect(script['query-migrate']).toEqual([{ status: 'cancelled' }]);
    expect(await savedFiles()).toEqual([]);
  });

  it('lets a guest go on once its saved state has been read, also when that takes minutes', async () => {
    clock.pace = 5_000;
    const reading = Array.from({ length: 10 }, () => ({ status: 'inmigrate' }));
    script['query-status'] = [...reading, { status: 'paused' }];
    script['query-migrate'] = [{ status: 'active' }, { status: 'completed' }];
    await machine.resume();
    expect(commands()).toEqual(['migrate-set-capabilities', 'cont']);
    expect(await savedFiles()).toEqual([]);
  });

  it('does not wait for a saved state that nobody gives it', async () => {
    clock.pace = 5_000;
    script['query-status'] = [{ status: 'inmigrate' }];
    await expect(machine.resume()).rejects.toThrow(/nobody gives it/);
    expect(commands()).toEqual([]);
    expect(await savedFiles()).toEqual(['saved-state', 'saved-state.json']);
  });

  describe('beside a migration that somebody else began', () => {
    const save = (): Promise<void> => machine.save(() => undefined, new AbortController().signal);
    beforeEach(async () => {
      await machine.savedState.discard();
      script['query-status'] = [{ status: 'running' }];
      script['query-migrate'] = [{ status: 'active' }];
    });

    it('is not saved, and leaves the migration alone', async () => {
      await expect(save()).rejects.toThrow(/being migrated by somebody else/);
      expect(commands()).toEqual([]);
      expect(await savedFiles()).toEqual([]);
    });

    it('goes on when it is told to, and leaves the migration alone', async () => {
      script['query-status'] = [{ status: 'paused' }];
      expect(await machine.runState()).toBe('paused');
      await machine.resume();
      expect(commands()).toEqual(['cont']);
    });

    it('shows as paused while QEMU stops it for the last of its state, and is not migrated by that', async () => {
      script['query-status'] = [{ status: 'finish-migrate' }];
      script['query-migrate'] = [{ status: 'device' }, { status: 'failed' }];
      expect(await machine.runState()).toBe('paused');
      script['query-status'] = [{ status: 'running' }];
      script['stop'] = ['not now'];
      await expect(save()).rejects.toThrow(/refused stop/);
    });

    it('sees it complete though QEMU does not tell, as it is told to only when nothing is under way', async () => {
      script['migrate-set-capabilities'] = ['There is a migration process in progress', {}];
      script['query-migrate'] = [{ status: 'active' }, { status: 'active' }, { status: 'completed' }];
      await machine.watchMigrations();
      await expect.poll(commands).toEqual(['migrate-set-capabilities', 'migrate-set-capabilities']);
      await expect(save()).rejects.toThrow(/was migrated away/);
      monitor.send('{"event":"RESUME","timestamp":{"seconds":0,"microseconds":0}}\n');
      script['stop'] = ['not now'];
      await expect.poll(() => save().catch(String)).toMatch(/refused stop/);
    });

    it('takes its own save for none', async () => {
      script['query-migrate'] = [{ status: 'completed' }];
      await machine.savedState.begin();
      script['query-status'] = [{ status: 'postmigrate' }];
      expect(await machine.runState()).toBe('saving');
      await machine.savedState.discard();
      expect(await machine.runState()).toBe('paused');
    });
  });
});
