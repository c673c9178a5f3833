import { isEvent, stateCodes, stateSequences, VmError, type VmState } from '@vmpulse/wire';
import { beforeEach, describe, expect, it } from 'vitest';
import { ServedMachines } from '../../../../test/support/served-machines.ts';
import type { RunState } from '../hypervisor/hypervisor.ts';

let served: ServedMachines;
let vm: string;

beforeEach(async () => {
  served = new ServedMachines();
  await served.server.start();
  vm = await served.create();
});

interface CrashPoint {
  readonly stored: VmState;
  /** What the process does when it is found; absent: gone. */
  readonly found?: RunState;
  readonly saved?: boolean;
  /** turnOff clears the configuration in force, a reset does not. */
  readonly meantOff?: boolean;
  readonly types: string[];
  readonly rests: VmState;
  readonly runs?: RunState;
}

const changes = (count: number): string[] => Array.from({ length: count }, () => 'stateChanged');
const off = ['turnedOffByGuest', ...changes(3)];
const dead = ['heartbeatStopped', ...changes(3)];

const crashPoints: CrashPoint[] = [
  { stored: 'turnedOff', types: [], rests: 'turnedOff' },
  { stored: 'turnedOff', saved: true, types: [], rests: 'saved' },
  { stored: 'turnedOff', found: 'running', types: changes(2), rests: 'running' },
  { stored: 'turnedOff', found: 'preparing', types: changes(2), rests: 'running', runs: 'running' },
  { stored: 'turnedOff', found: 'shutdown', types: [...changes(2), ...off], rests: 'turnedOff' },
  { stored: 'turningOn', types: changes(1), rests: 'turnedOff' },
  { stored: 'turningOn', found: 'running', types: changes(1), rests: 'running' },
  { stored: 'turningOn', found: 'preparing', types: changes(1), rests: 'running', runs: 'running' },
  { stored: 'turningOn', found: 'shutdown', types: [...changes(1), ...off], rests: 'turnedOff' },
  { stored: 'turningOn', found: 'internalError', types: changes(1), rests: 'running' },
  { stored: 'restoring', saved: true, types: changes(1), rests: 'saved' },
  { stored: 'restoring', types: changes(1), rests: 'turnedOff' },
  { stored: 'restoring', found: 'paused', saved: true, types: changes(1), rests: 'running', runs: 'running' },
  { stored: 'running', types: dead, rests: 'turnedOff' },
  { stored: 'running', saved: true, types: changes(3), rests: 'saved' },
  { stored: 'running', found: 'running', types: [], rests: 'running' },
  { stored: 'running', found: 'panicked', types: [], rests: 'running' },
  { stored: 'running', found: 'other', types: [], rests: 'running' },
  { stored: 'running', found: 'paused', types: changes(1), rests: 'paused' },
  { stored: 'running', found: 'shutdown', types: off, rests: 'turnedOff' },
  { stored: 'running', found: 'saving', types: [], rests: 'running', runs: 'running' },
  { stored: 'paused', found: 'paused', types: [], rests: 'paused' },
  { stored: 'paused', found: 'running', types: changes(1), rests: 'running' },
  { stored: 'paused', found: 'saving', types: [], rests: 'paused', runs: 'paused' },
  { stored: 'paused', types: dead, rests: 'turnedOff' },
  { stored: 'saving', types: dead, rests: 'turnedOff' },
  { stored: 'saving', saved: true, types: changes(3), rests: 'saved' },
  { stored: 'saving', found: 'saving', types: changes(1), rests: 'running', runs: 'running' },
  { stored: 'saving', found: 'saving', saved: true, types: changes(3), rests: 'saved' },
  { stored: 'saving', found: 'running', types: changes(1), rests: 'running' },
  { stored: 'saving', found: 'shutdown', types: off, rests: 'turnedOff' },
  { stored: 'turningOff', meantOff: true, types: changes(2), rests: 'turnedOff' },
  { stored: 'turningOff', meantOff: true, saved: true, types: changes(2), rests: 'saved' },
  { stored: 'turningOff', meantOff: true, found: 'running', types: changes(2), rests: 'turnedOff' },
  { stored: 'turningOff', meantOff: true, found: 'saving', saved: true, types: changes(2), rests: 'saved' },
  { stored: 'turningOff', found: 'running', types: changes(1), rests: 'running' },
  { stored: 'turningOff', types: ['heartbeatStopped', ...changes(2)], rests: 'turnedOff' },
  { stored: 'deleteMachine', meantOff: true, types: changes(1), rests: 'turnedOff' },
  { stored: 'deleteMachine', meantOff: true, found: 'shutdown', types: changes(1), rests: 'turnedOff' },
  { stored: 'deleteMachine', found: 'running', types: changes(2), rests: 'running' },
];

