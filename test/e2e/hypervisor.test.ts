import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RunningMachine } from '../../packages/server/src/hypervisor/hypervisor.ts';
import { asObject, QmpConnection } from '../../packages/server/src/hypervisor/qemu/qmp.ts';
import { socketAddress } from '../../packages/server/src/socket-path.ts';
import { hypervisorContract } from '../contract/hypervisor.ts';
import {
  configurationOf,
  type HypervisorUnderTest,
  Recorder,
  type Refusal,
} from '../contract/hypervisor-under-test.ts';
import { writeBootDisk } from '../support/boot-sector.ts';
import { ControlGroup } from '../support/control-group.ts';
import { QemuHost } from '../support/qemu-host.ts';

const never = new AbortController().signal;

/** A machine that saved itself gave up its disk; another one that takes it meanwhile is in its way. */
async function diskInUse(host: QemuHost): Promise<Refusal> {
  const file = join(host.directory, 'disk.raw');
  await writeFile(file, '');
  await truncate(file, 1024 * 1024);
  const change = { disks: [{ file }] };
  let other: RunningMachine | undefined;
  return {
    change,
    refuse: async () => {
      const configuration = configurationOf(change);
      const vmId = crypto.randomUUID();
      const request = { vmId, configuration, restore: false, signal: never, onSpawned: () => undefined };
      other = await host.adapter().start(request);
    },
    allow: async () => {
      await other?.quit();
    },
  };
}

// The guests have nothing to boot: their firmware runs, which is all the contract asks of a guest.
hypervisorContract('QEMU', async (): Promise<HypervisorUnderTest> => {
  const host = await QemuHost.make();
  const groups: ControlGroup[] = [];
  return {
    hypervisor: host.adapter(),
    restarted: () => host.adapter(),
    kill: ({ pid }) => void process.kill(pid, 'SIGKILL'),
    freeze: ({ pid }) => void process.kill(pid, 'SIGSTOP'),
    thaw: ({ pid }) => void process.kill(pid, 'SIGCONT'),
    refusal: () => diskInUse(host),
    guest: async (_vmId, kind) => {
      const file = join(host.directory, `${kind}.img`);
      await writeBootDisk(file, kind);
      return { change: { disks: [{ file }] }, act: () => undefined };
    },
    wake: async (vmId) => {
      const operator = await host.operator(vmId);
      await operator.execute('system_wakeup');
      operator.close('the operator left');
    },
    migrateAway: (vmId) => host.migrate(vmId, 'exec:cat > /dev/null'),
    controlGroup: async ({ pid }) => {
      const group = await ControlGroup.make(2);
      if (typeof group === 'string') return group;
      groups.push(group);
      await group.add(pid);
      return group;
    },
    settle: (promise) => promise,
    dispose: async () => {
      for (const group of groups) await group.thaw();
      await host.dispose();
      for (const group of groups) await group.remove();
    },
  };
});

describe('A save that was cut off by the end of the service', () => {
  let host: QemuHost;
  const vmId = crypto.randomUUID();
  const monitorOf = (directory: string): Promise<QmpConnection> =>
    QmpConnection.open(socketAddress(join(directory, 'qmp.sock')), host.clock, {
      onEvent: () => undefined,
      onMessage: () => undefined,
      onTimeout: () => undefined,
      onClose: () => undefined,
    });

  beforeEach(async () => {
    host = await QemuHost.make();
  });
  afterEach(async () => {
    await host.dispose();
  });

  it('is cancelled before the guest goes on, and does not stop it afterwards', async () => {
    const configuration = configurationOf();
    const request = { vmId, configuration, restore: false, signal: never, onSpawned: () => undefined };
    const machine = await host.adapter().start(request);
    const { directory } = machine.record;
    await machine.detach();
    const before = await monitorOf(directory);
    await before.execute('stop');
    // A slow disk: more than a pipe holds is to be written, and nobody takes it before the save is to be cancelled.
    await writeFile(join(directory, 'saved-state.partial'), '');
    const slowDisk = 'until [ -e taken ]; do sleep 0.1; done; cat > saved-state.partial; touch written';
    await before.execute('migrate', { uri: `exec:${slowDisk}` });
    before.close('the service was killed');
    const adoption = await host.adapter().adopt(vmId, machine.record);
    if (adoption.kind !== 'running') throw new Error('not found');
    expect(adoption.runState).toBe('saving');
    const recorder = new Recorder(adoption.machine);
    const resumed = adoption.machine.resume();
    const operator = await host.operator(vmId);
    const status = async (): Promise<unknown> =>
      asObject(await operator.execute('query-migrate'))?.['status'];
    await expect.poll(status).not.toBe('active');
    operator.close('the operator left');
    await writeFile(join(directory, 'taken'), '');
    await resumed;
    // The writer takes what is left now; a save that still went on would complete and stop the guest.
    await expect.poll(() => host.has(vmId, 'written'), { timeout: 240_000 }).toBe(true);
    expect(await adoption.machine.runState()).toBe('running');
    expect(recorder.kinds).toContain('resumed');
    expect(recorder.kinds).not.toContain('stopped');
    await adoption.machine.detach();
    const after = await monitorOf(directory);
    expect(asObject(await after.execute('query-migrate'))).toMatchObject({ status: 'cancelled' });
    after.close('the test ended');
  });
});
