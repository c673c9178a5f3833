import { VmError } from '@vmpulse/wire';
import { FakeHost, FakeHypervisor } from '../../packages/server/src/hypervisor/fake.ts';
import { SimulatedClock } from '../support/simulated-clock.ts';
import { type HypervisorUnderTest, hypervisorContract } from './hypervisor.ts';

/** Simulated time that a step of the contract may take at most. */
const patienceMs = 600_000;

hypervisorContract('The fake', (): Promise<HypervisorUnderTest> => {
  const clock = new SimulatedClock();
  const host = new FakeHost(clock);
  const hypervisor = new FakeHypervisor({ clock, host });
  hypervisor.script.startDelayMs = 200;
  hypervisor.script.saveDelayMs = 400;
  return Promise.resolve({
    hypervisor,
    restarted: () => new FakeHypervisor({ clock, host }),
    kill: (_record, vmId) => host.machine(vmId).kill(),
    freeze: (_record, vmId) => host.machine(vmId).hang(),
    thaw: (_record, vmId) => host.machine(vmId).unhang(),
    refusal: () => {
      const words = 'QEMU refused cont: Failed to get "write" lock';
      return Promise.resolve({
        change: {},
        refuse: () => {
          hypervisor.script.commandErrors.set('cont', new VmError('VMPULSE_E_HYPERVISOR', words));
          return Promise.resolve();
        },
        allow: () => {
          hypervisor.script.commandErrors.delete('cont');
          return Promise.resolve();
        },
      });
    },
    settle: async (promise) => {
      const progress = { settled: false };
      const done = promise.finally(() => {
        progress.settled = true;
      });
      done.catch(() => undefined);
      await clock.settle();
      for (let ms = 0; !progress.settled && ms < patienceMs; ms += 100) await clock.advanceAsync(100);
      if (!progress.settled) throw new Error('It did not end in simulated time.');
      return done;
    },
    dispose: () => Promise.resolve(),
  });
});
