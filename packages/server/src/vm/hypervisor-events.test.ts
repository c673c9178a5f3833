import { isEvent, stateSequences, VmError } from '@vmpulse/wire';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { ServedMachines } from '../../../../test/support/served-machines.ts';
import type { FakeProcess } from '../hypervisor/fake-process.ts';
import { FakeMachine } from '../hypervisor/fake-machine.ts';

let served: ServedMachines;
let vm: string;
let process: FakeProcess;
let seq: number;

beforeEach(async () => {
  served = new ServedMachines();
  await served.server.start();
  vm = await served.create();
  await served.bring(vm, 'running');
  process = served.host.machine(vm);
  ({ seq } = served);
});

describe('a guest that turns itself off', () => {
  it('is told so before the states of its end, and never as a stop', async () => {
    process.guestShutdown();
    await served.settle();
    expect(await served.types(seq)).toEqual([
      'turnedOffByGuest',
      'stateChanged',
      'stateChanged',
      'stateChanged',
    ]);
    expect(await served.states(seq)).toEqual(stateSequences.turnOff);
    expect(process.end).not.toBeNull();
    expect(await served.record(vm)).toMatchObject({ process: null, activeConfiguration: null });
  });

  it('may be started again while its process is still being ended, which is waited for', async () => {
    served.hypervisor.script.quitDelayMs = 3_000;
    process.guestShutdown();
    await served.settle();
    expect(served.state(vm)).toBe('turningOff');
    await served.clock.advanceAsync(3_000);
    expect((await served.run(vm, 'startup')).result).toBe('success');
  });

  it('whose process cannot be ended shows as running, so that it can be turned off', async () => {
    const quit = vi
      .spyOn(FakeMachine.prototype, 'quit')
      .mockRejectedValue(new VmError('VM_E_TIMED_OUT', 'The host blocks it.'));
    process.guestShutdown();
    await served.settle();
    quit.mockRestore();
    expect(served.state(vm)).toBe('running');
    expect((await served.types(seq)).filter((type) => type === 'turnedOffByGuest')).toHaveLength(1);
    expect((await served.run(vm, 'turnOff')).result).toBe('success');
  });
});

it.each([
  { what: 'a machine that is turned off', end: () => void served.server.operate(vm, 'turnOff') },
  { what: 'a guest that turned itself off', end: () => process.guestShutdown() },
])('the process of $what is ended once it is durable that it is meant to be', async ({ end }) => {
  const durable: number[] = [];
  const quit = vi.spyOn(FakeMachine.prototype, 'quit').mockImplementation(() => {
    durable.push(served.seq);
    return Promise.race<never>([]);
  });
  const go = served.stallWrites();
  end();
  await served.settle();
  expect(durable).toEqual([]);
  go();
  await served.settle();
  quit.mockRestore();
  expect(durable).toEqual([served.seq]);
  expect(await served.states(seq)).toEqual(['turningOff']);
  // Killed here, with the process gone: no stop.
  const server = served.kill();
  process.kill();
  await server.start();
  expect(await served.types(seq)).not.toContain('heartbeatStopped');
});

it('a log that does not write holds the end of a process up for a second, not longer', async () => {
  served.stallWrites();
  served.server.operate(vm, 'turnOff');
  await served.clock.advanceAsync(900);
  expect(process.end).toBeNull();
  await served.clock.advanceAsync(200);
  expect(process.end).not.toBeNull();
});

describe('a process that ends without being asked', () => {
  it.each(['running', 'paused'] as const)(
    'while %s is a stop first, then the states of its end',
    async (state) => {
      if (state === 'paused') await served.run(vm, 'pause');
      ({ seq } = served);
      process.kill('SIGKILL', 'out of memory');
      await served.settle();
      const told = ['heartbeatStopped', 'stateChanged', 'stateChanged', 'stateChanged'];
      expect(await served.types(seq)).toEqual(told);
      expect(await served.states(seq)).toEqual(stateSequences.turnOff);
      expect(served.server.get(vm)).toMatchObject({
        state: 'turnedOff',
        pid: null,
        operations: ['startup', 'delete'],
      });
      expect((await served.record(vm)).process).toBeNull();
      const { calls } = served.watch(vm);
      expect(calls.slice(-2)).toEqual(['event exited', 'end ended']);
      expect(served.ticks.listeners.size).toBe(0);
    },
  );

  it('during a reset is a stop too', async () => {
    served.hypervisor.script.commandDelayMs = 1_000;
    served.server.operate(vm, 'reset');
    await served.settle();
    process.kill();
    await served.clock.advanceAsync(2_000);
    expect(await served.types(seq)).toContain('heartbeatStopped');
    expect(await served.states(seq)).toEqual(stateSequences.turnOff);
  });

  it('can be followed by a start at once', async () => {
    process.kill();
    expect((await served.run(vm, 'startup')).result).toBe('success');
  });
});

it('a reset by the guest is guestReset and no change of state', async () => {
  process.guestReset();
  await served.settle();
  const [event] = await served.events(seq);
  expect(event !== undefined && isEvent(event, 'guestReset') && event.data).toMatchObject({ byGuest: true });
  expect(await served.types(seq)).toEqual(['guestReset']);
});

it('the resets that the firmware adds to one are not told again, and a later reboot is', async () => {
  process.guestReset();
  await served.clock.advanceAsync(600);
  process.guestReset();
  process.guestReset();
  await served.settle();
  expect(await served.types(seq)).toEqual(['guestReset']);
  await served.clock.advanceAsync(10_000);
  process.guestReset();
  await served.settle();
  expect(await served.types(seq)).toEqual(['guestReset', 'guestReset']);
});

