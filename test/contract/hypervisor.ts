/** What every hypervisor adapter does, whatever runs the machines. */
import type { CompleteVmConfiguration } from '@vmpulse/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ProcessRecord, RunningMachine } from '../../packages/server/src/hypervisor/hypervisor.ts';
import { guestContract } from './hypervisor-guests.ts';
import {
  codeOf as errorCodeOf,
  configurationOf,
  type HypervisorUnderTest,
  never,
  Recorder,
  startMachine,
} from './hypervisor-under-test.ts';

/** Registers the suite. */
export function hypervisorContract(name: string, make: () => Promise<HypervisorUnderTest>): void {
  describe(`${name} as a hypervisor`, () => {
    let under: HypervisorUnderTest;
    let vmId: string;

    beforeEach(async () => {
      under = await make();
      vmId = crypto.randomUUID();
    });
    afterEach(async () => {
      await under.dispose();
    });

    const start = (change?: Partial<CompleteVmConfiguration>, restore = false): Promise<RunningMachine> =>
      startMachine(under, vmId, change, restore);
    const codeOf = (promise: Promise<unknown>): Promise<string> => errorCodeOf(under, promise);

    it('starts a machine whose processor then runs, and tells of its process first', async () => {
      const spawned: ProcessRecord[] = [];
      const configuration = configurationOf();
      const onSpawned = (record: ProcessRecord): void => void spawned.push(record);
      const request = { vmId, configuration, restore: false, signal: never, onSpawned };
      const machine = await under.settle(under.hypervisor.start(request));
      expect(spawned).toEqual([machine.record]);
      expect(machine.record).toMatchObject({ directory: under.hypervisor.files(vmId).directory });
      expect(machine.record.pid).toBeGreaterThan(1);
      expect(await under.settle(machine.runState())).toBe('running');
      const recorder = new Recorder(machine);
      await under.settle(recorder.next('resumed'));
      expect(machine.ports.heartbeat).toMatch(/heartbeat\.sock$/);
    });

    it('pauses and resumes', async () => {
      const machine = await start();
      const recorder = new Recorder(machine);
      await under.settle(machine.pause());
      expect(await under.settle(machine.runState())).toBe('paused');
      await under.settle(machine.resume());
      expect(await under.settle(machine.runState())).toBe('running');
      expect(recorder.kinds).toEqual(['resumed', 'stopped', 'resumed']);
    });

    it('resets a running and a paused machine, which run afterwards', async () => {
      const machine = await start();
      const recorder = new Recorder(machine);
      await under.settle(machine.reset());
      expect(await under.settle(machine.runState())).toBe('running');
      await under.settle(machine.pause());
      await under.settle(machine.reset());
      expect(await under.settle(machine.runState())).toBe('running');
      const byHost = recorder.events.filter((event) => event.kind === 'reset' && !event.byGuest);
      expect(byHost).toHaveLength(2);
      // Firmware may fault three times by itself on a warm boot, which is no guest that failed.
      expect(recorder.count('tripleFault')).toBe(0);
    });

    it('presses the power button and injects an NMI', async () => {
      const machine = await start();
      const recorder = new Recorder(machine);
      await under.settle(machine.injectNmi());
      await under.settle(machine.pressPowerButton());
      await under.settle(recorder.next('powerButton'));
    });

    it('quits: the process is gone, exited came once and last, and quitting again does nothing', async () => {
      const machine = await start();
      const recorder = new Recorder(machine);
      await under.settle(machine.quit());
      await under.settle(machine.quit());
      expect(recorder.events.at(-1)).toMatchObject({ kind: 'exited', exitCode: 0, signal: null });
      expect(recorder.count('exited')).toBe(1);
      expect((await under.settle(machine.sample())).processState).toBeNull();
      expect(await codeOf(machine.pause())).toBe('VMPULSE_E_HYPERVISOR');
    });

    it('tells once that a process was killed from outside, and by which signal', async () => {
      const machine = await start();
      const recorder = new Recorder(machine);
      under.kill(machine.record, vmId);
      expect(await under.settle(recorder.next('exited'))).toMatchObject({
        exitCode: null,
        signal: 'SIGKILL',
      });
      expect(recorder.events.at(-1)?.kind).toBe('exited');
      expect(recorder.count('exited')).toBe(1);
      expect(recorder.count('connectionLost')).toBe(0);
      await under.settle(machine.quit());
    });

    it('keeps events for a listener that comes later', async () => {
      const machine = await start();
      await under.settle(machine.pause());
      await under.settle(machine.quit());
      const recorder = new Recorder(machine);
      expect(recorder.kinds.slice(0, 2)).toEqual(['resumed', 'stopped']);
      expect(recorder.events.at(-1)?.kind).toBe('exited');
    });

    it('saves a machine and restores it, and the saved state is gone once it runs again', async () => {
      const machine = await start();
      const percents: number[] = [];
      await under.settle(machine.save((percent) => percents.push(percent), never));
      expect(percents.at(-1)).toBe(100);
      expect(await under.settle(machine.runState())).toBe('saving');
      await under.settle(machine.quit());
      expect(await under.hypervisor.hasSavedState(vmId)).toBe(true);
      const restored = await start({}, true);
      expect(await under.settle(restored.runState())).toBe('running');
      expect(await under.hypervisor.hasSavedState(vmId)).toBe(false);
    });

    it('neither restores into another configuration nor forgets a saved state; discards it when told', async () => {
      const machine = await start();
      await under.settle(machine.save(() => undefined, never));
      await under.settle(machine.quit());
      expect(await codeOf(start({ memoryMiB: 128 }, true))).toBe('VM_E_PREF_SAVED_STATE_BAD_VERSION');
      expect(await codeOf(start())).toBe('E_FAIL');
      expect(await under.hypervisor.hasSavedState(vmId)).toBe(true);
      await under.hypervisor.discardSavedState(vmId);
      expect(await under.hypervisor.hasSavedState(vmId)).toBe(false);
      expect(await codeOf(start({}, true))).toBe('VM_E_VM_NO_SAVED_STATE');
    });

    it('lets the guest go on when a save is cancelled', async () => {
      const machine = await start();
      const abort = new AbortController();
      abort.abort();
      expect(await codeOf(machine.save(() => undefined, abort.signal))).toBe('E_ABORT');
      expect(await under.settle(machine.runState())).toBe('running');
      expect(await under.hypervisor.hasSavedState(vmId)).toBe(false);
    });

    it('drops a saved state as soon as its guest runs on', async () => {
      const machine = await start();
      await under.settle(machine.save(() => undefined, never));
      await under.settle(machine.resume());
      expect(await under.settle(machine.runState())).toBe('running');
      expect(await under.hypervisor.hasSavedState(vmId)).toBe(false);
    });

    it('keeps the saved state while its guest is refused to go on', async () => {
      const { change, refuse, allow } = await under.refusal(vmId);
      const machine = await start(change);
      await under.settle(machine.save(() => undefined, never));
      await under.settle(refuse());
      expect(await codeOf(machine.resume())).toBe('VMPULSE_E_HYPERVISOR');
      expect(await under.hypervisor.hasSavedState(vmId)).toBe(true);
      await under.settle(allow());
      await under.settle(machine.resume());
      expect(await under.settle(machine.runState())).toBe('running');
      expect(await under.hypervisor.hasSavedState(vmId)).toBe(false);
    });

    it('leaves the process alone when it stops observing, and a restarted service finds it', async () => {
      const machine = await start();
      const before = new Recorder(machine);
      await under.settle(machine.pause());
      await machine.detach();
      await machine.detach();
      const adoption = await under.settle(under.restarted().adopt(vmId, machine.record));
      if (adoption.kind !== 'running') throw new Error('not found');
      expect(adoption.runState).toBe('paused');
      expect(adoption.machine.record).toEqual(machine.record);
      const recorder = new Recorder(adoption.machine);
      await under.settle(adoption.machine.resume());
      expect((await under.settle(adoption.machine.sample())).vcpus).toHaveLength(2);
      under.kill(machine.record, vmId);
      expect(await under.settle(recorder.next('exited'))).toMatchObject({ exitCode: null, signal: null });
      expect(recorder.kinds).toEqual(['resumed', 'exited']);
      expect(before.count('exited')).toBe(0);
    });

    it('finds a process without a record, and none where there is none', async () => {
      expect((await under.hypervisor.adopt(vmId, null)).kind).toBe('gone');
      const machine = await start();
      await machine.detach();
      const adoption = await under.settle(under.restarted().adopt(vmId, null));
      if (adoption.kind !== 'running') throw new Error('not found');
      expect(adoption.machine.record.pid).toBe(machine.record.pid);
      expect(adoption.machine.record.startTicks).toBe(machine.record.startTicks);
      await under.settle(adoption.machine.quit());
      expect((await under.restarted().adopt(vmId, machine.record)).kind).toBe('gone');
    });

    it('tells that it cannot see a stopped process, and that it can again; such a machine never exited', async () => {
      const machine = await start();
      const recorder = new Recorder(machine);
      under.freeze(machine.record, vmId);
      expect(await codeOf(machine.runState())).toBe('VM_E_TIMED_OUT');
      await under.settle(recorder.next('connectionLost'));
      expect((await under.settle(machine.sample())).processState).toBe('T');
      under.thaw(machine.record, vmId);
      expect(await under.settle(recorder.next('connectionRegained'))).toMatchObject({ runState: 'running' });
      expect(recorder.kinds).toEqual(['resumed', 'connectionLost', 'connectionRegained']);
    });

    it('adopts a process that does not answer as one it cannot see', async () => {
      const machine = await start();
      await machine.detach();
      under.freeze(machine.record, vmId);
      const adoption = await under.settle(under.restarted().adopt(vmId, machine.record));
      if (adoption.kind !== 'running') throw new Error('not found');
      expect(adoption.runState).toBe('other');
      const recorder = new Recorder(adoption.machine);
      await under.settle(recorder.next('connectionLost'));
      under.thaw(machine.record, vmId);
      expect(await under.settle(recorder.next('connectionRegained'))).toMatchObject({ runState: 'running' });
    });

    it('ends a stopped process too', async () => {
      const machine = await start();
      const recorder = new Recorder(machine);
      under.freeze(machine.record, vmId);
      await under.settle(machine.quit());
      expect(recorder.events.at(-1)).toMatchObject({ kind: 'exited', signal: 'SIGKILL' });
    });

    it('leaves no process of a start that was cancelled', async () => {
      const abort = new AbortController();
      let spawned: ProcessRecord | undefined;
      const onSpawned = (record: ProcessRecord): void => {
        spawned = record;
        abort.abort();
      };
      const request = {
        vmId,
        configuration: configurationOf(),
        restore: false,
        signal: abort.signal,
        onSpawned,
      };
      expect(await codeOf(under.hypervisor.start(request))).toBe('E_ABORT');
      expect((await under.hypervisor.adopt(vmId, spawned ?? null)).kind).toBe('gone');
    });

    it('neither starts nor removes a machine that has a process', async () => {
      const machine = await start();
      expect(await codeOf(start())).toBe('VM_E_VM_RUNNING');
      expect(await codeOf(under.hypervisor.remove(vmId))).toBe('VM_E_VM_RUNNING');
      await under.settle(machine.quit());
      await under.hypervisor.remove(vmId);
      await under.hypervisor.remove(vmId);
    });

    it('samples the processor time of each virtual processor', async () => {
      const machine = await start();
      const first = await under.settle(machine.sample());
      expect(first.vcpus.map(({ tid }) => tid).every((tid) => tid > machine.record.pid)).toBe(true);
      expect(first.vcpus).toHaveLength(2);
      expect(first.processState).toMatch(/^[RS]$/);
      await under.settle(machine.pause());
      const second = await under.settle(machine.sample());
      expect(second.vcpus[0]?.runNs).toBeGreaterThanOrEqual(first.vcpus[0]?.runNs ?? Infinity);
    });
  });
  guestContract(name, make);
}
