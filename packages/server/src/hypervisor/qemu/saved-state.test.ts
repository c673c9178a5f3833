import { execFile } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { configurationOf } from '../../../../../test/contract/hypervisor-under-test.ts';
import { SavedState } from './saved-state.ts';

describe('A saved state on disk', () => {
  let folder: string;
  let state: SavedState;
  const write = (input: string): Promise<unknown> =>
    promisify(execFile)('/bin/sh', ['-c', `printf ${input} | { ${state.writeCommand}; }`], { cwd: folder });

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'saved-'));
    state = new SavedState(folder);
  });
  afterEach(async () => {
    await rm(folder, { recursive: true });
  });

  it('is complete or not there at all', async () => {
    await state.describe(configurationOf(), 'tcg');
    await write('abc');
    expect(await state.isWritten()).toBe(true);
    expect(await state.exists()).toBe(false);
    await state.commit();
    expect(await state.exists()).toBe(true);
    expect(await readFile(join(folder, 'saved-state'), 'utf8')).toBe('abc');
    expect(await state.isWritten()).toBe(false);
  });

  it('fits the hardware it was made with, and says what differs', async () => {
    await expect(state.check(configurationOf(), 'tcg')).rejects.toMatchObject({
      code: 'VM_E_VM_NO_SAVED_STATE',
    });
    await state.describe(configurationOf(), 'tcg');
    await write('abc');
    await state.commit();
    await state.check(configurationOf({ notes: 'other', name: 'other' }), 'tcg');
    const attempt = state.check(configurationOf({ cpus: 3 }), 'kvm');
    await expect(attempt).rejects.toMatchObject({ code: 'VM_E_PREF_SAVED_STATE_BAD_VERSION' });
    await expect(attempt).rejects.toThrow(/another cpus \(was 2\), accelerator \(was "tcg"\): set it back/);
    await writeFile(join(folder, 'saved-state.json'), '{');
    await expect(state.check(configurationOf(), 'tcg')).rejects.toThrow(/cannot be read; discard/);
  });

  it('can not be used again once its guest was about to run, unless that failed', async () => {
    await state.describe(configurationOf(), 'tcg');
    await write('abc');
    await state.commit();
    await state.spend();
    expect(await state.exists()).toBe(false);
    await state.unspend();
    expect(await state.exists()).toBe(true);
    await state.spend();
    await state.discardSpent();
    expect(await readdir(folder)).toEqual(['hardware.json']);
  });

  it('leaves nothing when discarded', async () => {
    await state.describe(configurationOf(), 'tcg');
    await write('abc');
    await state.commit();
    await write('half');
    await state.discard();
    await state.discard();
    expect(await readdir(folder)).toEqual(['hardware.json']);
  });
});
