import { beforeEach, describe, expect, it } from 'vitest';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { plainConfiguration } from '../../../../test/support/plain-configuration.ts';
import { maxSerialTailBytes } from '../limits.ts';
import { FakeHost, FakeHypervisor } from './fake.ts';
import type { FakeProcess } from './fake-process.ts';
import type { HypervisorEvent, RunningMachine } from './hypervisor.ts';

describe('The process of a scripted machine', () => {
  const vmId = crypto.randomUUID();
  let clock: SimulatedClock;
  let host: FakeHost;
  let process: FakeProcess;
  let machine: RunningMachine;
  let told: HypervisorEvent[];

  beforeEach(async () => {
    clock = new SimulatedClock();
    host = new FakeHost(clock);
    const configuration = plainConfiguration({
      disks: [{ file: '/d' }],
      networks: [{ type: 'tap', device: 't' }],
    });
    const request = { vmId, configuration, restore: false, signal: new AbortController().signal };
    machine = await new FakeHypervisor({ clock, host }).start({ ...request, onSpawned: () => undefined });
    process = host.machine(vmId);
    told = [];
    machine.setListener((event) => told.push(event));
    told.length = 0;
  });

  it('counts disk and network on with the time its guest runs, and not while it is held or frozen', async () => {
    expect(await machine.counters()).toMatchObject({ diskOperations: 0, packetsSent: 0 });
    process.setIoRate({ diskOperations: 2.5, packetsSent: 100 });
    clock.advance(1_000);
    expect(await machine.counters()).toMatchObject({ diskOperations: 2, packetsSent: 100 });
    clock.advance(1_000);
    expect(await machine.counters()).toMatchObject({ diskOperations: 5, packetsSent: 200 });
    process.setRunState('paused');
    clock.advance(10_000);
    process.setRunState('running');
    process.setFrozen(true);
    clock.advance(1_000);
    process.setFrozen(false);
    expect(process.counters()).toMatchObject({ diskOperations: 5, packetsSent: 200 });
    process.setIoRate({});
    clock.advance(10_000);
    expect(process.counters()).toMatchObject({ diskOperations: 5, packetsSent: 200 });
  });

  it('has the counters a script sets, and the devices it names', () => {
    process.setCounters({ diskOperations: null, packetsSent: null });
    clock.advance(1_000);
    expect(process.counters()).toMatchObject({ diskOperations: null, packetsSent: null });
    process.setIoRate({ packetsSent: 3 });
    clock.advance(1_000);
    expect(process.counters()).toMatchObject({ diskOperations: null, packetsSent: 3 });
  });

  it('shows what the guest wrote since its last reset, whoever reset it', async () => {
    process.writeSerial('first boot\n');
    expect(await machine.serialTail()).toBe('first boot\n');
    process.guestReset();
    process.writeSerial('second boot\n');
    expect(await machine.serialTail()).toBe('second boot\n');
    process.tripleFault();
    expect(await machine.serialTail()).toBe('');
    process.writeSerial('x'.repeat(2 * maxSerialTailBytes));
    expect(await machine.serialTail()).toHaveLength(maxSerialTailBytes);
    await machine.reset();
    expect(await machine.serialTail()).toBe('');
  });

  it('shows an adopting service what is written from then on: of which boot the rest is nobody knows', async () => {
    process.writeSerial('first boot\n');
    const adoption = await new FakeHypervisor({ clock, host }).adopt(vmId, machine.record);
    if (adoption.kind !== 'running') throw new Error('not found');
    expect(await adoption.machine.serialTail()).toBe('');
    process.writeSerial('second boot\n');
    expect(await adoption.machine.serialTail()).toBe('second boot\n');
  });

  it('shows no state of its own when it is frozen, and does not answer', async () => {
    process.setFrozen(true);
    clock.advance(5_000);
    const sample = await machine.sample();
    expect(sample).toMatchObject({ frozen: true, processState: 'S' });
    process.setFrozen(false);
    expect(told.map(({ kind }) => kind)).toEqual(['connectionLost', 'connectionRegained']);
    expect((await machine.sample()).frozen).toBe(false);
  });

  it('ends as migrated after a migration, and as usual when its guest was let run here again', () => {
    process.migrateAway();
    expect(process.runState).toBe('paused');
    process.setRunState('running');
    process.migrateAway();
    process.exit(0);
    expect(told.map(({ kind }) => kind)).toEqual(['stopped', 'stopped', 'exited']);
    expect(told.at(-1)).toMatchObject({ exitCode: 0, migrated: true });
  });

  it('ends as usual when its guest was let run here again after a migration', async () => {
    process.migrateAway();
    await machine.resume();
    process.kill();
    expect(told.at(-1)).toMatchObject({ kind: 'exited', signal: 'SIGKILL' });
    expect(told.at(-1)).not.toHaveProperty('migrated');
  });
});
