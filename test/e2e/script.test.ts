import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type VirtualServer, isEvent } from '@vmpulse/client';
import { connectToDataDirectory } from '@vmpulse/client/node';
import type { VmEvent } from '@vmpulse/wire';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';

const cli = fileURLToPath(new URL('../../packages/server/dist/cli/main.js', import.meta.url));

let directory: string;
let service: ChildProcess;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmpulse-kill-'));
});

afterEach(async () => {
  service.kill('SIGKILL');
  await rm(directory, { recursive: true, force: true, maxRetries: 5 });
});

/** The whole service as a process of its own. */
async function serve(): Promise<VirtualServer> {
  service = spawn(process.execPath, [cli, 'serve', '--data', directory, '--listen', '127.0.0.1:0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const line of createInterface({ input: service.stdout ?? process.stdin })) {
    if (line.includes('"ready"')) break;
  }
  return connectToDataDirectory(directory);
}

/** Is there such a process, and is it more than a zombie? */
function lives(pid = ''): boolean {
  try {
    return !/\) Z/u.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

async function ended(server: VirtualServer): Promise<VmEvent<'scriptEnded'>['data']> {
  const signal = AbortSignal.timeout(240_000);
  for await (const event of server.events({ after: 0, types: ['scriptEnded'], signal })) {
    if (isEvent(event, 'scriptEnded')) return event.data;
  }
  throw new Error('no script ended');
}

test('a script that a kill -9 of the service cut off is run again, and what was left of it is gone', async () => {
  const first = await serve();
  await first.changeScriptSettings({ vsScriptsEnabled: true });
  const [pids, gate] = [join(directory, 'pids'), join(directory, 'gate')];
  const text = `echo $$ >> ${pids}; until [ -e ${gate} ]; do sleep 0.02; done; echo attempt $VMPULSE_ATTEMPT`;
  await first.attachScriptToEvent('vmCreated', ['/bin/sh', '-c', text]);
  await first.createVirtualMachine({ name: 'web-1' });
  await eventually('its begin', () => existsSync(pids) && readFileSync(pids, 'utf8').endsWith('\n'));
  const gone = once(service, 'exit');
  service.kill('SIGKILL');
  await gone;
  await first.close();
  const second = await serve();
  await eventually('its second begin', () => readFileSync(pids, 'utf8').split('\n').length === 3);
  const [left] = (await readFile(pids, 'utf8')).split('\n');
  await eventually('the end of what was left', () => !lives(left));
  await writeFile(gate, '');
  expect(await ended(second)).toMatchObject({
    trigger: 'vmCreated',
    vm: { name: 'web-1' },
    outcome: 'ok',
    attempt: 2,
    output: 'attempt 2\n',
  });
  expect(await second.scripts()).toMatchObject([{ trigger: 'vmCreated', enabled: true, pending: 0 }]);
  await second.close();
});

test('one on serviceStopped runs while the service stops, one on serviceStarted at its next start', async () => {
  const first = await serve();
  await first.changeScriptSettings({ vsScriptsEnabled: true });
  const told = join(directory, 'told');
  for (const eventType of [0, 1]) {
    const text = `echo $VMPULSE_EVENT_TYPE $VMPULSE_EVENT_NUMBER >> ${told}`;
    await first.attachScriptToEvent(eventType, ['/bin/sh', '-c', text]);
  }
  const gone = once(service, 'exit');
  service.kill('SIGTERM');
  await gone;
  await first.close();
  expect(await readFile(told, 'utf8')).toBe('serviceStopped 1\n');
  const second = await serve();
  await eventually('the start told', () => readFileSync(told, 'utf8').split('\n').length === 3);
  expect(await readFile(told, 'utf8')).toBe('serviceStopped 1\nserviceStarted 0\n');
  await second.close();
});
