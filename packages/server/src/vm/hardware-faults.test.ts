import { beforeEach, describe, expect, it } from 'vitest';
import { ServedMachines } from '../../../../test/support/served-machines.ts';
import type { FakeProcess } from '../hypervisor/fake-process.ts';

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

const told = async (): Promise<unknown[]> =>
  (await served.memory.read({ after: seq, limit: 100 })).events
    .filter(({ type }) => /ioError|memoryFailure/u.test(type))
    .map(({ data }) => ({ ...data, vm: data.vm?.id }));

describe("a fault of the host's hardware", () => {
  it('that QEMU meets at a disk is told with the machine, which shows as paused where QEMU stopped it', async () => {
    process.failDisk('disk0', 'stop');
    await served.settle();
    expect(await told()).toEqual([{ vm, messageId: 104, device: 'disk0', action: 'stop', others: 0 }]);
    expect(served.state(vm)).toBe('paused');
  });

  it('that comes a thousand times is told once a minute, with how many there were', async () => {
    for (let n = 0; n < 1_000; n += 1) process.failDisk('disk0', 'report');
    process.failDisk('disk1', 'report');
    await served.settle();
    await served.clock.advanceAsync(60_000);
    process.failDisk('disk0', 'report');
    await served.settle();
    expect(await told()).toMatchObject([
      { device: 'disk0', others: 0 },
      { device: 'disk1', others: 0 },
      { device: 'disk0', others: 999 },
    ]);
  });

  it('of its memory is told too', async () => {
    process.emit({ kind: 'memoryFailure', recipient: 'guest', action: 'inject' });
    await served.settle();
    expect(await told()).toEqual([{ vm, messageId: 105, recipient: 'guest', action: 'inject', others: 0 }]);
  });
});
