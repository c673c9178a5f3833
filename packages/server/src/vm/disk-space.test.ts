import { join } from 'node:path';
import { messageIds, eventTypeOf } from '@vmpulse/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WatchedDisks, mb } from '../../../../test/support/watched-disks.ts';
import { diskRetryMs, taskDurabilityTimeoutMs } from '../limits.ts';

let world: WatchedDisks;

beforeEach(async () => {
  world = await WatchedDisks.open();
});
afterEach(() => world.close());

describe('a file system that machines write to', () => {
  it('is told as low below the first bound, once, and as regained half of it above', async () => {
    const vm = await world.runs('web-1');
    await world.watch();
    await world.freeMb(99);
    await world.freeMb(50);
    const machines = [{ id: vm, name: 'web-1' }];
    expect(await world.datas()).toEqual([
      {
        messageId: 106,
        level: 'warning',
        eventType: 10,
        path: world.images,
        freeBytes: 99 * mb,
        boundBytes: 100 * mb,
        machines,
        machineCount: 1,
      },
    ]);
    await world.freeMb(149);
    expect(await world.told()).toHaveLength(1);
    await world.freeMb(150);
    const { seq } = (await world.told())[0] ?? { seq: 0 };
    expect(await world.datas(seq)).toMatchObject([
      { messageId: 108, from: 'warning', to: 'ok', path: world.images, freeBytes: 150 * mb, machines },
    ]);
    expect(world.served.state(vm)).toBe('running');
  });

  it('has its machines paused below the second, after the event, and resumed when it is regained', async () => {
    const vm = await world.runs('web-1');
    await world.watch();
    const { seq } = world.served;
    await world.freeMb(19);
    expect(world.served.state(vm)).toBe('paused');
    expect(world.served.host.machine(vm).runState).toBe('paused');
    expect(world.served.server.get(vm).pausedFor).toBe('diskSpace');
    await world.freeMb(29);
    expect(world.served.state(vm)).toBe('paused');
    await world.freeMb(30);
    expect(world.served.state(vm)).toBe('running');
    expect(await world.served.types(seq)).toEqual([
      'diskSpaceLow',
      'stateChanged',
      'diskSpaceRegained',
      'stateChanged',
    ]);
    const [low, paused, regained, resumed] = await world.served.events(seq);
    expect(low?.data).toMatchObject({ messageId: 107, level: 'error', eventType: 11, boundBytes: 20 * mb });
    expect(paused?.data).toMatchObject({ state: 'paused', cause: 'diskSpace' });
    expect(regained?.data).toMatchObject({ from: 'error', to: 'warning', boundBytes: 20 * mb });
    expect(resumed?.data).not.toHaveProperty('reason');
    expect(await world.mark(vm)).toBeNull();
  });

  it('is asked once for many world.images, and told once with all their machines', async () => {
    const ids = await Promise.all(['a', 'b', 'c'].map((name) => world.create(name)));
    for (const id of ids) await world.served.bring(id, 'running');
    await world.watch();
    world.disks.asked = [];
    await world.freeMb(19);
    expect(ids.map((id) => world.served.state(id))).toEqual(['paused', 'paused', 'paused']);
    expect((await world.told()).map(({ data }) => 'machineCount' in data && data.machineCount)).toEqual([3]);
    const spaces = world.disks.asked.filter(
      (each) => each.startsWith('space') && each.includes(world.images),
    );
    expect(new Set(spaces).size).toBe(1);
  });

  it('does not concern machines whose disks there are read-only, nor those on another', async () => {
    const reader = await world.runs('reader', undefined, true);
    const elsewhere = await world.runs('elsewhere', join(world.root, 'other', 'disk'));
    const writer = await world.runs('writer');
    await world.watch();
    await world.freeMb(1);
    expect([reader, elsewhere, writer].map((id) => world.served.state(id))).toEqual([
      'running',
      'running',
      'paused',
    ]);
  });

  it('that is the data directory alone is told, and no machine is paused for it', async () => {
    const vm = await world.runs('web-1');
    world.disks.mount(join(world.root, 'data'), 1);
    await world.watch();
    expect(await world.datas()).toMatchObject([
      { level: 'error', path: join(world.root, 'data'), machines: [] },
    ]);
    expect(world.served.state(vm)).toBe('running');
  });

  it('that fills at once between two looks is told as an error, not as a warning before', async () => {
    await world.runs('web-1');
    await world.watch();
    await world.freeMb(5);
    await world.freeMb(500);
    expect((await world.told()).map(eventTypeOf)).toEqual(['diskSpaceLow', 'diskSpaceRegained']);
    expect((await world.told())[1]?.data).toMatchObject({ from: 'error', to: 'ok', boundBytes: 100 * mb });
  });

  it('is looked at four times a second near a bound', async () => {
    await world.runs('web-1');
    await world.watch();
    await world.freeMb(101);
    world.disks.free(world.images, 99 * mb);
    await world.pass(250);
    expect(await world.told()).toHaveLength(1);
  });
});

