import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { ControlGroup } from '../../../../../test/support/control-group.ts';
import { SimulatedClock } from '../../../../../test/support/simulated-clock.ts';
import { cgroupCheckMs } from '../../limits.ts';
import { cgroupMounts, freezerFiles, Freezer } from './freezer.ts';
import { readStat } from './proc.ts';

const unified = '30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate';
const freezer = '40 30 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer';
const memory = '41 30 0:35 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory';
const container = String.raw`42 30 0:36 /docker/ab\040c /host\040cgroup ro - cgroup2 cgroup rw`;

describe('Control groups that freeze', () => {
  it.each([
    ['v2 alone', unified, [{ version: 2, root: '/', at: '/sys/fs/cgroup' }]],
    [
      'v1, whatever else is mounted',
      `${memory}\n${freezer}`,
      [{ version: 1, root: '/', at: '/sys/fs/cgroup/freezer' }],
    ],
    [
      'a part of a hierarchy, with spaces',
      container,
      [{ version: 2, root: '/docker/ab c', at: '/host cgroup' }],
    ],
    [
      'optional fields',
      '1 2 0:1 / /c rw shared:1 master:2 - cgroup2 none rw',
      [{ version: 2, root: '/', at: '/c' }],
    ],
    ['none', `${memory}\n\nnonsense - cgroup2`, []],
  ])('are found in mountinfo: %s', (_title, text, mounts) => {
    expect(cgroupMounts(text)).toEqual(mounts);
  });

  it.each([
    ['0::/vm.slice/a:b', unified, { v1: null, v2: '/sys/fs/cgroup/vm.slice/a:b/cgroup.events' }],
    [
      '6:cpu,freezer:/m\n0::/',
      `${unified}\n${freezer}`,
      { v1: '/sys/fs/cgroup/freezer/m/freezer.state', v2: null },
    ],
    ['0::/docker/ab c/x', container, { v1: null, v2: '/host cgroup/x/cgroup.events' }],
    ['0::/docker/ab c', container, { v1: null, v2: '/host cgroup/cgroup.events' }],
    ['0::/docker/ab cd', container, { v1: null, v2: null }],
    ['0::/../elsewhere', container, { v1: null, v2: null }],
    ['4:memory:/m', `${memory}\n${freezer}`, { v1: null, v2: null }],
    ['', unified, { v1: null, v2: null }],
  ])('of a process are found: %j', (cgroup, mountinfo, files) => {
    expect(freezerFiles(cgroup, cgroupMounts(mountinfo))).toEqual(files);
  });
});

describe.each([1, 2] as const)('A process in a control group v%i', (version) => {
  let child: ChildProcess | undefined;
  let group: ControlGroup | undefined;
  afterEach(async () => {
    await group?.thaw();
    child?.kill('SIGKILL');
    await group?.remove();
    group = undefined;
    child = undefined;
  });

  it('is seen to be frozen and thawed, also after it was moved; its own state tells nothing', async (context) => {
    const made = await ControlGroup.make(version);
    if (typeof made === 'string') {
      context.skip(made);
      return;
    }
    group = made;
    child = spawn('sleep', ['100'], { stdio: 'ignore' });
    await once(child, 'spawn');
    const pid = child.pid ?? 0;
    const clock = new SimulatedClock();
    const seen = new Freezer(clock, pid);
    expect(seen.frozen()).toBe(false);
    await group.add(pid);
    await group.freeze();
    // A little later than it happened, as its group is looked up now and then.
    clock.advance(cgroupCheckMs);
    await expect.poll(() => seen.frozen()).toBe(true);
    expect((await readStat(pid))?.state).toBe(version === 2 ? 'S' : 'D');
    await group.thaw();
    await expect.poll(() => seen.frozen()).toBe(false);
  });

  it('is not frozen once it is gone', () => {
    expect(new Freezer(new SimulatedClock(), 2 ** 22 + 1).frozen()).toBe(false);
  });
});
