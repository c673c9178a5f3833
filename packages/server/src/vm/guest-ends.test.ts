import { stateSequences } from '@vmpulse/wire';
import { beforeEach, expect, it } from 'vitest';
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

it('a guest that hibernates turned itself off, and says how', async () => {
  process.hibernate();
  await served.settle();
  const [event] = await served.events(seq);
  expect(event?.type).toBe('io.vmpulse.turnedOffByGuest');
  expect(event?.data).toMatchObject({ reason: 'guest-hibernated' });
  expect(await served.states(seq)).toEqual(stateSequences.turnOff);
});

it('a guest that hibernated, was started and powers itself off does not hibernate again', async () => {
  process.emit({ kind: 'hibernated' });
  process.guestReset();
  process.guestShutdown();
  await served.settle();
  const off = (await served.events(seq)).find((event) => event.type === 'io.vmpulse.turnedOffByGuest');
  expect(off?.data).toMatchObject({ reason: 'guest-shutdown' });
});

it('a triple fault is an event of its own, before the reset', async () => {
  process.tripleFault();
  await served.settle();
  expect(await served.types(seq)).toEqual(['tripleFault', 'guestReset']);
});

it('the end of a process whose guest was migrated away is told as that, never as a stop', async () => {
  process.migrateAway();
  process.exit(0);
  await served.settle();
  expect((await served.types(seq))[0]).toBe('migratedAway');
  expect(await served.types(seq)).not.toContain('heartbeatStopped');
  expect(served.state(vm)).toBe('turnedOff');
});

it('an internal error, of which QEMU tells only that the guest stands, is asked for and told', async () => {
  process.setRunState('internalError');
  process.emit({ kind: 'stopped' });
  await served.settle();
  expect(served.watch(vm).states).toEqual(['internalError']);
});
