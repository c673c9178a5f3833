import { existsSync } from 'node:fs';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VmError, type VmEvent, isEvent, scriptTriggers } from '@vmpulse/wire';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { eventually } from '../../../../test/support/eventually.ts';
import { machineReference, resumedDraft, stoppedDraft } from '../../../../test/support/machines.ts';
import { MemoryEventLog } from '../../../../test/support/memory-event-log.ts';
import { SystemClock } from '../clock.ts';
import { maxRunningScripts, maxScriptQueue } from '../limits.ts';
import { type ScriptPorts, Scripts } from './script.ts';

let directory: string;
let log: MemoryEventLog;
let open: Scripts[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmpulse-scripts-'));
  log = new MemoryEventLog();
  open = [];
});

afterEach(async () => {
  await Promise.all(open.map((scripts) => scripts.stop()));
  await rm(directory, { recursive: true });
});

function make(): Scripts {
  const findVm = (vm: string): { id: string; name: string } => {
    const found = [0, 1, 2].map(machineReference).find(({ id, name }) => id === vm || name === vm);
    if (found === undefined) throw new VmError('VM_E_VM_UNKNOWN', `no machine ${vm}`);
    return found;
  };
  const logger = { warn: vi.fn() } as unknown as ScriptPorts['logger'];
  const runs = join(directory, 'scripts');
  return new Scripts({
    clock: new SystemClock(),
    log,
    store: log,
    logger,
    directory: runs,
    findVm,
    termMs: 100,
  });
}

async function started(): Promise<Scripts> {
  const scripts = make();
  open.push(scripts);
  await scripts.load();
  await scripts.start();
  return scripts;
}

const sh = (script: string): { command: string[] } => ({ command: ['/bin/sh', '-c', script] });
const enable = { vsScriptsEnabled: true, vmScriptsEnabled: true };
const all = async (): Promise<VmEvent[]> => (await log.read({ after: 0, limit: 1_000 })).events;
const ends = async (): Promise<VmEvent<'scriptEnded'>[]> =>
  (await all()).filter((event) => isEvent(event, 'scriptEnded'));

/** The first so many ends. */
async function ended(count: number): Promise<VmEvent<'scriptEnded'>['data'][]> {
  const until = performance.now() + 120_000;
  for (;;) {
    const found = await ends();
    if (found.length >= count) return found.map(({ data }) => data);
    if (performance.now() > until) throw new Error(`${found.length} of ${count} scripts ended`);
    await new SystemClock().sleep(5);
  }
}

test('a script of the server runs for each such event of every machine, and how it ended is an event', async () => {
  const scripts = await started();
  await scripts.changeSettings(enable);
  const attached = await scripts.attach(
    null,
    '8',
    sh('printf "%s " "$VMPULSE_VM_NAME" "$VMPULSE_VERDICT"; cat'),
  );
  expect(attached).toMatchObject({
    scope: 'server',
    trigger: 'heartbeatStopped',
    eventType: 8,
    enabled: true,
  });
  const first = await log.append(stoppedDraft(1));
  await log.append(resumedDraft(1));
  const second = await log.append(stoppedDraft(2));
  const [one, two] = await ended(2);
  expect(one).toEqual({
    messageId: 130,
    vm: machineReference(1),
    scope: 'server',
    trigger: 'heartbeatStopped',
    eventSeq: first.seq,
    executable: '/bin/sh',
    outcome: 'ok',
    exitStatus: 0,
    signal: null,
    durationMs: expect.any(Number) as number,
    output: `web-1 hung ${JSON.stringify(first)}\n`,
    detail: '',
    attempt: 1,
  });
  expect(two).toMatchObject({ eventSeq: second.seq, vm: machineReference(2) });
  expect(await readdir(join(directory, 'scripts'))).toEqual([]);
});

