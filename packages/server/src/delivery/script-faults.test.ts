import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import {
  chmod,
  chown,
  mkdir,
  mkdtemp,
  open as openFile,
  readdir,
  readlink,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type VmEvent, isEvent } from '@vmpulse/wire';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { BriskClock } from '../../../../test/support/brisk-clock.ts';
import { eventually } from '../../../../test/support/eventually.ts';
import { machineReference, resumedDraft, stoppedDraft } from '../../../../test/support/machines.ts';
import { MemoryEventLog } from '../../../../test/support/memory-event-log.ts';
import { SystemClock } from '../clock.ts';
import { maxScriptAttempts } from '../limits.ts';
import { type ScriptPorts, Scripts } from './script.ts';

let directory: string;
let log: MemoryEventLog;
let open: Scripts[];
let others: ChildProcess[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmpulse-scripts-'));
  log = new MemoryEventLog();
  open = [];
  others = [];
});

afterEach(async () => {
  log.mendWrites();
  for (const other of others) other.kill('SIGKILL');
  await Promise.all(open.map((scripts) => scripts.stop()));
  await rm(directory, { recursive: true });
});

function make(ports: Partial<ScriptPorts>): Scripts {
  return new Scripts({
    clock: new SystemClock(),
    log,
    store: log,
    logger: { warn: () => undefined },
    directory: join(directory, 'scripts'),
    findVm: () => machineReference(1),
    termMs: 100,
    ...ports,
  });
}

/** The end of a service waits 5 s for its scripts: on this clock they have minutes, as a busy machine may need. */
const patient = (): BriskClock => new BriskClock(1 / 30).hurry();

async function started(ports: Partial<ScriptPorts> = {}): Promise<Scripts> {
  const scripts = make(ports);
  open.push(scripts);
  await scripts.load();
  await scripts.start();
  await scripts.changeSettings({ vsScriptsEnabled: true, vmScriptsEnabled: true });
  return scripts;
}

const sh = (script: string): { command: string[] } => ({ command: ['/bin/sh', '-c', script] });

async function endsSoFar(): Promise<VmEvent<'scriptEnded'>['data'][]> {
  const { events } = await log.read({ after: 0, limit: 1_000 });
  return events.filter((event) => isEvent(event, 'scriptEnded')).map(({ data }) => data);
}

/** How the first script ended. */
async function ended(): Promise<VmEvent<'scriptEnded'>['data']> {
  const until = performance.now() + 120_000;
  for (;;) {
    const [found] = await endsSoFar();
    if (found !== undefined) return found;
    if (performance.now() > until) throw new Error('no script ended');
    await new SystemClock().sleep(5);
  }
}