describe('a machine on a file system that has no space', () => {
  it('that is started is paused as well', async () => {
    const vm = await world.create('later');
    await world.watch();
    await world.freeMb(10);
    await world.served.bring(vm, 'running');
    await world.pass(2_000);
    expect(world.served.state(vm)).toBe('paused');
    const added = await world.runs('added', join(world.images, 'more', 'disk'));
    await world.pass(2_000);
    expect(world.served.state(added)).toBe('paused');
    expect(await world.told()).toHaveLength(1);
  });

  it('that its operator resumes runs on, also past a restart, until the space was regained', async () => {
    const vm = await world.runs('web-1');
    await world.watch();
    await world.freeMb(10);
    await world.served.run(vm, 'resume');
    await world.pass();
    expect(world.served.state(vm)).toBe('running');
    await world.killAndRestart();
    await world.pass();
    expect(world.served.state(vm)).toBe('running');
    await world.freeMb(40);
    expect(await world.mark(vm)).toBeNull();
    await world.freeMb(10);
    expect(world.served.state(vm)).toBe('paused');
  });

  it('that its operator paused before, or again, is not resumed', async () => {
    const before = await world.runs('before');
    const again = await world.runs('again');
    await world.served.run(before, 'pause');
    expect(world.served.server.get(before).pausedFor).toBeNull();
    await world.watch();
    await world.freeMb(10);
    await world.served.run(again, 'resume');
    await world.served.run(again, 'pause');
    await world.freeMb(500);
    expect([before, again].map((id) => world.served.state(id))).toEqual(['paused', 'paused']);
    expect(await world.mark(again)).toBeNull();
  });

  it('that was reset begins anew, and is paused again', async () => {
    const vm = await world.runs('web-1');
    await world.watch();
    await world.freeMb(10);
    await world.served.run(vm, 'reset');
    expect(world.served.state(vm)).toBe('running');
    await world.pass(2_000);
    expect(world.served.state(vm)).toBe('paused');
  });

  it('that is turned off and started when there is space again is just started', async () => {
    const vm = await world.runs('web-1');
    await world.watch();
    await world.freeMb(10);
    await world.served.run(vm, 'turnOff');
    await world.freeMb(500);
    await world.served.bring(vm, 'running');
    await world.pass();
    expect(world.served.state(vm)).toBe('running');
    expect(world.errors).toEqual([]);
  });

  it('may be deleted: nobody resumes it, and nothing is left of its file system', async () => {
    const vm = await world.runs('web-1');
    await world.watch();
    await world.freeMb(10);
    await world.served.run(vm, 'turnOff');
    await world.served.server.delete(vm);
    await world.pass();
    expect(await world.served.documents.loadDocuments('diskSpace')).toEqual([]);
    expect(world.space.counts().map(({ path }) => path)).toEqual(['/']);
    await world.freeMb(500);
    expect(world.errors).toEqual([]);
  });

  it('whose image is gone is left to its operator', async () => {
    const vm = await world.runs('web-1');
    await world.watch();
    await world.freeMb(10);
    world.disks.absent.add(join(world.images, 'web-1'));
    await world.freeMb(500);
    for (let n = 0; n < 8; n += 1) await world.pass();
    expect(world.served.state(vm)).toBe('paused');
  });

  it('that cannot be paused is tried again after a while, and is not called ours meanwhile', async () => {
    const vm = await world.runs('web-1');
    await world.watch();
    world.served.host.machine(vm).hang();
    world.disks.free(world.images, 10 * mb);
    for (let n = 0; n < 400 && world.errors.length === 0; n += 1) await world.pass(100);
    expect(world.errors).toEqual(['a machine could not be dealt with for its disk space']);
    expect(await world.mark(vm)).toBeNull();
    expect(world.served.state(vm)).toBe('running');
    world.served.host.machine(vm).unhang();
    for (let n = 0; n < 8; n += 1) await world.pass(diskRetryMs);
    expect(world.served.state(vm)).toBe('paused');
    await world.freeMb(500);
    expect(world.served.state(vm)).toBe('running');
  });
});

