import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { VirtualMachine, VmEvent } from '@vmpulse/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually, RealService, patienceMs } from '../support/real-service.ts';

let service: RealService;
/** Has the agent alone. */
let pinged: VirtualMachine;
/** Has ticker and agent. */
let ticking: VirtualMachine;

beforeAll(async () => {
  service = await RealService.start();
  const disk = join(service.directory, 'disk.raw');
  await writeFile(disk, Buffer.alloc(16 * 1024 * 1024));
  [pinged, ticking] = await Promise.all([
    service.live('pinged', { heartbeat: { patience: { busyMs: 6_000 } } }, 'vmpulse.ticker=0'),
    service.live('ticking', { disks: [{ file: disk }] }),
  ]);
});
afterAll(() => service.dispose());

/** Events of one machine after `seq`. */
function since(name: string, seq: number): VmEvent[] {
  return service.heard.of(name).filter((event) => event.seq > seq);
}

const typesSince = (name: string, seq: number): string[] =>
  since(name, seq).map(({ type }) => type.replace('io.vmpulse.', ''));

function agentOf(vm: VirtualMachine): Promise<boolean> {
  return eventually(
    async () => (await vm.guestOS.info()).canShutdown,
    () => `the agent of ${vm.name} to answer`,
  );
}

describe('a guest with the agent alone', () => {
  test('is watched by ping, after a head start for a ticker', async () => {
    const started = service.heard.of('pinged').find(({ type }) => type === 'io.vmpulse.heartbeatStarted');
    expect(started?.data).toMatchObject({ source: 'agent', intervalMs: 1_000 });
    expect(await pinged.guestOS.info()).toMatchObject({
      source: 'agent',
      isHeartbeating: true,
      verdict: 'alive',
      canShutdown: true,
      computerName: 'pinged',
    });
    const running = service.heard
      .of('pinged')
      .find(
        ({ type, data }) => type === 'io.vmpulse.stateChanged' && 'state' in data && data.state === 'running',
      );
    const tookMs = Date.parse(started?.time ?? '') - Date.parse(running?.time ?? '');
    expect(tookMs).toBeGreaterThanOrEqual(10_000);
  });

  test('runs programs, with their output, exit code and signal, and goes on being watched', async () => {
    const seq = await service.caughtUp();
    const { guestOS } = pinged;
    const list = await guestOS.executeCommand('sh', ['-c', 'echo out; echo err >&2; cat; exit 3'], {
      input: 'in\n',
    });
    expect(list).toMatchObject({
      exitCode: 3,
      signal: null,
      stdout: { text: 'out\nin\n', base64: null },
      stderr: { text: 'err\n', base64: null },
      truncated: false,
    });
    // No shell reads what is an argument.
    const quoted = await guestOS.executeCommand('echo', ['$HOME', ';', '*']);
    expect(quoted.stdout.text).toBe('$HOME ; *\n');
    const bytes = await guestOS.executeCommand('printf', ['\\377\\001']);
    expect(bytes.stdout.base64).toBe('/wE=');
    const killed = await guestOS.executeCommand('sh', ['-c', 'kill -KILL $$']);
    expect(killed).toMatchObject({ exitCode: null, signal: 9 });
    await expect(guestOS.executeCommand('no-such-program')).rejects.toMatchObject({
      code: 'E_FILE_NOT_FOUND',
    });
    const long = guestOS.executeCommand('sleep', ['10']);
    let oldestMs = 0;
    const watching = Array.from({ length: 30 }, async (_, each) => {
      await delay(each * 300);
      oldestMs = Math.max(oldestMs, (await guestOS.info()).lastTickAgoMs ?? Number.POSITIVE_INFINITY);
    });
    await Promise.all([long, ...watching]);
    expect((await long).durationMs).toBeGreaterThan(10_000);
    expect(oldestMs).toBeLessThan(8_000);
    await expect(guestOS.executeCommand('sleep', ['30'], { timeoutMs: 500 })).rejects.toMatchObject({
      code: 'VM_E_TIMED_OUT',
    });
    await service.caughtUp();
    expect(typesSince('pinged', seq)).toEqual([]);
  });

  test('finds parameters as files, and may be asked for them', async () => {
    const { guestOS } = pinged;
    expect(await guestOS.getParameter('VirtualMachineName')).toBe('pinged');
    await guestOS.setParameter('role/of this', 'data\nbase ü');
    expect(await guestOS.getParameter('role/of this')).toBe('data\nbase ü');
    const file = '/run/vmpulse/parameters/role%2Fof%20this';
    expect((await guestOS.executeCommand('cat', [file])).stdout.text).toBe('data\nbase ü');
    expect((await guestOS.executeCommand('stat', ['-c', '%a', file])).stdout.text).toBe('644\n');
    const { stdout } = await guestOS.executeCommand('ls', ['-A', '/run/vmpulse/incoming']);
    expect(stdout.text).toBe('');
    await expect(guestOS.getParameter('not set')).rejects.toMatchObject({ code: 'E_INVALIDARG' });
    await expect(guestOS.getParameter('back\\slash')).rejects.toMatchObject({ code: 'E_INVALIDARG' });
  });

  test('whose agent hangs is told as stopped when its patience is over, and as resumed when it answers', async () => {
    const seq = await service.caughtUp();
    const askedMs = performance.now();
    await service.tell(pinged, 'freeze-agent');
    const stopped = await service.heard.wait('pinged', 'heartbeatStopped');
    // The rest of the guest works on, so that it is not idle; on a fast host that may be too little to be seen.
    expect(['busy', 'hung']).toContain((stopped.data as { verdict?: string }).verdict);
    if ((stopped.data as { verdict?: string }).verdict === 'busy') {
      expect(performance.now() - askedMs).toBeGreaterThan(5_000);
    }
    await service.tell(pinged, 'thaw-agent');
    await service.heard.wait('pinged', 'heartbeatResumed');
    await service.caughtUp();
    expect(typesSince('pinged', seq)).toEqual(['heartbeatStopped', 'heartbeatResumed']);
  });

  test('is told as hung when it hangs itself', async () => {
    const seq = await service.caughtUp();
    await service.tell(pinged, 'hang 40');
    const stopped = await service.heard.wait('pinged', 'heartbeatStopped', 2);
    expect(stopped.data).toMatchObject({ verdict: 'hung', cause: 'silence' });
    await service.heard.wait('pinged', 'heartbeatResumed', 2);
    await service.caughtUp();
    expect(typesSince('pinged', seq)).toEqual(['heartbeatStopped', 'heartbeatResumed']);
    await eventually(
      async () => (await pinged.guestOS.info()).isHeartbeating,
      () => `it to be heard; told ${JSON.stringify(typesSince('pinged', seq))}`,
    );
    expect((await pinged.guestOS.info()).source).toBe('agent');
  });

  test('is watched by ping after a restart of the service, paused and resumed without a stop', async () => {
    const seq = await service.caughtUp();
    await service.end();
    await service.run();
    await eventually(
      async () => (await pinged.guestOS.info().catch(() => null))?.isHeartbeating,
      () => 'the guest to be watched again',
    );
    await (await pinged.pause()).waitForCompletion(patienceMs);
    await expect(pinged.guestOS.executeCommand('true')).rejects.toMatchObject({ code: 'VM_E_VM_PAUSED' });
    await delay(4_000);
    await (await pinged.resume()).waitForCompletion(patienceMs);
    await delay(3_000);
    await eventually(
      async () => (await pinged.guestOS.info()).isHeartbeating,
      () => `it to be heard; told ${JSON.stringify(typesSince('pinged', seq))}`,
    );
    expect((await pinged.guestOS.info()).source).toBe('agent');
    await service.caughtUp();
    expect(typesSince('pinged', seq).filter((type) => type.startsWith('heartbeat'))).toEqual([]);
  });

  test('is shut down by its agent while it is pinged, which is no stop', async () => {
    await agentOf(pinged);
    const seq = await service.caughtUp();
    await (await pinged.guestOS.shutdown()).waitForCompletion(patienceMs);
    await service.caughtUp();
    expect(typesSince('pinged', seq).filter((type) => type !== 'stateChanged')).toEqual(['turnedOffByGuest']);
    await expect(pinged.guestOS.executeCommand('true')).rejects.toMatchObject({
      code: 'VM_E_VM_NOT_RUNNING',
    });
  });
});

