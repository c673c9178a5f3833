import { chmod, mkdtemp, readFile, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadToken, tokenCheck } from './token.ts';

describe('the token', () => {
  let directory: string;
  let path: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'vmpulse-token-'));
    path = join(directory, 'token');
  });

  afterEach(async () => {
    await rm(directory, { recursive: true });
  });

  it('is made on first use from 32 random bytes, for its owner alone, and kept', async () => {
    const token = await loadToken(path);
    expect(token).toMatch(/^[\w-]{43}$/);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await readFile(path, 'utf8')).trim()).toBe(token);
    expect(await loadToken(path)).toBe(token);
    expect(await readdir(directory)).toEqual(['token']);
  });

  it('is one, also where two make it at once', async () => {
    for (let round = 0; round < 25; round += 1) {
      await rm(path, { force: true });
      const tokens = await Promise.all(Array.from({ length: 8 }, async () => loadToken(path)));
      expect(new Set(tokens).size).toBe(1);
    }
    expect(await readdir(directory)).toEqual(['token']);
  });

  it('is 0600 whatever the umask', async () => {
    const mask = process.umask(0);
    try {
      await loadToken(path);
    } finally {
      process.umask(mask);
    }
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it.each([0o640, 0o604, 0o660, 0o644])('is refused where others can read it (mode %o)', async (mode) => {
    const token = await loadToken(path);
    await chmod(path, mode);
    const refused = loadToken(path);
    await expect(refused).rejects.toMatchObject({ code: 'VMPULSE_E_DATA_DIRECTORY' });
    await expect(refused).rejects.toThrow(`chmod 600 ${path}`);
    await expect(refused).rejects.not.toThrow(token);
  });

  it.each(['', 'short', 'x'.repeat(31), `${'x'.repeat(40)} y`, `${'x'.repeat(40)}\nInjected: header`])(
    'is refused where the file holds "%s"',
    async (content) => {
      await writeFile(path, content, { mode: 0o600 });
      await expect(loadToken(path)).rejects.toThrow('Delete it');
    },
  );

  it('is not read through a link, and no directory', async () => {
    await writeFile(join(directory, 'elsewhere'), 'x'.repeat(43), { mode: 0o600 });
    await symlink('elsewhere', path);
    await expect(loadToken(path)).rejects.toThrow('symbolic link');
    await expect(loadToken(directory)).rejects.toThrow('is not a file');
    await expect(loadToken(join(directory, 'none', 'token'))).rejects.toThrow('cannot be made (ENOENT)');
  });

  it('matches itself and nothing else', () => {
    const matches = tokenCheck('abc');
    expect(['abc', 'abd', 'ab', 'abcd', '', 'ABC'].map(matches)).toEqual([
      true,
      false,
      false,
      false,
      false,
      false,
    ]);
  });
});
