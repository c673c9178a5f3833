import { VmError } from '@vmpulse/wire';
import { FakeHost, FakeHypervisor } from '../../packages/server/src/hypervisor/fake.ts';
import { SimulatedClock } from '../support/simulated-clock.ts';
import { hypervisorContract } from './hypervisor.ts';
import type { HypervisorUnderTest } from './hypervisor-under-test.ts';

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
    guest: (vmId, kind) =>
      Promise.resolve({
        change: { disks: [{ file: '/fake/disk.img' }] },
        act: () => {
          const process = host.machine(vmId);
          process.setIoRate({ diskOperations: 10 });
          void clock.sleep(1_000).then(() => process[kind]());
        },
      }),
    wake: (vmId) => Promise.resolve(host.machine(vmId).wake()),
    migrateAway: (vmId) => Promise.resolve(host.machine(vmId).migrateAway()),
    controlGroup: (_record, vmId) =>
      Promise.resolve({
        freeze: () => Promise.resolve(host.machine(vmId).setFrozen(true)),
        thaw: () => Promise.resolve(host.machine(vmId).setFrozen(false)),
      }),
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