describe('a log that cannot be written', () => {
  it('does not keep a machine from being paused, and tells it when it can', async () => {
    const vm = await world.runs('web-1');
    await world.watch();
    const { seq } = world.served;
    world.served.memory.failWrites('disk full');
    await world.freeMb(5);
    expect(world.served.state(vm)).toBe('paused');
    expect(world.served.seq).toBe(seq);
    world.served.memory.mendWrites();
    await world.served.settle();
    expect(await world.served.types(seq)).toEqual(['diskSpaceLow', 'stateChanged']);
  });

  it('that is only slow is waited for a while', async () => {
    const vm = await world.runs('web-1');
    await world.watch();
    world.served.stallWrites();
    world.disks.free(world.images, 5 * mb);
    await world.pass();
    expect(world.served.host.machine(vm).runState).toBe('running');
    await world.pass(3 * taskDurabilityTimeoutMs);
    expect(world.served.host.machine(vm).runState).toBe('paused');
  });
});

describe('a file system that does not answer', () => {
  it('is told as such after a while, and when it answers again; nothing is paused or resumed meanwhile', async () => {
    const vm = await world.runs('web-1');
    const other = await world.runs('other', join(world.root, 'other', 'disk'));
    await world.watch();
    await world.freeMb(10);
    world.disks.volume(world.images).hangs = true;
    world.disks.free(world.images, 500 * mb);
    world.disks.free('/', 10 * mb);
    const { seq } = world.served;
    for (let n = 0; n < 5; n += 1) await world.pass();
    expect(world.served.state(vm)).toBe('paused');
    expect(world.served.state(other)).toBe('paused');
    expect(world.disks.waiting).toHaveLength(1);
    expect(world.space.counts().map(({ path }) => path)).toEqual(['/']);
    expect((await world.told(seq)).map(({ data }) => 'messageId' in data && data.messageId)).toEqual([
      messageIds.diskSpaceError,
      messageIds.diskSpaceUnknown,
    ]);
    const { seq: hung } = world.served;
    world.disks.answer(world.images);
    await world.pass();
    expect(await world.datas(hung)).toMatchObject([
      { messageId: 109, path: world.images, over: true },
      { messageId: 108, path: world.images, from: 'error', to: 'ok' },
    ]);
    expect(world.served.state(vm)).toBe('running');
  });

  it('only for a moment is not told', async () => {
    await world.runs('web-1');
    await world.watch();
    world.disks.volume(world.images).hangs = true;
    await world.pass();
    await world.pass(3_000);
    world.disks.answer(world.images);
    await world.pass();
    expect(await world.told()).toEqual([]);
  });
});
