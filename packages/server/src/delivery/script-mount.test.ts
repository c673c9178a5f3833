import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { SystemClock } from '../clock.ts';
import { runScript } from './script-process.ts';

it('a script ends at its timeout, also where the look at its file hangs', async () => {
  const clock = new SystemClock();
  const fifo = join(tmpdir(), `vmpulse-${process.pid}-${Math.random()}.fifo`);
  execFileSync('mkfifo', [fifo]);
  // Every thread waits in open(2), as in one of a server that is gone.
  const threads = Number(process.env['UV_THREADPOOL_SIZE'] ?? 4);
  const hung = Array.from({ length: threads }, () => open(fifo, 'r'));
  const run = runScript(clock, {
    command: ['/bin/true'],
    directory: tmpdir(),
    environment: {},
    input: '',
    timeoutMs: 300,
    termMs: 100,
    signal: new AbortController().signal,
  });
  const inTime = await Promise.race([run, clock.sleep(30_000)]);
  const writer = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
  for (const each of hung) await (await each).close();
  closeSync(writer);
  rmSync(fifo);
  await run;
  expect(inTime).toMatchObject({ outcome: 'timedOut' });
});