test('one of a machine runs for that machine alone, and one may be for a change of state', async () => {
  const scripts = await started();
  await scripts.changeSettings(enable);
  await scripts.attach(machineReference(1).name, '2', sh('echo mine'));
  await scripts.attach(null, 'vmLaunched', sh('echo all; exit 1'));
  for (const n of [2, 1]) {
    for (const [state, previousState] of [
      ['running', 'turningOn'],
      ['running', 'paused'],
    ] as const) {
      const data = { state, stateCode: 5, previousState };
      await log.append({ type: 'stateChanged', vm: machineReference(n), timeMs: 0, data });
    }
  }
  const found = await ended(3);
  expect(
    found
      .map(({ scope, vm, output, messageId }) => `${scope} ${vm?.name} ${output.trim()} ${messageId}`)
      .toSorted(),
  ).toEqual(['server web-1 all 131', 'server web-2 all 131', 'vm web-1 mine 130']);
});

test('scripts are off until they are switched on, and never run for what happened meanwhile', async () => {
  const scripts = await started();
  expect(scripts.settings()).toEqual({ vsScriptsEnabled: false, vmScriptsEnabled: false });
  await scripts.attach(null, 'heartbeatStopped', sh('echo server'));
  await scripts.attach(machineReference(1).id, 'heartbeatStopped', sh('echo vm'));
  await log.append(stoppedDraft(1));
  expect(await scripts.changeSettings({ vmScriptsEnabled: true })).toEqual({
    ...enable,
    vsScriptsEnabled: false,
  });
  const { seq } = await log.append(stoppedDraft(1));
  expect(await ended(1)).toMatchObject([{ eventSeq: seq, scope: 'vm' }]);
  await scripts.changeSettings({ vmScriptsEnabled: false });
  await log.append(stoppedDraft(1));
  await scripts.stop();
  expect(await ends()).toHaveLength(1);
  const again = await started();
  expect(again.settings()).toEqual({ vsScriptsEnabled: false, vmScriptsEnabled: false });
  expect(again.list().map(({ scope }) => scope)).toEqual(['server', 'vm']);
});

test('there is one for each event; it is told, fetched, listed and removed', async () => {
  const scripts = await started();
  const { name } = machineReference(1);
  await scripts.attach(name, '8', { ...sh('true'), timeoutSeconds: 5 });
  await expect(scripts.attach(name, 'heartbeatStopped', sh('false'))).rejects.toMatchObject({
    code: 'VM_E_SCRIPT_ALREADY_EXISTS',
  });
  expect(scripts.fetch(name, '8')).toMatchObject({
    vm: machineReference(1),
    timeoutSeconds: 5,
    enabled: false,
  });
  expect(() => scripts.fetch(null, '8')).toThrow(expect.objectContaining({ code: 'VMPULSE_E_NOT_FOUND' }));
  expect(() => scripts.fetch('nobody', '8')).toThrow(expect.objectContaining({ code: 'VM_E_VM_UNKNOWN' }));
  for (const bad of ['scriptEnded', 'scriptsSkipped', 'nothing', '12', '__proto__', '']) {
    await expect(scripts.attach(null, bad, sh('true'))).rejects.toMatchObject({ code: 'E_INVALIDARG' });
  }
  await scripts.remove(name, '8');
  expect(scripts.list()).toEqual([]);
  await expect(scripts.remove(name, '8')).rejects.toMatchObject({ code: 'VMPULSE_E_NOT_FOUND' });
  const told = (await all()).map(({ data, subject }) => [subject, data]);
  expect(told).toEqual([
    [name, { vm: machineReference(1), key: 'scripts/heartbeatStopped', value: '/bin/sh', effective: 'now' }],
    [name, { vm: machineReference(1), key: 'scripts/heartbeatStopped', value: null, effective: 'now' }],
  ]);
});

test.each([
  [undefined, undefined],
  [{}, '/command'],
  [{ command: [] }, '/command'],
  [{ command: '/bin/true' }, '/command'],
  [{ command: ['true'] }, '/command/0'],
  [{ command: ['/bin/true', 1] }, '/command'],
  [{ command: ['/bin/true', 'a\0b'] }, '/command'],
  [{ command: ['/bin/true'], timeoutSeconds: 0 }, '/timeoutSeconds'],
  [{ command: ['/bin/true'], timeoutSeconds: 3_601 }, '/timeoutSeconds'],
  [{ command: ['/bin/true'], shell: true }, '/shell'],
])('the request %j is refused', async (request, field) => {
  const attached = (await started()).attach(null, '8', request);
  await expect(attached).rejects.toMatchObject({ code: 'VMPULSE_E_REQUEST_INVALID', field });
});