describe('a service that was killed finds a machine', () => {
  it.each(crashPoints)('stored $stored, process $found, saved $saved: $rests', async (point) => {
    const { stored, found, saved, meantOff, types, rests, runs } = point;
    const { directory } = served.hypervisor.files(vm);
    const record = await served.record(vm);
    const resting = stored === 'turnedOff';
    const process = served.host.spawn(vm, directory, record.configuration);
    if (found === undefined) process.kill('SIGKILL', 'last words');
    else process.setRunState(found);
    if (saved === true) served.host.savedStates.set(vm, record.configuration);
    const data = { state: stored, stateCode: stateCodes[stored], previousState: 'turnedOff' as const };
    const activeConfiguration = resting || meantOff === true ? null : record.configuration;
    const put = { ...record, activeConfiguration, process: resting ? null : process.record };
    await served.memory.append(
      { type: 'stateChanged', vm: { id: vm, name: 'web-1' }, timeMs: 0, data },
      { put },
    );
    const { seq } = served;

    await served.kill().start();
    await served.settle();

    expect(await served.types(seq)).toEqual(['serviceStarted', ...types]);
    expect(served.server.get(vm)).toMatchObject({ state: rests, task: null });
    const alive = rests === 'running' || rests === 'paused';
    expect(process.end === null).toBe(alive);
    if (runs !== undefined) expect(process.runState).toBe(runs);
    const kept = await served.record(vm);
    expect(kept.process).toEqual(alive ? process.record : null);
    expect(kept.activeConfiguration === null).toBe(!alive);
    expect(served.host.savedStates.has(vm)).toBe(rests === 'saved');
    const begun = served.watch(vm).calls.filter((call) => call.startsWith('begin'));
    expect(begun).toEqual(found === undefined ? [] : [`begin adopted ${found}`]);
    if (types.includes('heartbeatStopped'))
      expect(served.watch(vm).calls).toContain('end foundDead: last words');
    // Every state told follows the one before.
    const told = (await served.events(seq)).filter((event) => isEvent(event, 'stateChanged'));
    const previous = told.map((event) => event.data.previousState);
    expect(previous).toEqual(
      [saved === true && resting ? 'saved' : stored, ...told.map(({ data: { state } }) => state)].slice(
        0,
        told.length,
      ),
    );
    // And what it shows now works.
    const next = rests === 'running' ? 'pause' : rests === 'paused' ? 'resume' : 'startup';
    if (found !== 'internalError') expect((await served.run(vm, next)).result).toBe('success');
  });
});

it('a start that is killed between the spawn and the first durable event is finished', async () => {
  served.hypervisor.script.startDelayMs = 60_000;
  served.memory.failWrites('killed before anything was written');
  served.server.operate(vm, 'startup');
  await served.settle();
  served.kill();
  const fresh = (await served.memory.loadMachines())[0];
  expect(fresh).toMatchObject({ state: 'turnedOff', record: { process: null } });
  const { hypervisor } = served;
  const adoption = await hypervisor.adopt(vm, null);
  expect(adoption.kind).toBe('running');
});

it('a machine that ran on is watched, ticks are listened to, and nothing is told of it', async () => {
  await served.bring(vm, 'running');
  const { seq } = served;
  await served.kill().start();
  await served.settle();
  expect(await served.types(seq)).toEqual(['serviceStarted']);
  expect([...served.ticks.listeners.keys()]).toEqual([`/fake/vms/${vm}/heartbeat.sock`]);
  served.host.machine(vm).kill();
  await served.settle();
  expect(await served.types(seq)).toEqual(['serviceStarted', 'heartbeatStopped', ...changes(3)]);
});