describe('a guest with ticker and agent', () => {
  test('is watched by its ticker, also while its file systems are frozen, until they are thawed', async () => {
    await agentOf(ticking);
    const { guestOS } = ticking;
    const mount = 'mke2fs /dev/vda >/dev/null && mkdir -p /mnt/disk && mount -t ext4 /dev/vda /mnt/disk';
    expect(await guestOS.executeCommand('sh', ['-c', mount])).toMatchObject({ exitCode: 0 });
    const seq = await service.caughtUp();
    expect(await guestOS.info()).toMatchObject({ source: 'ticker', fileSystems: 'thawed' });
    expect(await guestOS.freezeFileSystems({ timeoutMs: 300_000 })).toBe(1);
    await expect(guestOS.freezeFileSystems()).rejects.toMatchObject({ code: 'E_FAIL' });
    await expect(guestOS.executeCommand('true')).rejects.toMatchObject({
      code: 'VM_E_ADDITIONS_FEATURE_NOT_AVAIL',
    });
    await delay(3_000);
    expect(await guestOS.info()).toMatchObject({
      source: 'ticker',
      isHeartbeating: true,
      fileSystems: 'frozen',
    });
    expect(await guestOS.thawFileSystems()).toBe(1);
    expect((await guestOS.info()).fileSystems).toBe('thawed');
    expect((await guestOS.executeCommand('touch', ['/mnt/disk/a'])).exitCode).toBe(0);
    // What nobody thaws is thawed all the same.
    expect(await guestOS.freezeFileSystems({ timeoutMs: 1_000 })).toBe(1);
    await eventually(
      async () => (await guestOS.info()).fileSystems === 'thawed',
      () => 'the file systems to be thawed',
    );
    expect((await guestOS.executeCommand('touch', ['/mnt/disk/b'])).exitCode).toBe(0);
    await service.caughtUp();
    expect(typesSince('ticking', seq)).toEqual([]);
  });

  test('whose ticker ends is told so by its agent, which is its heartbeat from then on', async () => {
    const seq = await service.caughtUp();
    await service.tell(ticking, 'stop-ticker');
    const told = await service.heard.wait('ticking', 'additionsStopped');
    expect(JSON.stringify(told.data)).toContain('agent');
    await eventually(
      async () => {
        const info = await ticking.guestOS.info();
        return info.source === 'agent' && info.isHeartbeating;
      },
      () => 'the agent to be the heartbeat',
    );
    await service.tell(ticking, 'hang 40');
    const stopped = await service.heard.wait('ticking', 'heartbeatStopped');
    expect(stopped.data).toMatchObject({ verdict: 'hung', cause: 'silence' });
    await service.heard.wait('ticking', 'heartbeatResumed');
    await service.tell(ticking, 'start-ticker');
    await eventually(
      async () => (await ticking.guestOS.info()).source === 'ticker',
      () => 'the ticker to be the heartbeat again',
    );
    await service.caughtUp();
    expect(typesSince('ticking', seq).filter((type) => !type.startsWith('additions'))).toEqual([
      'heartbeatStopped',
      'heartbeatResumed',
    ]);
  });
});
