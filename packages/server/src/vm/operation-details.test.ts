import { beforeEach, expect, it } from 'vitest';
import { ServedMachines } from '../../../../test/support/served-machines.ts';

let served: ServedMachines;
let vm: string;

beforeEach(async () => {
  served = new ServedMachines();
  await served.server.start();
  vm = await served.create();
});

it('a saved state that the hypervisor left behind is removed as soon as the guest runs', async () => {
  await served.bring(vm, 'saved');
  const { hypervisor, host } = served;
  const start = hypervisor.start.bind(hypervisor);
  hypervisor.start = async (request) => {
    const machine = await start(request);
    host.savedStates.set(vm, request.configuration);
    return machine;
  };
  expect((await served.run(vm, 'startup')).result).toBe('success');
  expect(host.savedStates.has(vm)).toBe(false);
});

it('a save cannot be cancelled any more once the state is on disk', async () => {
  await served.bring(vm, 'running');
  served.hypervisor.script.quitDelayMs = 1_000;
  const { id } = served.server.operate(vm, 'save');
  await served.settle();
  expect(served.state(vm)).toBe('turningOff');
  expect(() => served.server.cancelTask(id)).toThrow(expect.objectContaining({ code: 'E_FAIL' }));
  await served.clock.advanceAsync(1_000);
  expect(served.server.task(id).result).toBe('success');
});

it('a pause suspends the watch for as long as it takes, and leaves the rest to what QEMU says', async () => {
  await served.bring(vm, 'paused');
  expect(served.watch(vm).calls.slice(-3)).toEqual(['suspend pausing', 'event stopped', 'unsuspend']);
});

it('a reset that the hypervisor speaks of twice is told once', async () => {
  await served.bring(vm, 'running');
  served.hypervisor.script.commandDelayMs = 1_000;
  const { seq } = served;
  served.server.operate(vm, 'reset');
  await served.settle();
  served.host.machine(vm).emit({ kind: 'reset', byGuest: false, reason: 'host-qmp-system-reset' });
  await served.clock.advanceAsync(1_000);
  expect((await served.types(seq)).filter((type) => type === 'guestReset')).toHaveLength(1);
});

it('the agent is asked at the first tick only', async () => {
  await served.bring(vm, 'running');
  const agent = served.agent(vm);
  const listener = [...served.ticks.listeners.values()][0];
  for (let seq = 0; seq < 3; seq += 1) {
    listener?.onTick(seq, seq * 1_000);
    await served.settle();
  }
  expect(agent.asked.filter((word) => word === 'ping')).toHaveLength(1);
});

it('the machine stays busy with the turnOff that cut in on a shutdown', async () => {
  await served.bring(vm, 'running');
  served.hypervisor.script.quitDelayMs = 1_000;
  served.server.operate(vm, 'shutdown');
  await served.settle();
  const { id } = served.server.operate(vm, 'turnOff');
  await served.settle();
  expect(served.server.get(vm)).toMatchObject({ state: 'turningOff', task: id, operations: [] });
});