it('tells whether the service had ended in order', async () => {
  const unclean = async (): Promise<boolean[]> =>
    (await served.events()).flatMap((event) =>
      isEvent(event, 'serviceStarted') ? [event.data.unclean] : [],
    );
  await served.kill().start();
  await served.server.stop();
  await served.kill().start();
  expect(await unclean()).toEqual([false, true, false]);
});

it('a machine that cannot be found out about is not told dead, and is asked for until it can be', async () => {
  await served.bring(vm, 'running');
  const { seq } = served;
  const server = served.kill();
  const { hypervisor } = served;
  const adopt = hypervisor.adopt.bind(hypervisor);
  let attempts = 0;
  hypervisor.adopt = (id, record) => {
    attempts += 1;
    if (attempts < 4) return Promise.reject(new VmError('VMPULSE_E_HYPERVISOR', 'Out of file descriptors.'));
    return adopt(id, record);
  };
  const started = server.start();
  await served.settle();
  expect(server.get(vm)).toMatchObject({ state: 'running', operations: [] });
  expect(() => server.operate(vm, 'pause')).toThrow(/not found out yet/);
  await served.clock.advanceAsync(8_000);
  await started;
  expect(attempts).toBe(4);
  expect(await served.types(seq)).toEqual(['serviceStarted']);
  expect((await served.run(vm, 'pause')).result).toBe('success');
});

it('one machine whose hypervisor hangs makes the service ready 10 s later, and no other machine', async () => {
  const other = await served.create({ name: 'web-2' });
  await served.bring(vm, 'running');
  await served.bring(other, 'running');
  const server = served.kill();
  const { hypervisor } = served;
  const adopt = hypervisor.adopt.bind(hypervisor);
  hypervisor.adopt = (id, record) => (id === vm ? Promise.race<never>([]) : adopt(id, record));
  let ready = false;
  const started = server.start().then(() => {
    ready = true;
    return ready;
  });
  await served.settle();
  expect((await served.run('web-2', 'pause')).result).toBe('success');
  expect(ready).toBe(false);
  await served.clock.advanceAsync(10_000);
  expect(await started).toBe(true);
});

it('finds 1,000 machines with less than a second of work', async () => {
  for (let index = 0; index < 1_000; index += 1) {
    const id = await served.create({ name: `m-${index}` });
    if (index % 2 === 0) served.server.operate(id, 'startup');
  }
  await served.settle();
  await served.settle();
  const server = served.kill();
  // Processor time, so that a busy host does not make it fail; all of it is this process's.
  const begun = process.cpuUsage();
  await server.start();
  const { user, system } = process.cpuUsage(begun);
  expect((user + system) / 1_000).toBeLessThan(1_000);
  expect((await server.info()).vms.running).toBe(500);
});

it('machines of a hypervisor the service does not have are shown, and not told dead', async () => {
  await served.bring(vm, 'running');
  const record = await served.record(vm);
  await served.memory.putMachine({ ...record, hypervisor: 'libvirt' });
  const { seq } = served;
  const started = served.kill().start();
  await served.clock.advanceAsync(11_000);
  await started;
  expect(served.server.get(vm)).toMatchObject({ state: 'running', hypervisor: 'libvirt', operations: [] });
  expect(await served.types(seq)).toEqual(['serviceStarted']);
});

it('a cut-off start whose QEMU refuses to go on comes to nothing, and the saved state stays', async () => {
  const record = await served.record(vm);
  const process = served.host.spawn(vm, served.hypervisor.files(vm).directory, record.configuration);
  process.setRunState('restoring');
  served.host.savedStates.set(vm, record.configuration);
  const { seq } = served;
  await served.kill().start();
  expect(served.server.get(vm)).toMatchObject({ state: 'turningOn', operations: [] });
  expect(() => served.server.operate(vm, 'turnOff')).toThrow(/repair/);
  await served.clock.advanceAsync(31_000);
  expect(await served.states(seq)).toEqual(['turningOn', 'turnedOff']);
  expect(served.state(vm)).toBe('saved');
  expect(process.end).not.toBeNull();
  expect(await served.types(seq)).not.toContain('heartbeatStopped');
  expect(stateSequences.startup[0]).toBe('turningOn');
});