test('a low disk runs the scripts of the original on the server and on each machine that has one there', async () => {
  const scripts = await started();
  await scripts.changeSettings(enable);
  for (const vm of [null, machineReference(1).id, machineReference(2).id]) {
    await scripts.attach(vm, '10', sh('echo $VMPULSE_LEVEL'));
    await scripts.attach(vm, '11', sh('echo $VMPULSE_LEVEL $VMPULSE_PATH'));
  }
  const space = { path: '/images', freeBytes: 5, boundBytes: 9, machineCount: 1 };
  const data = {
    ...space,
    messageId: 107,
    level: 'error',
    eventType: 11,
    machines: [machineReference(1)],
  } as const;
  const { seq } = await log.append({ type: 'diskSpaceLow', timeMs: 0, data });
  const found = await ended(2);
  expect(found.map(({ trigger, eventSeq, output }) => [trigger, eventSeq, output])).toEqual([
    ['diskSpaceError', seq, 'error /images\n'],
    ['diskSpaceError', seq, 'error /images\n'],
  ]);
  expect(new Set(found.map(({ scope }) => scope))).toEqual(new Set(['server', 'vm']));
});

test('no script runs for what scripts do, nor for what is done to them', async () => {
  const scripts = await started();
  await scripts.changeSettings(enable);
  for (const trigger of scriptTriggers) await scripts.attach(null, trigger, sh('true'));
  await scripts.changeSettings({ vmScriptsEnabled: false });
  await log.append(stoppedDraft(1));
  await ended(1);
  await scripts.stop();
  expect((await ends()).map(({ data }) => data.trigger)).toEqual(['heartbeatStopped']);
});

test('events of one script are run one at a time, in order', async () => {
  const scripts = await started();
  await scripts.changeSettings(enable);
  const marks = join(directory, 'marks');
  await writeFile(marks, '');
  await scripts.attach(
    null,
    '8',
    sh(`echo begin $VMPULSE_SEQ >> ${marks}; sleep 0.02; echo end $VMPULSE_SEQ >> ${marks}`),
  );
  const { seq } = await log.append(stoppedDraft(0));
  for (let n = 1; n < 6; n += 1) await log.append(stoppedDraft(n % 3));
  const found = await ended(6);
  expect(found.map(({ eventSeq }) => eventSeq)).toEqual(
    found.map(({ eventSeq }) => eventSeq).toSorted((a, b) => a - b),
  );
  const lines = (await readFile(marks, 'utf8')).trim().split('\n');
  expect(lines.slice(0, 2)).toEqual([`begin ${seq}`, `end ${seq}`]);
  expect(lines.filter((_, index) => index % 2 === 0).every((line) => line.startsWith('begin'))).toBe(true);
});

test('so many scripts run at once; the others take their turn', async () => {
  const scripts = await started();
  await scripts.changeSettings(enable);
  const gate = join(directory, 'gate');
  const begun = join(directory, 'begun');
  await writeFile(begun, '');
  const command = sh(`echo $$ >> ${begun}; until [ -e ${gate} ]; do sleep 0.05; done`);
  const count = async (): Promise<number> => (await readFile(begun, 'utf8')).split('\n').length - 1;
  const data = { state: 'running', stateCode: 5, previousState: 'turningOn' } as const;
  for (const n of [0, 1, 2]) {
    for (const trigger of ['8', '2', 'stateChanged', 'heartbeatResumed']) {
      await scripts.attach(machineReference(n).id, trigger, command);
    }
    await log.append(stoppedDraft(n));
    await log.append(resumedDraft(n));
    await log.append({ type: 'stateChanged', vm: machineReference(n), timeMs: 0, data });
  }
  let seen = 0;
  for (const until = performance.now() + 120_000; seen < maxRunningScripts && performance.now() < until;) {
    seen = await count();
  }
  expect(seen).toBe(maxRunningScripts);
  await writeFile(gate, '');
  await ended(12);
  expect(await count()).toBe(12);
});