/** Is there such a process, and is it more than a zombie? */
function lives(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/u.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

const target = (link: string): Promise<string> => readlink(link).catch(() => '');
const written = (file: string): boolean => existsSync(file) && readFileSync(file, 'utf8').endsWith('\n');

test('one whose event is the last is run before the service ends, also while it is being stored', async () => {
  const scripts = await started({ clock: patient() });
  await scripts.attach(null, '8', sh('echo ran'));
  const put = log.putDocuments.bind(log);
  let store = (): void => undefined;
  let isStoring = false;
  vi.spyOn(log, 'putDocuments').mockImplementationOnce(async (documents) => {
    isStoring = true;
    await new Promise<void>((resolve) => {
      store = resolve;
    });
    await put(documents);
  });
  await log.append(stoppedDraft(1));
  await eventually('the run to be stored', () => isStoring);
  const stopping = scripts.stop();
  // The stop has looked whether all is done.
  await new SystemClock().sleep(5);
  store();
  await stopping;
  expect(await endsSoFar()).toMatchObject([{ outcome: 'ok', output: 'ran\n' }]);
});

test('one is run before the service ends, also where that was told to end while it cleared up', async () => {
  const scripts = make({ clock: patient() });
  await scripts.load();
  await scripts.changeSettings({ vsScriptsEnabled: true });
  await scripts.attach(null, '8', sh('echo ran'));
  const starting = scripts.start();
  await log.append(stoppedDraft(1));
  await scripts.stop();
  await starting;
  expect(await endsSoFar()).toMatchObject([{ outcome: 'ok', output: 'ran\n' }]);
});

test('a disk that is full before a script was begun does not hold up the end of the service', async () => {
  const scripts = await started();
  await scripts.attach(null, '8', sh('true'));
  await log.append(stoppedDraft(1));
  log.failWrites('the disk is full');
  const late = new SystemClock().sleep(120_000).then(() => 'stuck');
  expect(await Promise.race([scripts.stop().then(() => 'stopped'), late])).toBe('stopped');
});

test('a disk that fills up while a script runs does not hold up the end of the service', async () => {
  const scripts = await started();
  const began = join(directory, 'began');
  await scripts.attach(null, '8', sh(`echo > ${began}; exec sleep 1000`));
  await scripts.attach(null, 'heartbeatResumed', sh('true'));
  await log.append(stoppedDraft(1));
  await eventually('its begin', () => written(began));
  void log.append(resumedDraft(1));
  log.failWrites('the disk is full');
  const late = new SystemClock().sleep(120_000).then(() => 'stuck');
  expect(await Promise.race([scripts.stop().then(() => 'stopped'), late])).toBe('stopped');
});

test('what a full disk kept from being recorded is run again by the next start', async () => {
  const scripts = await started();
  const [began, gate] = [join(directory, 'began'), join(directory, 'gate')];
  await scripts.attach(null, '8', sh(`echo >> ${began}; until [ -e ${gate} ]; do sleep 0.01; done`));
  await log.append(stoppedDraft(1));
  await eventually('its begin', () => written(began));
  log.failWrites('the disk is full');
  await writeFile(gate, '');
  await scripts.stop();
  const left = await log.loadDocuments('scriptRun');
  expect(left.map(({ value }) => value)).toMatchObject([{ attempt: 1 }]);
});

test('a script that cannot be removed, because nothing can be written, is there still', async () => {
  const full = new MemoryEventLog({ maxPending: 0 });
  const failing = { ...log.state(), writable: true };
  const scripts = await started();
  await scripts.attach(null, '8', sh('true'));
  log.append = (draft, effect) => full.append(draft, effect);
  log.state = () => failing;
  await expect(scripts.remove(null, '8')).rejects.toMatchObject({ code: 'VMPULSE_E_LOG_UNAVAILABLE' });
  expect(scripts.list()).toHaveLength(1);
});

test('a process that left the group ends with its script, like all others', async () => {
  const scripts = await started();
  const [child, gate] = [join(directory, 'child'), join(directory, 'gate')];
  await writeFile(gate, '');
  await scripts.attach(
    null,
    '8',
    sh(
      `setsid sh -c 'trap "" TERM; echo $$ > ${child}; exec sleep 1000 >/dev/null 2>&1' & ` +
        `until [ -s ${child} ]; do sleep 0.01; done`,
    ),
  );
  await log.append(stoppedDraft(1));
  expect(await ended()).toMatchObject({ outcome: 'ok', exitStatus: 0 });
  const pid = Number(readFileSync(child, 'utf8'));
  // One that was killed is gone as soon as it has its turn.
  await eventually('its end', () => !lives(pid)).finally(() => lives(pid) && process.kill(pid, 'SIGKILL'));
});

test('a start ends what a killed service left, and nothing that is of another service', async () => {
  const runs = join(directory, 'scripts');
  await mkdir(join(runs, '7-1-1'), { recursive: true });
  const leave = (serverId: string): ChildProcess => {
    const env = { VMPULSE_RUN_DIRECTORY: join(runs, '7-1-1'), VMPULSE_SERVER_ID: serverId };
    const other = spawn('/bin/sleep', ['60'], { env, detached: true, stdio: 'ignore' });
    others.push(other);
    return other;
  };
  const [own, foreign] = [leave(log.serverId), leave('00000000-0000-4000-8000-00000000000f')];
  await Promise.all([own, foreign].map((one) => once(one, 'spawn')));
  await started();
  await eventually('its end', () => own.signalCode === 'SIGKILL');
  expect([foreign.signalCode, foreign.exitCode]).toEqual([null, null]);
  expect(existsSync(join(runs, '7-1-1'))).toBe(false);
});

test('a script inherits no open file and no socket of the service', async () => {
  const [file, server] = [join(directory, 'secret'), createServer()];
  const handle = await openFile(file, 'w');
  server.listen(join(directory, 'socket'));
  await once(server, 'listening');
  const own = await Promise.all((await readdir('/proc/self/fd')).map((fd) => target(`/proc/self/fd/${fd}`)));
  const scripts = await started();
  await scripts.attach(null, '8', sh('readlink /proc/self/fd/*'));
  await log.append(stoppedDraft(1));
  const inherited = (await ended()).output.split('\n').filter((one) => own.includes(one));
  await handle.close();
  server.close();
  expect(own).toContain(file);
  expect(inherited.filter((one) => one === file || one.startsWith('socket:'))).toEqual([]);
});

test.runIf(process.getuid?.() === 0)(
  'a script that runs as another user may write in its directory, though nobody else may look into that of the data',
  async () => {
    await chmod(directory, 0o700);
    const [uid = 0, gid = 0] = ['-u', '-g'].map((flag) =>
      Number(execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' })),
    );
    const scripts = await started({ user: { uid, gid } });
    const text =
      'echo here > "$HOME/a"; cat "$VMPULSE_RUN_DIRECTORY/a"; mkdir b; ls; id -u; stat -c %a .; pwd';
    await scripts.attach(null, '8', sh(text));
    await log.append(stoppedDraft(1));
    const { output, outcome } = await ended();
    const ran = output.trim().split('\n').at(-1) ?? '';
    expect([outcome, output]).toEqual(['ok', `here\na\nb\n${uid}\n700\n${ran}\n`]);
    await scripts.stop();
    expect([ran.startsWith(tmpdir()), existsSync(ran)]).toEqual([true, false]);
  },
);

test.runIf(process.getuid?.() === 0)(
  'a start removes the directories that another user was left with, and follows no link',
  async () => {
    const [uid = 0, gid = 0] = ['-u', '-g'].map((flag) =>
      Number(execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' })),
    );
    const beginning = join(tmpdir(), `vmpulse-script-${log.serverId}-`);
    const [left, link, kept] = [`${beginning}left`, `${beginning}link`, join(directory, 'kept')];
    await Promise.all([mkdir(left), mkdir(kept)]);
    await Promise.all([writeFile(join(left, 'a'), ''), writeFile(join(kept, 'b'), '')]);
    await Promise.all([symlink(kept, join(left, 'c')), symlink(kept, link)]);
    for (const path of [left, kept]) await chown(path, uid, gid);
    await started({ user: { uid, gid } });
    const found = [left, join(kept, 'b')].map((path) => existsSync(path));
    await rm(link);
    expect(found).toEqual([false, true]);
  },
);

test.each([
  [maxScriptAttempts - 1, 'ok', ''],
  [maxScriptAttempts, 'notStarted', 'the service ended during each of 5 attempts; it is not run again'],
])(
  'a script that ends its service each time it runs is not run for ever (%i times)',
  async (attempt, outcome, detail) => {
    const first = await started();
    await first.attach(null, '8', sh('true'));
    await first.stop();
    const event = await log.append(stoppedDraft(1));
    // As it is stored when the service is killed during an attempt.
    const [script] = await log.loadDocuments('script');
    const value = { script: script?.value, event, attempt };
    const seen = { kind: 'scriptCursor', key: 'cursor', value: { seq: event.seq } };
    await log.putDocuments([{ kind: 'scriptRun', key: `${script?.key}/${event.seq}`, value }, seen]);
    await started();
    expect(await ended()).toMatchObject({ outcome, attempt: maxScriptAttempts, detail });
    expect(await log.loadDocuments('scriptRun')).toEqual([]);
  },
);

test.each([
  ['echo ran', false],
  ['', false],
  ['#!', false],
  ['#! /bin/sh', true],
  ['#!/bin/sh\necho ran', true],
  ['\u007fELF', true],
])('an executable file %j is run by no shell that it does not name', async (text, isProgram) => {
  const file = join(directory, 'file');
  await writeFile(file, text);
  await chmod(file, 0o755);
  const scripts = await started();
  await scripts.attach(null, '8', { command: [file] });
  await log.append(stoppedDraft(1));
  const { outcome, detail, output } = await ended();
  if (isProgram) {
    if (text.endsWith('ran')) expect(output).toBe('ran\n');
    return;
  }
  expect([outcome, output]).toEqual(['notStarted', '']);
  expect(detail).toContain('no program');
});

test('an executable file whose interpreter is no program is not run by a shell either', async () => {
  const [file, interpreter] = [join(directory, 'file'), join(directory, 'interpreter')];
  await writeFile(interpreter, 'echo interpreter ran');
  await writeFile(file, `#!${interpreter}\necho ran`);
  await Promise.all([chmod(file, 0o755), chmod(interpreter, 0o755)]);
  const scripts = await started();
  await scripts.attach(null, '8', { command: [file] });
  await log.append(stoppedDraft(1));
  expect(await ended()).toMatchObject({ outcome: 'notStarted', output: '' });
});
