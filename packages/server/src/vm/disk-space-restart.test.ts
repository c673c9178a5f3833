import { eventTypeOf, isEvent } from '@vmpulse/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WatchedDisks, mb } from '../../../../test/support/watched-disks.ts';

let world: WatchedDisks;

beforeEach(async () => {
  world = await WatchedDisks.open();
});
afterEach(() => world.close());

/** The space is gone, the machine is marked, and QEMU has not answered yet. */
async function pauseHangs(vm: string): Promise<void> {
  await world.freeMb(101);
  world.served.host.machine(vm).hang();
  world.disks.free(world.images, 10 * mb);
  await world.pass(250);
  expect(await world.mark(vm)).toBe('pausing');
  expect(await world.told()).toHaveLength(1);
}

describe('a service that is killed', () => {
  it('while machines are paused is followed by one that tells nothing twice and resumes them', async () => {
    const vm = await world.runs('web-1');
    await world.watch();
    await world.freeMb(10);
    const { seq } = world.served;
    await world.killAndRestart();
    await world.pass();
    expect(await world.told(seq)).toEqual([]);
    expect(world.served.state(vm)).toBe('paused');
    await world.freeMb(500);
    expect(world.served.state(vm)).toBe('running');
    expect((await world.told(seq)).map(eventTypeOf)).toEqual(['diskSpaceRegained']);
  });

  it('before the space was regained is followed by one that resumes', async () => {
    const vm = await world.runs('web-1');
    await world.watch();
    await world.freeMb(10);
    world.disks.free(world.images, 500 * mb);
    world.disks.renumber(world.images, '8:77');
    await world.killAndRestart();
    expect(world.served.state(vm)).toBe('running');
    expect((await world.told()).map(eventTypeOf)).toEqual(['diskSpaceLow', 'diskSpaceRegained']);
  });

  it('between the event and the pause is followed by one that pauses', async () => {
    const vm = await world.runs('web-1');
    await world.watch();
    await pauseHangs(vm);
    world.served.host.machine(vm).unhang();
    world.served.host.machine(vm).setRunState('running');
    await world.killAndRestart();
    await world.pass();
    expect(world.served.state(vm)).toBe('paused');
    expect(await world.told()).toHaveLength(1);
    await world.freeMb(500);
    expect(world.served.state(vm)).toBe('running');
  });

  it('between the pause and its event is followed by one that knows the pause for its own', async () => {
    const vm = await world.runs('web-1');
    await world.watch();
    await pauseHangs(vm);
    world.served.host.machine(vm).setRunState('paused');
    world.served.host.machine(vm).unhang();
    await world.killAndRestart();
    await world.pass();
    expect(world.served.state(vm)).toBe('paused');
    const paused = (await world.served.events()).filter((event) => isEvent(event, 'stateChanged')).at(-1);
    expect(paused?.data).toMatchObject({ state: 'paused', cause: 'diskSpace' });
    await world.freeMb(500);
    expect(world.served.state(vm)).toBe('running');
  });
});
