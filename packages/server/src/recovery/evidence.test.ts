import { mkdir, mkdtemp, readFile, readdir, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { VmError } from '@vmpulse/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type HttpFixture, ask, startHttp } from '../../../../test/support/http-fixture.ts';
import { scriptedVm } from '../../../../test/support/scripted-machine-service.ts';
import { ScriptedTerminal } from '../../../../test/support/scripted-terminal.ts';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { runProgram } from '../cli/program.ts';
import {
  evidencePartTimeoutMs,
  maxIncidentPieceBytes,
  maxIncidents,
  maxMemoryDumpBytes,
  maxScreenshotBytes,
  memoryDumpTimeoutMs,
} from '../limits.ts';
import { Incidents } from './evidence.ts';
import type { Incident } from './record.ts';

let directory: string;
let clock: SimulatedClock;
let process: object | null;
let incidents: Incidents;
let memoryDumpMiB: number | null;

const incident = (stoppedSeq: number): Incident => ({
  stoppedSeq,
  verdict: 'hung',
  correlated: false,
  stoppedMs: 0,
  runningSinceMs: null,
  planned: true,
  taken: [],
  firstStepMs: null,
  last: null,
  acted: false,
  told: [],
  jitter: 0,
});

async function gather(seq = 7): Promise<string> {
  const vm = scriptedVm('web-1', 'aaaaaaaa-0000-4000-8000-000000000001');
  vm.files.serialLog = join(directory, 'console');
  const state = { isDone: false };
  const gathering = incidents.gather(vm, incident(seq)).finally(() => {
    state.isDone = true;
  });
  // Files are really written, which takes as many turns as it takes; only what hangs is left for the deadline.
  for (let turn = 0; turn < 20_000 && !state.isDone; turn += 1) await clock.settle();
  while (!state.isDone) await clock.advanceAsync(evidencePartTimeoutMs);
  return gathering;
}

async function fileOf(name: string): Promise<Buffer> {
  const { handle } = await incidents.file('7', name);
  try {
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmpulse-evidence-'));
  clock = new SimulatedClock();
  process = {
    screenshot: (file: string) => writeFile(file, 'PNG'),
    registers: async () => 'RIP=0',
    runState: async () => 'running',
    counters: async () => ({ atMs: 1, diskOperations: 2, packetsSent: null }),
    sample: async () => ({ atMs: 1 }),
  };
  const recoverable = (): never => ({ process }) as never;
  memoryDumpMiB = null;
  incidents = new Incidents({
    clock,
    directory: join(directory, 'incidents'),
    machines: { recoverable },
    memoryDumpMiB: () => memoryDumpMiB,
  });
  await writeFile(join(directory, 'console'), `${'x'.repeat(100_000)}Kernel panic`);
});

afterEach(() => rm(directory, { recursive: true }));

describe('evidence', () => {
  it('is screen, registers, state and the last 64 KiB of the serial log', async () => {
    expect(await gather()).toBe('kept registers.txt, screen.png, serial.log, state.json');
    const kept = await incidents.get('7');
    expect(kept).toMatchObject({ seq: 7, verdict: 'hung', vm: { name: 'web-1' }, missing: [] });
    const serial = await fileOf('serial.log');
    expect([serial.length, serial.toString().endsWith('Kernel panic')]).toEqual([65_536, true]);
    expect(JSON.parse((await fileOf('state.json')).toString())).toMatchObject({
      runState: 'running',
    });
  });

  it('what fails, hangs or cannot be had is told as missing, and keeps nobody waiting', async () => {
    process = {
      ...process,
      screenshot: () => Promise.race<never>([]),
      registers: () => Promise.reject(new Error('no')),
    };
    await rm(join(directory, 'console'));
    expect(await gather()).toContain('kept state.json; without');
    const { missing } = await incidents.get('7');
    expect(missing.map(({ name }) => name).toSorted()).toEqual(['registers.txt', 'screen.png', 'serial.log']);
    process = null;
    expect(await gather(8)).toContain('no process');
  });

  it('is no screenshot that is too large, and no link that lies among it', async () => {
    await mkdir(join(directory, 'incidents', '7'), { recursive: true });
    await symlink(join(directory, 'console'), join(directory, 'incidents', '7', 'link'));
    process = {
      ...process,
      screenshot: async (file: string) => {
        await writeFile(file, '');
        await truncate(file, maxScreenshotBytes + 1);
      },
    };
    expect(await gather()).toContain('kept registers.txt, serial.log, state.json; without screen.png');
    const { files, missing } = await incidents.get('7');
    expect([files.map(({ name }) => name), missing.length]).toEqual([
      ['registers.txt', 'serial.log', 'state.json'],
      1,
    ]);
    expect(await readdir(join(directory, 'incidents', '7'))).not.toContain('screen.png');
  });

  it('is kept for so many stops, the oldest go first', async () => {
    for (let seq = 1; seq <= maxIncidents + 3; seq += 1) await gather(seq);
    const kept = (await incidents.list()).map(({ seq }) => seq);
    expect([kept.length, kept[0], kept.at(-1)]).toEqual([maxIncidents, maxIncidents + 3, 4]);
  });

  it('has a dump of the memory where the policy wants one and it fits', async () => {
    const dump = { bytes: 0 };
    const dumpMemory = (stem: string, most: number): Promise<void> => {
      dump.bytes = most;
      return writeFile(`${stem}.kdump`, 'KDUMP');
    };
    process = { ...process, dumpMemory };
    expect(await gather()).not.toContain('memory');
    memoryDumpMiB = 100_000;
    expect(await gather()).toContain('kept memory.kdump');
    expect(dump.bytes).toBe(100_000 * 1024 ** 2);
    memoryDumpMiB = 64;
    await gather(8);
    const { missing, files } = await incidents.get('8');
    expect(missing.map(({ name }) => name)).toEqual(['memory']);
    expect(missing[0]?.reason).toContain('allows 64 MiB');
    expect(files).toHaveLength(4);
  });

  it('a dump goes by itself where all are too large together; what was left half written goes too', async () => {
    memoryDumpMiB = 100_000;
    const dumpMemory = async (stem: string): Promise<void> => {
      await writeFile(`${stem}.kdump`, '');
      await truncate(`${stem}.kdump`, maxMemoryDumpBytes / 2 + 1);
    };
    process = { ...process, dumpMemory };
    await gather(6);
    await writeFile(join(directory, 'incidents', '6', 'memory.partial'), '');
    await truncate(join(directory, 'incidents', '6', 'memory.partial'), maxMemoryDumpBytes);
    await gather(7);
    const names = await Promise.all([6, 7].map((seq) => readdir(join(directory, 'incidents', String(seq)))));
    expect(names.map((each) => each.filter((name) => name.startsWith('memory')))).toEqual([
      [],
      ['memory.kdump'],
    ]);
    const { files, missing } = await incidents.get('6');
    expect([files.length, missing.map(({ reason }) => reason)]).toEqual([
      4,
      ['taken away, to make room for newer ones'],
    ]);
    expect([incidents.timeoutMs(scriptedVm('a', 'b')) > memoryDumpTimeoutMs]).toEqual([true]);
  });

  it('a dump that hangs is cancelled at its deadline, and told as missing', async () => {
    memoryDumpMiB = 100_000;
    let signal: AbortSignal | undefined;
    const dumpMemory = (_file: string, _most: number, ends: AbortSignal): Promise<void> => {
      signal = ends;
      return Promise.race<never>([]);
    };
    process = { ...process, dumpMemory };
    expect(await gather()).toContain('without memory (not had within 60 s)');
    expect(signal?.aborted).toBe(true);
  });

  it('a link that somebody put there is not followed', async () => {
    await gather();
    const screen = join(directory, 'incidents', '7', 'screen.png');
    await rm(screen);
    await symlink(join(directory, 'console'), screen);
    expect((await incidents.get('7')).files.map(({ name }) => name)).not.toContain('screen.png');
    await expect(incidents.file('7', 'screen.png')).rejects.toMatchObject({ code: 'VMPULSE_E_NOT_FOUND' });
  });

  it.each(['../console', 'incident.json', '', 'nothing'])('no path leads out of it: %j', async (name) => {
    await gather();
    const failed = await incidents.file('7', name).catch((error: unknown) => error as VmError);
    expect(failed).toMatchObject({ code: 'VMPULSE_E_NOT_FOUND' });
    const other = await incidents.get('../7').catch((error: unknown) => error as VmError);
    expect(other).toMatchObject({ code: 'VMPULSE_E_NOT_FOUND' });
  });
});

describe('incidents over HTTP and at the command line', () => {
  let http: HttpFixture;

  beforeEach(async () => {
    http = await startHttp({ incidents, listen: { port: 0, socketPath: join(directory, 'vmpulse.sock') } });
    await gather();
  });

  afterEach(() => http.server.close());

  const run = async (...args: string[]): Promise<string> => {
    const terminal = new ScriptedTerminal({ VMPULSE_DATA: directory }, directory);
    await runProgram(args, terminal, '1.2.3', () => Promise.resolve([]));
    return terminal.output + terminal.errors;
  };

  it('are listed, shown and fetched as they are', async () => {
    const { json } = await ask(http, 'GET', '/v1/incidents');
    expect(json['incidents']).toMatchObject([{ seq: 7 }]);
    const png = await ask(http, 'GET', '/v1/incidents/7/files/screen.png');
    expect([png.status, png.headers['content-type'], png.text]).toEqual([200, 'image/png', 'PNG']);
    expect(png.headers).toMatchObject({ 'content-length': '3', 'x-content-type-options': 'nosniff' });
    const serial = await ask(http, 'HEAD', '/v1/incidents/7/files/serial.log');
    expect([serial.status, serial.headers['content-length'], serial.text]).toEqual([200, '65536', '']);
    expect(serial.headers['content-type']).toBe('text/plain; charset=utf-8');
    expect((await ask(http, 'GET', '/v1/incidents/8')).status).toBe(404);
    expect((await ask(http, 'GET', '/v1/incidents/7/files/..%2F..%2Fconsole')).status).toBe(404);
  });

  it('give a large file whole, and in pieces', async () => {
    const large = Buffer.alloc(maxIncidentPieceBytes + 5, 'x');
    const folder = join(directory, 'incidents', '7');
    await writeFile(join(folder, 'memory.elf'), large);
    const info = JSON.parse(await readFile(join(folder, 'incident.json'), 'utf8')) as { files: object[] };
    info.files.push({ name: 'memory.elf', bytes: large.length });
    await writeFile(join(folder, 'incident.json'), JSON.stringify(info));
    const path = '/v1/incidents/7/files/memory.elf';
    const whole = await ask(http, 'GET', path);
    expect([whole.text.length, whole.headers['content-type']]).toEqual([
      large.length,
      'application/octet-stream',
    ]);
    const target = join(directory, 'fetched');
    expect(await run('incident', 'fetch', '7', target)).toContain('memory.elf');
    expect((await readFile(join(target, 'memory.elf'))).equals(large)).toBe(true);
    expect((await ask(http, 'GET', `${path}?offset=-1`)).status).toBe(400);
  });

  it('tell the story of a stop, and are saved', async () => {
    expect(await run('incident', 'list')).toContain('web-1');
    const vm = { id: 'aaaaaaaa-0000-4000-8000-000000000001', name: 'web-1' };
    for (let seq = 1; seq < 8; seq += 1)
      await http.log.append({ type: 'guestReset', vm, timeMs: 0, data: { reason: 'r', byGuest: false } });
    const resumed = { outageMs: 9_000, stoppedSeq: 7 };
    await http.log.append({ type: 'heartbeatResumed', vm, timeMs: 0, data: resumed });
    await http.log.append({ type: 'vmCreated', vm, timeMs: 0, data: { hypervisor: 'fake' } });
    const shown = await run('incident', 'show', '7');
    expect(shown).toContain("incident 7: 'web-1' (hung)");
    expect(shown).toContain('#7  web-1  reset');
    expect(shown).toContain('#8  web-1  runs again after 9 s\nkept:');
    expect(shown).toContain('serial.log  65536 bytes');
    const target = join(directory, 'saved');
    expect(await run('incident', 'save', '7', target)).toContain('screen.png');
    expect(await readdir(target)).toHaveLength(4);
    expect(await readFile(join(target, 'screen.png'), 'utf8')).toBe('PNG');
    expect(await run('incident', 'show', '9')).toContain('no incident');
  });
});
