import { isEvent, type VmError, type VmState } from '@vmpulse/wire';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { ServedMachines } from '../../../../test/support/served-machines.ts';
import { maxMachines } from '../limits.ts';

let served: ServedMachines;

beforeEach(async () => {
  served = new ServedMachines();
  await served.server.start();
});

const rejection = async (promise: Promise<unknown>): Promise<VmError> =>
  promise.then(
    () => {
      throw new Error('It was not refused.');
    },
    (error: unknown) => error as VmError,
  );

describe('machines are found', () => {
  it('by name in any case, and by UUID', async () => {
    const id = await served.create({ name: 'Web-1' });
    expect(served.server.get('wEB-1').id).toBe(id);
    expect(served.server.get(id.toUpperCase()).name).toBe('Web-1');
  });

  it('or the error says what was meant', async () => {
    await served.create({ name: 'web-1' });
    expect(() => served.server.get('web1')).toThrow(/no machine 'web1'; did you mean 'web-1'\?/);
    expect(() => served.server.get('zebra-of-the-savanna')).toThrow(/see the list/);
    expect(() => served.server.get('x'.repeat(100_000))).toThrow(
      expect.objectContaining({ code: 'VM_E_VM_UNKNOWN' }),
    );
  });
});

describe('create', () => {
  it('tells vmCreated, and stores the machine with it', async () => {
    const id = await served.create();
    const events = await served.events();
    expect(events.at(-1)).toMatchObject({ type: 'io.vmpulse.vmCreated', subject: 'web-1' });
    expect(await served.record(id)).toMatchObject({ id, hypervisor: 'fake' });
    await served.kill().start();
    expect(served.server.get(id)).toMatchObject({ name: 'web-1', state: 'turnedOff', stateCode: 1 });
  });

  it('takes a UUID of the caller, once', async () => {
    const id = '6F1C2F0E-7f0f-4a57-9f5e-0d8c5b1f3a10';
    expect((await served.server.create({ name: 'a' }, id)).id).toBe(id.toLowerCase());
    expect((await rejection(served.server.create({ name: 'b' }, id))).code).toBe('E_ALREADY_EXISTS');
    expect(await rejection(served.server.create({ name: 'b' }, '../etc'))).toMatchObject({ field: '/id' });
  });

  it('takes a name once, in any case, of two at once too', async () => {
    const both = await Promise.allSettled([
      served.create({ name: 'web-1' }),
      served.create({ name: 'WEB-1' }),
    ]);
    expect(both.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    const error = await rejection(served.create({ name: 'Web-1' }));
    expect(error).toMatchObject({ code: 'VM_E_CONFIG_DUPLICATE_NAME', field: '/name' });
    const [{ id } = { id: '' }] = served.server.list();
    expect((await rejection(served.create({ name: id.toUpperCase() }))).code).toBe(
      'VM_E_CONFIG_DUPLICATE_NAME',
    );
  });

  it('is bounded', () => {
    expect(maxMachines).toBeGreaterThanOrEqual(1_000);
  });
});

describe('delete', () => {
  it('is told, frees the name and the watch, and outlives a restart', async () => {
    const id = await served.create();
    const watch = served.watch(id);
    await served.server.delete('web-1');
    expect(watch.calls).toContain('close');
    expect((await served.types()).at(-1)).toBe('vmDeleted');
    await served.create({ name: 'web-1' });
    await served.kill().start();
    expect(served.server.list().map((vm) => vm.id)).not.toContain(id);
  });

  it('of a running machine is refused', async () => {
    await served.create();
    await served.bring('web-1', 'running');
    expect((await rejection(served.server.delete('web-1'))).code).toBe('VM_E_VM_RUNNING');
    expect(served.state('web-1')).toBe('running');
  });
});

describe('change', () => {
  beforeEach(() => served.create());

  it('of a machine that is off takes effect now, a rename too', async () => {
    const { seq } = served;
    await served.server.change('web-1', { name: 'web-2', cpus: 2 });
    expect(() => served.server.get('web-1')).toThrow();
    const told = (await served.events(seq)).flatMap((event) =>
      isEvent(event, 'configurationChanged') ? [[event.subject, event.data.key, event.data.effective]] : [],
    );
    expect(told).toEqual([
      ['web-2', 'name', 'now'],
      ['web-2', 'cpus', 'now'],
    ]);
    await served.create({ name: 'web-1' });
    expect((await rejection(served.server.change('web-1', { name: 'WEB-2' }))).code).toBe(
      'VM_E_CONFIG_DUPLICATE_NAME',
    );
    await served.server.change('web-2', { name: 'Web-2' });
    expect(served.server.get('web-2').name).toBe('Web-2');
  });

  it.each(['running', 'paused'] as const)(
    'of a machine that is %s: hardware waits, the rest does not',
    async (state) => {
      await served.bring('web-1', state);
      const { id } = served.server.get('web-1');
      const { seq } = served;
      const refused = await rejection(served.server.change('web-1', { name: 'x', notes: 'y' }));
      expect(refused).toMatchObject({ code: 'VM_E_PREF_VM_ACTIVE', field: '/name' });
      const info = await served.server.change('web-1', { memoryMiB: 1_024, heartbeat: { intervalMs: 500 } });
      expect(info).toMatchObject({ memoryMiB: 1_024, changesPending: true, notes: '' });
      expect(served.watch(id).calls).toContain('configuration 500');
      const told = (await served.events(seq)).flatMap((event) =>
        isEvent(event, 'configurationChanged') ? [[event.data.key, event.data.effective]] : [],
      );
      expect(told).toEqual([
        ['memoryMiB', 'nextStart'],
        ['heartbeat/intervalMs', 'now'],
      ]);
      await served.run('web-1', 'turnOff');
      expect(served.server.get('web-1').changesPending).toBe(false);
      await served.run('web-1', 'startup');
      expect(served.host.machine(id).configuration.memoryMiB).toBe(1_024);
      expect((await served.record(id)).activeConfiguration?.memoryMiB).toBe(1_024);
    },
  );

  it('that changes nothing tells nothing', async () => {
    const { seq } = served;
    await served.server.change('web-1', { cpus: 1 });
    expect(served.seq).toBe(seq);
  });
});

it('info counts machines by state', async () => {
  await served.create();
  await served.create({ name: 'web-2' });
  await served.bring('web-2', 'paused');
  const info = await served.server.info();
  expect(info).toMatchObject({
    version: '0.1.0',
    seq: served.seq,
    vms: { turnedOff: 1, paused: 1, running: 0 },
  });
  expect(info.host).toMatchObject({ accelerator: 'tcg', qemuVersion: '7.2.0' });
});

it('counts states and verdicts without making the list of machines', async () => {
  const id = await served.create();
  const other = await served.create({ name: 'web-2' });
  await served.bring('web-2', 'running');
  served.watch(id).info = () => ({ ...served.watch(other).info(), verdict: 'hung' });
  const files = vi.spyOn(served.hypervisor, 'files');
  expect(served.server.countStates()).toMatchObject({ turnedOff: 1, running: 1, paused: 0 });
  expect(served.server.countVerdicts()).toEqual({ hung: 1, notObserved: 1 });
  expect(files).not.toHaveBeenCalled();
});

it('what was learned of a guest is stored as it is learned, the last tick once a minute', async () => {
  const id = await served.create();
  await served.bring(id, 'running');
  const watch = served.watch(id);
  watch.kept = { armed: true, intervalMs: 1_000, lastTickWallMs: 5, bootMs: [900] };
  const turns = [
    {},
    { source: 'ticker' },
    { additionsLost: 'ticker' },
    { source: 'agent' },
    { awaited: true },
    { toldClosed: true },
    { intervalMs: 2_000 },
    { bootMs: [900, 800] },
  ] as const;
  for (const turn of turns) {
    watch.kept = { ...watch.kept, ...turn };
    watch.request.onMemoryChanged?.();
    await served.settle();
    expect((await served.record(id)).watch).toEqual(watch.kept);
  }
  watch.kept = { ...watch.kept, lastTickWallMs: 6 };
  await served.clock.advanceAsync(30_000);
  expect((await served.record(id)).watch.lastTickWallMs).toBe(5);
  await served.clock.advanceAsync(35_000);
  expect((await served.record(id)).watch.lastTickWallMs).toBe(6);
});

describe('autostart', () => {
  const start = async (): Promise<void> => {
    await served.kill().start();
    await served.settle();
  };

  it('starts what is always to run after its delay, and leaves the rest alone', async () => {
    await served.create({ name: 'a', autostart: { action: 'always' } });
    await served.create({ name: 'b', autostart: { action: 'always', delaySeconds: 30 } });
    await served.create({ name: 'c' });
    await served.create({ name: 'd', autostart: { action: 'ifRunningAtQuit' } });
    await start();
    const states = (): VmState[] => served.server.list().map(({ state }) => state);
    expect(states()).toEqual(['running', 'turnedOff', 'turnedOff', 'turnedOff']);
    await served.clock.advanceAsync(30_000);
    await served.settle();
    expect(states()).toEqual(['running', 'running', 'turnedOff', 'turnedOff']);
  });

  it('starts again what ran when the service ended, and once only', async () => {
    const id = await served.create({
      autostart: { action: 'ifRunningAtQuit' },
      shutdownActionOnQuit: 'turnOff',
    });
    await served.bring(id, 'running');
    await served.server.stop();
    expect(served.host.machine(id).end).not.toBeNull();
    await start();
    expect(served.state(id)).toBe('running');
    await served.run(id, 'turnOff');
    await start();
    expect(served.state(id)).toBe('turnedOff');
  });

  it('starts again what was found dead, for the host was', async () => {
    const id = await served.create({ autostart: { action: 'ifRunningAtQuit' } });
    await served.bring(id, 'running');
    const server = served.kill();
    served.host.machine(id).kill();
    await server.start();
    await served.settle();
    expect(served.state(id)).toBe('running');
    expect(await served.types()).toContain('heartbeatStopped');
  });

  it('starts four at once', async () => {
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f'])
      await served.create({ name, autostart: { action: 'always' } });
    const server = served.kill();
    served.hypervisor.script.startDelayMs = 1_000;
    await server.start();
    await served.settle();
    expect((await server.info()).vms.turningOn).toBe(4);
    await served.clock.advanceAsync(3_000);
    expect((await server.info()).vms.running).toBe(6);
  });

  it('leaves a machine alone that someone started meanwhile, and goes on after a failure', async () => {
    await served.create({ name: 'a', autostart: { action: 'always', delaySeconds: 10 } });
    await served.create({ name: 'b', autostart: { action: 'always' }, boot: { kernel: '/nowhere/k' } });
    await start();
    await served.run('a', 'startup');
    await served.clock.advanceAsync(20_000);
    await served.settle();
    expect(served.server.tasks().filter(({ vm }) => vm.name === 'a')).toHaveLength(1);
    expect(await served.types()).toContain('taskFailed');
  });
});

describe('an orderly stop', () => {
  it.each([
    { action: 'leaveRunning', told: [], alive: true },
    { action: 'turnOff', told: ['turningOff', 'deleteMachine', 'turnedOff'], alive: false },
    { action: 'save', told: ['saving', 'turningOff', 'deleteMachine', 'turnedOff'], alive: false },
    // No additions: it is saved.
    { action: 'shutdown', told: ['saving', 'turningOff', 'deleteMachine', 'turnedOff'], alive: false },
  ] as const)('deals with a running machine by $action', async ({ action, told, alive }) => {
    const id = await served.create({ shutdownActionOnQuit: action });
    await served.bring(id, 'running');
    const { seq } = served;
    await served.server.stop('SIGTERM');
    expect(await served.states(seq)).toEqual(told);
    const types = await served.types(seq);
    expect(types.at(-1)).toBe('serviceStopped');
    expect(types).not.toContain('heartbeatStopped');
    expect(served.host.machine(id).end === null).toBe(alive);
    expect((await served.record(id)).runningAtQuit).toBe(true);
    expect(await served.memory.getValue('cleanStop')).toBe('true');
    expect(served.ticks.listeners.size).toBe(0);
  });

  it('shuts a guest down by its agent, and saves it where it does not go down in its time', async () => {
    const good = await served.create({ name: 'good', shutdownActionOnQuit: 'shutdown' });
    const bad = await served.create({ name: 'bad', shutdownActionOnQuit: 'shutdown' });
    for (const id of [good, bad]) {
      await served.bring(id, 'running');
      served.agent(id);
      served.host.machine(id).setPort('agent', true);
    }
    served.agent(good).onShutdown = () => served.host.machine(good).guestShutdown();
    await served.settle();
    const stopped = served.server.stop();
    await served.clock.advanceAsync(80_000);
    await stopped;
    expect([served.state(good), served.state(bad)]).toEqual(['turnedOff', 'saved']);
    expect(await served.types()).not.toContain('heartbeatStopped');
  });

  it('leaves running what is not done in time, and finds it again', async () => {
    const id = await served.create({ shutdownActionOnQuit: 'save' });
    await served.bring(id, 'running');
    served.hypervisor.script.saveDelayMs = 200_000;
    const stopped = served.server.stop();
    await served.clock.advanceAsync(81_000);
    await stopped;
    expect(served.host.machine(id).end).toBeNull();
    expect((await served.types()).at(-1)).toBe('serviceStopped');
    // The save is given up, so that the guest is not held for nobody.
    await served.settle();
    expect(served.host.machine(id).runState).toBe('running');
    await served.kill().start();
    expect(served.state(id)).toBe('running');
    expect(await served.types()).not.toContain('heartbeatStopped');
  });

  it('judges no guest it lets go of, and remembers only until the next start what ran', async () => {
    const id = await served.create();
    await served.bring(id, 'running');
    const watch = served.watch(id);
    await served.server.stop();
    expect(watch.calls.at(-1)).toBe('suspend pausing');
    await served.kill().start();
    await served.settle();
    expect((await served.record(id)).runningAtQuit).toBe(false);
  });

  it('refuses operations from its beginning, and happens once', async () => {
    await served.create();
    await Promise.all([served.server.stop(), served.server.stop()]);
    expect(() => served.server.operate('web-1', 'startup')).toThrow(
      expect.objectContaining({ code: 'VM_E_APP_SHUTTING_DOWN' }),
    );
    expect((await served.types()).filter((type) => type === 'serviceStopped')).toHaveLength(1);
  });
});