it('a panic reaches the watch and leaves the machine running', async () => {
  process.panic();
  await served.settle();
  expect(served.watch(vm).calls.slice(-2)).toEqual(['event panicked', 'event stopped']);
  expect(served.state(vm)).toBe('running');
  expect(served.server.get(vm).operations).toContain('reset');
  expect(served.seq).toBe(seq);
  expect((await served.run(vm, 'turnOff')).result).toBe('success');
});

it.each([
  { what: 'a disk error', hold: () => process.failDisk('virtio0', 'stop') },
  { what: 'the watchdog', hold: () => process.fireWatchdog('pause') },
])('a machine that QEMU holds for $what shows as paused, so that resume is allowed', async ({ hold }) => {
  hold();
  await served.settle();
  expect(await served.states(seq)).toEqual(['paused']);
  expect((await served.run(vm, 'resume')).result).toBe('success');
});

it('what happened while QEMU could not be seen is caught up with', async () => {
  process.hang();
  await served.clock.advanceAsync(3_000);
  process.setRunState('shutdown');
  process.unhang();
  await served.settle();
  expect(await served.types(seq)).toEqual([
    'turnedOffByGuest',
    'stateChanged',
    'stateChanged',
    'stateChanged',
  ]);
});

it('every event goes through the watch before the lifecycle acts', async () => {
  process.emit({ kind: 'powerButton' });
  const heard = served.watch(vm).calls.slice(-1);
  expect(heard).toEqual(['event powerButton']);
  const broken = served.watch(vm);
  broken.hypervisorEvent = () => {
    throw new Error('a defect of the monitor');
  };
  process.guestReset();
  await served.settle();
  expect(await served.types(seq)).toEqual(['shutdownRequested']);
  expect(served.logged.at(-1)?.level).toBe('error');
});

describe('additions', () => {
  it('are asked once a boot when the agent opens its port, and kept when the machine is off', async () => {
    const agent = served.agent(vm);
    const asked = (): string[] => agent.asked.filter((word) => !/^(writeFile|execute) /u.test(word));
    process.setPort('agent', true);
    await served.settle();
    expect(asked()).toEqual(['ping', 'freezeStatus', 'info', 'osInfo', 'hostName']);
    process.setPort('agent', false);
    expect(served.server.guest(vm).canShutdown).toBe(false);
    process.setPort('agent', true);
    await served.settle();
    expect(asked().slice(5)).toEqual(['ping', 'freezeStatus']);
    process.guestReset();
    process.setPort('agent', true);
    await served.settle();
    expect(agent.asked.filter((word) => word === 'osInfo')).toHaveLength(2);
    await served.run(vm, 'turnOff');
    const told = {
      osName: 'Debian 12',
      computerName: 'guest-1',
      additions: { version: '7.2.0' },
      canShutdown: false,
    };
    expect(served.server.guest(vm)).toMatchObject(told);
    expect((await served.record(vm)).additions.osName).toBe('Debian 12');
    expect(agent.closed).toBe(true);
  });

  it('are asked at the first tick where the port opened unseen; one that never answers holds nothing up', async () => {
    const agent = served.agent(vm);
    agent.answers = false;
    const listener = [...served.ticks.listeners.values()][0];
    listener?.onTick(0, 1);
    listener?.onTick(1, 1_001);
    expect(served.watch(vm).ticks).toBe(2);
    await served.clock.advanceAsync(6_000);
    expect(agent.asked).toEqual(['ping']);
    expect(served.server.guest(vm)).toMatchObject({ canShutdown: false, osName: null });
    expect((await served.run(vm, 'pause')).result).toBe('success');
  });

  it("the ticker's version counts before the agent's", async () => {
    served.watch(vm).hello = { version: '1.0.0', osName: 'from hello', computerName: null };
    expect(served.server.guest(vm)).toMatchObject({ additions: { version: '1.0.0' }, osName: 'from hello' });
    process.setPort('agent', true);
    await served.settle();
    expect(served.server.guest(vm)).toMatchObject({ additions: { version: '1.0.0' }, osName: 'Debian 12' });
  });
});

describe('a log that cannot be written', () => {
  it('holds no operation up, and gets the events in order once it can', async () => {
    served.memory.failWrites('disk full');
    const { id } = served.server.operate(vm, 'turnOff');
    await served.settle();
    expect(served.state(vm)).toBe('turnedOff');
    await served.clock.advanceAsync(1_500);
    expect(served.server.task(id).result).toBe('success');
    expect(served.seq).toBe(seq);
    served.memory.mendWrites();
    await served.settle();
    expect(await served.states(seq)).toEqual(stateSequences.turnOff);
  });

  it('refuses what must be durable, at once', async () => {
    served.memory.failWrites('disk full');
    const unavailable = { code: 'VMPULSE_E_LOG_UNAVAILABLE' };
    await expect(served.server.create({ name: 'web-2' })).rejects.toMatchObject(unavailable);
    await expect(served.server.change(vm, { notes: 'x' })).rejects.toMatchObject(unavailable);
    expect(served.server.list()).toHaveLength(1);
    expect(served.server.get(vm).notes).toBe('');
  });
});

it('the watch learns of unread ticks from the machine that listens', () => {
  served.ticks.backlogged = true;
  expect(served.watch(vm).backlogged()).toBe(true);
});

it('while an operator keeps the agent busy that is the heartbeat, its silence says nothing', async () => {
  const agent = served.agent(vm);
  process.setPort('agent', true);
  await served.settle();
  const watch = served.watch(vm);
  const info = watch.info();
  agent.busy = true;
  expect(watch.backlogged()).toBe(false);
  watch.info = () => ({ ...info, source: 'agent' });
  expect(watch.backlogged()).toBe(true);
  agent.busy = false;
  expect(watch.backlogged()).toBe(false);
});
