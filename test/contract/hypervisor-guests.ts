/** What every hypervisor adapter tells of what guests, operators and the host do to its machines. */
import type { CompleteVmConfiguration } from '@vmpulse/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RunningMachine } from '../../packages/server/src/hypervisor/hypervisor.ts';
import {
  codeOf as errorCodeOf,
  type HypervisorUnderTest,
  never,
  Recorder,
  startMachine,
} from './hypervisor-under-test.ts';

/** Registers the suite. */
export function guestContract(name: string, make: () => Promise<HypervisorUnderTest>): void {
  describe(`${name} as a hypervisor of guests`, () => {
    let under: HypervisorUnderTest;
    let vmId: string;

    beforeEach(async () => {
      under = await make();
      vmId = crypto.randomUUID();
    });
    afterEach(async () => {
      await under.dispose();
    });

    const start = (change?: Partial<CompleteVmConfiguration>): Promise<RunningMachine> =>
      startMachine(under, vmId, change);
    const codeOf = (promise: Promise<unknown>): Promise<string> => errorCodeOf(under, promise);

    it('tells a triple fault before the reset that answers it', async () => {
      const { change, act } = await under.guest(vmId, 'tripleFault');
      const machine = await start(change);
      const recorder = new Recorder(machine);
      act();
      await under.settle(recorder.next('reset'));
      expect(recorder.kinds.slice(0, 3)).toEqual(['resumed', 'tripleFault', 'reset']);
      expect(recorder.events[2]).toMatchObject({ byGuest: true, reason: 'guest-reset' });
    });

    it('tells that a guest hibernated before it tells its shutdown', async () => {
      const { change, act } = await under.guest(vmId, 'hibernate');
      const machine = await start(change);
      const recorder = new Recorder(machine);
      act();
      await under.settle(recorder.next('stopped'));
      expect(recorder.kinds).toEqual(['resumed', 'hibernated', 'shutdown', 'stopped']);
      expect(recorder.events[2]).toMatchObject({ byGuest: true, reason: 'guest-shutdown' });
      expect(await under.settle(machine.runState())).toBe('shutdown');
    });

    it('tells that a guest sleeps and wakes', async () => {
      const { change, act } = await under.guest(vmId, 'suspend');
      const machine = await start(change);
      const recorder = new Recorder(machine);
      act();
      await under.settle(recorder.next('suspended'));
      expect(await under.settle(machine.runState())).toBe('suspended');
      await under.settle(under.wake(vmId));
      await under.settle(recorder.next('wakeup'));
      expect(recorder.kinds.slice(0, 3)).toEqual(['resumed', 'suspended', 'wakeup']);
    });

    it('counts what disks did, and nothing where there is none', async () => {
      const without = await start();
      expect(await under.settle(without.counters())).toMatchObject({
        diskOperations: null,
        packetsSent: null,
      });
      await under.settle(without.quit());
      const { change, act } = await under.guest(vmId, 'suspend');
      const machine = await start(change);
      const recorder = new Recorder(machine);
      act();
      await under.settle(recorder.next('suspended'));
      // The firmware read the disk to start it.
      const first = await under.settle(machine.counters());
      expect(first.diskOperations).toBeGreaterThan(0);
      expect(first).toMatchObject({ packetsSent: null });
      expect(await under.settle(machine.counters())).toMatchObject({ diskOperations: first.diskOperations });
      await under.settle(machine.quit());
      expect(await codeOf(machine.counters())).toBe('VMPULSE_E_HYPERVISOR');
    });

    it('tells of an exit that the guest had been migrated away; what is left of it shows as paused', async () => {
      const machine = await start();
      const recorder = new Recorder(machine);
      await under.settle(under.migrateAway(vmId));
      await under.settle(recorder.next('stopped'));
      expect(await under.settle(machine.runState())).toBe('paused');
      under.kill(machine.record, vmId);
      const exited = await under.settle(recorder.next('exited'));
      expect(exited).toMatchObject({ migrated: true, signal: 'SIGKILL' });
    });

    it('knows a migration that completed while no service was there, and leaves the guest stopped', async () => {
      const machine = await start();
      await machine.detach();
      await under.settle(under.migrateAway(vmId));
      const adoption = await under.settle(under.restarted().adopt(vmId, machine.record));
      if (adoption.kind !== 'running') throw new Error('not found');
      expect(adoption.runState).toBe('paused');
      const recorder = new Recorder(adoption.machine);
      await under.settle(adoption.machine.quit());
      expect(recorder.events.at(-1)).toMatchObject({ kind: 'exited', migrated: true });
    });

    it('takes a guest that was let run here again for one that is here', async () => {
      const machine = await start();
      const recorder = new Recorder(machine);
      await under.settle(under.migrateAway(vmId));
      await under.settle(machine.resume());
      expect(await under.settle(machine.runState())).toBe('running');
      await under.settle(machine.quit());
      expect(recorder.events.at(-1)).not.toHaveProperty('migrated');
    });

    it('takes a save for no migration', async () => {
      const machine = await start();
      const recorder = new Recorder(machine);
      await under.settle(machine.save(() => undefined, never));
      await under.settle(machine.quit());
      expect(recorder.events.at(-1)).not.toHaveProperty('migrated');
    });

    it('sees that the host froze the control group of a process, and that it thawed it', async (context) => {
      const machine = await start();
      const group = await under.settle(under.controlGroup(machine.record, vmId));
      if (typeof group === 'string') {
        context.skip(group);
        return;
      }
      expect(await under.settle(machine.sample())).toMatchObject({ frozen: false });
      await under.settle(group.freeze());
      await expect
        .poll(async () => (await under.settle(machine.sample())).frozen, { timeout: 120_000 })
        .toBe(true);
      expect((await under.settle(machine.sample())).processState).toMatch(/^[SD]$/);
      expect(await codeOf(machine.runState())).toBe('VM_E_TIMED_OUT');
      await under.settle(group.thaw());
      await expect.poll(async () => (await under.settle(machine.sample())).frozen).toBe(false);
    });
  });
}
