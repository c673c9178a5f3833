import type { VmError } from '@vmpulse/wire';
import { beforeEach, describe, expect, it } from 'vitest';
import { ServedMachines } from '../../../../test/support/served-machines.ts';

let served: ServedMachines;

beforeEach(async () => {
  served = new ServedMachines();
  await served.server.start();
});

const failure = (promise: Promise<unknown>): Promise<VmError> =>
  promise.then(
    () => {
      throw new Error('It did not fail.');
    },
    (error: unknown) => error as VmError,
  );

describe('load', () => {
  it('shows the machines and lets nobody operate them; nothing is told, looked for or written', async () => {
    const id = await served.create();
    await served.bring(id, 'running');
    const { seq } = served;
    const server = served.kill();
    let looked = 0;
    served.hypervisor.adopt = () => {
      looked += 1;
      return Promise.resolve({ kind: 'gone', stderr: '' });
    };
    await server.load();
    await server.load();
    expect(server.list()).toHaveLength(1);
    expect(server.get('web-1')).toMatchObject({ id, state: 'running', operations: [] });
    expect(() => server.operate('web-1', 'turnOff')).toThrow(/not found out yet/);
    const taken = await failure(server.create({ name: 'WEB-1' }));
    expect(taken.code).toBe('VM_E_CONFIG_DUPLICATE_NAME');
    await served.settle();
    expect(looked).toBe(0);
    expect(served.seq).toBe(seq);
    expect(await served.memory.getValue('cleanStop')).toBe('false');
  });

  it('is what start goes on from, with what was made meanwhile', async () => {
    const id = await served.create();
    await served.bring(id, 'running');
    const server = served.kill();
    await server.load();
    await server.create({ name: 'web-2' });
    await server.start();
    expect(server.list().map(({ name, state }) => [name, state])).toEqual([
      ['web-1', 'running'],
      ['web-2', 'turnedOff'],
    ]);
  });

  it('takes two machines stored under one name: the second is found by its UUID, and can be renamed', async () => {
    const first = await served.create();
    const record = await served.record(first);
    const second = 'ffffffff-ffff-4fff-8fff-ffffffffffff';
    await served.memory.putMachine({ ...record, id: second });
    const server = served.kill();
    await server.start();
    expect(server.get('web-1').id).toBe(first);
    expect(server.get(second).name).toBe('web-1');
    expect(served.logged.filter(({ level }) => level === 'error')).toHaveLength(1);
    await server.change(second, { name: 'web-2' });
    expect(server.get('web-2').id).toBe(second);
    expect(server.get('web-1').id).toBe(first);
  });
});

describe('a create whose event is not durable in time', () => {
  it('fails, but the machine stays and keeps its name: it is there once the disk has written', async () => {
    const go = served.stallWrites();
    const created = failure(served.create());
    await served.clock.advanceAsync(5_500);
    expect((await created).code).toBe('VMPULSE_E_LOG_UNAVAILABLE');
    const again = failure(served.create());
    await served.settle();
    expect((await again).code).toBe('VM_E_CONFIG_DUPLICATE_NAME');
    go();
    await served.settle();
    await served.kill().start();
    expect(served.server.list().map(({ name }) => name)).toEqual(['web-1']);
  });

  it('and then is lost takes the machine away, and frees its name', async () => {
    const go = served.stallWrites();
    const created = failure(served.create());
    await served.clock.advanceAsync(5_500);
    await created;
    await served.memory.close();
    go();
    await served.settle();
    expect(served.server.list()).toEqual([]);
  });
});

describe('a service that did not start', () => {
  it('tells and stores nothing when it is stopped', async () => {
    const id = await served.create({ shutdownActionOnQuit: 'turnOff' });
    await served.bring(id, 'running');
    const { seq } = served;
    for (const loaded of [false, true]) {
      const server = served.kill();
      if (loaded) await server.load();
      await server.stop('it could not start');
      await server.start();
    }
    await served.settle();
    expect(served.seq).toBe(seq);
    expect(await served.memory.getValue('cleanStop')).toBe('false');
    expect(served.host.machine(id).end).toBeNull();
    await served.kill().start();
    expect((await served.events()).at(-1)?.data).toMatchObject({ unclean: true });
  });

  it('because its store cannot be read says so, and tells nothing either', async () => {
    const { seq } = served;
    served.memory.loadMachines = () => Promise.reject(new Error('unreadable'));
    const server = served.kill();
    expect(String(await failure(server.start()))).toContain('unreadable');
    await server.stop();
    expect(served.seq).toBe(seq);
    expect(await served.memory.getValue('cleanStop')).toBe('false');
  });
});

describe('an autostart that still waits for its delay', () => {
  const autostart = { action: 'ifRunningAtQuit', delaySeconds: 30 } as const;

  it('is not forgotten by a kill -9', async () => {
    const id = await served.create({ autostart, shutdownActionOnQuit: 'turnOff' });
    await served.bring(id, 'running');
    await served.server.stop();
    await served.kill().start();
    await served.clock.advanceAsync(10_000);
    await served.kill().start();
    await served.clock.advanceAsync(31_000);
    await served.settle();
    expect(served.state(id)).toBe('running');
    expect((await served.record(id)).runningAtQuit).toBe(false);
  });

  it('nor by a stop in order', async () => {
    const id = await served.create({ autostart, shutdownActionOnQuit: 'turnOff' });
    await served.bring(id, 'running');
    await served.server.stop();
    await served.kill().start();
    await served.clock.advanceAsync(10_000);
    await served.server.stop();
    await served.kill().start();
    await served.clock.advanceAsync(31_000);
    await served.settle();
    expect(served.state(id)).toBe('running');
  });

  it('nor where the guest was found dead', async () => {
    const id = await served.create({ autostart });
    await served.bring(id, 'running');
    const server = served.kill();
    served.host.machine(id).kill();
    await server.start();
    await served.settle();
    await served.kill().start();
    await served.clock.advanceAsync(31_000);
    await served.settle();
    expect(served.state(id)).toBe('running');
  });
});

it('that a machine ran is forgotten where it is not to be started for it', async () => {
  const id = await served.create({ shutdownActionOnQuit: 'turnOff' });
  await served.bring(id, 'running');
  await served.server.stop();
  expect((await served.record(id)).runningAtQuit).toBe(true);
  await served.kill().start();
  await served.settle();
  expect((await served.record(id)).runningAtQuit).toBe(false);
});

it('info waits for no probe, and shows what it found once it has', async () => {
  const server = served.kill();
  const found = served.hypervisor.script.info;
  let answer = (): void => undefined;
  served.hypervisor.probe = () =>
    new Promise((resolve) => {
      answer = () => resolve(found);
    });
  await server.start();
  const before = await Promise.race([server.info(), served.settle()]);
  expect(before?.host).toMatchObject({ accelerator: null, qemuVersion: null });
  expect(before?.host.acceleratorReason).toContain('being looked at');
  answer();
  await served.settle();
  expect((await server.info()).host).toMatchObject({ accelerator: 'tcg', qemuVersion: '7.2.0' });
});

it('machines of a hypervisor the service does not have delay no start, and are logged once', async () => {
  const id = await served.create();
  await served.memory.putMachine({ ...(await served.record(id)), hypervisor: 'libvirt' });
  await served.kill().start();
  await served.clock.advanceAsync(120_000);
  expect(served.server.get(id)).toMatchObject({ hypervisor: 'libvirt', operations: [] });
  expect(served.logged.filter(({ level }) => level === 'error')).toHaveLength(1);
});