test('past the bound of what waits for a script the rest is skipped, told once, and no other is late', async () => {
  const scripts = await started();
  await scripts.changeSettings(enable);
  const gate = join(directory, 'gate');
  await scripts.attach(null, '8', sh(`until [ -e ${gate} ]; do sleep 0.01; done`));
  await scripts.attach(null, 'heartbeatResumed', sh('echo other'));
  const more = 5;
  for (let n = 0; n < maxScriptQueue + more; n += 1) await log.append(stoppedDraft(n % 3));
  const { seq } = await log.append(resumedDraft(1));
  expect(await ended(1)).toMatchObject([{ eventSeq: seq, output: 'other\n' }]);
  expect(scripts.fetch(null, '8').pending).toBe(maxScriptQueue);
  expect(scripts.counts()).toEqual({ running: 1, waiting: maxScriptQueue - 1, skipped: more });
  await writeFile(gate, '');
  await ended(maxScriptQueue + 1);
  const skipped = (await all()).filter((event) => isEvent(event, 'scriptsSkipped'));
  expect(skipped.map(({ data }) => data)).toEqual([
    {
      messageId: 134,
      reason: 'tooMany',
      scope: 'server',
      trigger: 'heartbeatStopped',
      skipped: more,
      firstSeq: seq - more,
      lastSeq: seq - 1,
    },
  ]);
});

test('what waits is dropped with its script; vmDeleted still runs the one of the machine it ends', async () => {
  const scripts = await started();
  await scripts.changeSettings(enable);
  const vm = machineReference(1);
  const gate = join(directory, 'gate');
  await scripts.attach(null, '8', sh(`until [ -e ${gate} ]; do sleep 0.01; done`));
  for (let n = 0; n < 3; n += 1) await log.append(stoppedDraft(n));
  await eventually('three to run', () => scripts.fetch(null, '8').pending === 3);
  await scripts.remove(null, '8');
  await scripts.attach(vm.id, 'vmDeleted', sh('echo gone'));
  await log.append({ type: 'vmDeleted', vm, timeMs: 0, data: {} });
  expect(await ended(1)).toMatchObject([{ trigger: 'vmDeleted', output: 'gone\n' }]);
  expect(scripts.list()).toEqual([]);
  await writeFile(gate, '');
  await ended(2);
  await scripts.stop();
  expect(await ends()).toHaveLength(2);
  for (const kind of ['scriptRun', 'script', 'scriptSkips'])
    expect(await log.loadDocuments(kind)).toEqual([]);
});

test('a run that a stop cut off is run again, and its event says which attempt it was; none is doubled', async () => {
  const scripts = await started();
  await scripts.changeSettings(enable);
  const gate = join(directory, 'gate');
  await scripts.attach(null, '8', sh(`echo > ${directory}/began; until [ -e ${gate} ]; do sleep 0.01; done`));
  await scripts.attach(null, 'heartbeatResumed', sh('true'));
  const { seq } = await log.append(stoppedDraft(1));
  await log.append(resumedDraft(1));
  await ended(1);
  await eventually('its begin', () => existsSync(join(directory, 'began')));
  await scripts.stop();
  expect(await ends()).toHaveLength(1);
  await log.append(stoppedDraft(2));
  await writeFile(gate, '');
  await started();
  const found = await ended(3);
  expect(found.map(({ trigger, attempt }) => [trigger, attempt])).toEqual([
    ['heartbeatResumed', 1],
    ['heartbeatStopped', 2],
    ['heartbeatStopped', 1],
  ]);
  expect(found[1]?.eventSeq).toBe(seq);
});

test('events that were removed before they were looked at are told as skipped', async () => {
  const scripts = await started();
  await scripts.changeSettings(enable);
  await scripts.attach(null, '8', sh('true'));
  await scripts.stop();
  const { seq } = await log.append(stoppedDraft(1));
  for (let n = 0; n < 3; n += 1) await log.append(resumedDraft(1));
  log.deleteThrough(seq + 1);
  await started();
  await eventually('the gap', () => log.state().lastSeq > seq + 3);
  const gap = (await log.read({ after: seq + 3, limit: 1 })).events[0];
  expect(gap?.data).toMatchObject({
    reason: 'eventsGone',
    skipped: 2,
    firstSeq: seq,
    lastSeq: seq + 1,
    trigger: null,
  });
});
