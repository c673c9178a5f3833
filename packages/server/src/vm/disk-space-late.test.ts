import { afterEach, beforeEach, expect, it } from 'vitest';
import { WatchedDisks, mb } from '../../../../test/support/watched-disks.ts';

let world: WatchedDisks;

beforeEach(async () => {
  world = await WatchedDisks.open();
});

afterEach(() => world.close());

// It drains a slow disk first.
it('a machine that QEMU stops only after the deadline of the command is resumed with the space', async () => {
  const vm = await world.runs('web-1');
  await world.watch();
  const process = world.served.host.machine(vm);
  process.hang();
  world.disks.free(world.images, 10 * mb);
  for (let n = 0; n < 400 && world.errors.length === 0; n += 1) await world.pass(100);
  expect(world.errors).toEqual(['a machine could not be dealt with for its disk space']);
  // QEMU does what it was told, a second later.
  await world.pass(1_000);
  process.unhang();
  process.setRunState('paused');
  process.emit({ kind: 'stopped' });
  await world.pass(1_000);
  expect(world.served.state(vm)).toBe('paused');
  await world.freeMb(5_000);
  await world.pass(60_000);
  // Nobody but the service asked for that pause.
  expect(world.served.state(vm)).toBe('running');
});

it('a file system that was mounted anew while it was low is not told again after a kill', async () => {
  await world.runs('web-1');
  await world.watch();
  await world.freeMb(50);
  world.disks.renumber(world.images, '9:9');
  await world.pass(120_000);
  const told = (await world.told()).length;
  await world.killAndRestart();
  await world.pass(30_000);
  expect((await world.told()).length - told).toBe(0);
});
