import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SimulatedClock } from '../../../../../test/support/simulated-clock.ts';
import { logCheckMs } from '../../limits.ts';
import { keepLogsTrimmed, trimLog } from './log-trim.ts';

describe('Trimming a log', () => {
  let folder: string;
  let path: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'log-'));
    path = join(folder, 'serial.log');
  });
  afterEach(async () => {
    await rm(folder, { recursive: true });
  });

  it('leaves a file within its bound alone, and one that is not there', async () => {
    await writeFile(path, 'x'.repeat(100));
    expect(await trimLog(path, 100, 10)).toBe(0);
    expect(await trimLog(join(folder, 'none'), 100, 10)).toBe(0);
    expect((await readFile(path)).length).toBe(100);
  });

  it('keeps the last lines, and what an appending writer adds afterwards follows them', async () => {
    const writer = await open(path, 'a');
    await writer.appendFile(`${'old line\n'.repeat(100)}one\ntwo\n`);
    expect(await trimLog(path, 100, 15)).toBe(900);
    await writer.appendFile('three\n');
    await writer.close();
    expect(await readFile(path, 'utf8')).toBe('one\ntwo\nthree\n');
  });

  it('keeps the end of a line that has none', async () => {
    await writeFile(path, 'y'.repeat(1_000));
    await trimLog(path, 100, 20);
    expect(await readFile(path, 'utf8')).toBe('y'.repeat(20));
  });

  it('looks again and again until cancelled', async () => {
    const clock = new SimulatedClock();
    const timer = keepLogsTrimmed(clock, [() => trimLog(path, 50, 50)]);
    for (let round = 0; round < 2; round += 1) {
      await writeFile(path, 'z\n'.repeat(100));
      for (let tries = 0; tries < 50 && (await readFile(path)).length > 50; tries += 1) {
        await clock.advanceAsync(logCheckMs);
      }
      expect((await readFile(path)).length).toBeLessThanOrEqual(50);
    }
    timer.cancel();
    await clock.advanceAsync(logCheckMs);
    expect(clock.pendingTimers).toBe(0);
  });
});
