import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { maxSerialTailBytes } from '../../limits.ts';
import { SerialLog } from './serial-log.ts';

describe('A serial log', () => {
  let folder: string;
  let path: string;
  let log: SerialLog;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'serial-'));
    path = join(folder, 'serial.log');
    log = new SerialLog(path);
  });
  afterEach(async () => {
    await rm(folder, { recursive: true });
  });

  it('is empty where there is none', async () => {
    log.booted();
    expect(await log.tail()).toBe('');
  });

  it('has what was written since the guest booted, and all of it where that is not known', async () => {
    await writeFile(path, 'an earlier boot\n');
    expect(await log.tail()).toBe('an earlier boot\n');
    log.booted();
    expect(await log.tail()).toBe('');
    await appendFile(path, 'this boot\n');
    expect(await log.tail()).toBe('this boot\n');
  });

  it('has the last of it as bytes, however long it is', async () => {
    await writeFile(
      path,
      Buffer.concat([Buffer.alloc(3 * maxSerialTailBytes, 'x'), Buffer.from([0xff, 0x00, 0x41])]),
    );
    const tail = await log.tail();
    expect(tail).toHaveLength(maxSerialTailBytes);
    expect(tail.slice(-4)).toBe('x\u00ff\u0000A');
  });

  it('still knows where the present boot began after its head was cut off', async () => {
    await writeFile(path, 'old\n'.repeat(100));
    log.booted();
    await appendFile(path, 'this boot\n');
    expect(await log.trim(200, 50)).toBeGreaterThan(0);
    expect(await readFile(path, 'utf8')).toMatch(/^(?:old\n)+this boot\n$/);
    expect(await log.tail()).toBe('this boot\n');
    await appendFile(path, 'goes on\n'.repeat(100));
    await log.trim(200, 50);
    expect(await log.tail()).toMatch(/^(?:goes on\n)+$/);
  });

  it('reads nothing half while its head is cut off', async () => {
    await writeFile(path, 'line\n'.repeat(1_000));
    for (let round = 0; round < 50; round += 1) {
      await appendFile(path, 'line\n'.repeat(1_000));
      const [tail] = await Promise.all([log.tail(), log.trim(1_000, 500)]);
      expect(tail).toMatch(/(?:line\n)+$/);
      expect(tail.length).toBeGreaterThan(400);
    }
  });

  it('takes a log that was replaced for new', async () => {
    await writeFile(path, 'x'.repeat(100));
    log.booted();
    await writeFile(path, 'new\n');
    expect(await log.tail()).toBe('new\n');
  });
});
