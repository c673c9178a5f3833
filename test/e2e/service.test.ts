import { afterEach, describe, expect, test } from 'vitest';
import { setTimeout as delay } from 'node:timers/promises';
import type { VirtualMachine } from '@vmpulse/client';
import { eventually, RealService, patienceMs } from '../support/real-service.ts';

/** How often a service with guests is killed; more for a longer look. */
const killRounds = Number(process.env['VMPULSE_KILL_ROUNDS'] ?? 12);

const services: RealService[] = [];
async function started(): Promise<RealService> {
  const service = await RealService.start();
  services.push(service);
  return service;
}
afterEach(async () => {
  for (const service of services.splice(0)) await service.dispose();
});

describe('the service itself', () => {
  test('stopped by SIGSTOP far past every deadline raises nothing, and finds a real stop afterwards', async () => {
    const service = await started();
    const fine = await service.live('fine');
    const dies = await service.live('dies');
    service.signal('SIGSTOP');
    await delay(6_000);
    service.signal('SIGCONT');
    await delay(3_000);
    expect(service.heard.types('fine')).not.toContain('heartbeatStopped');
    expect(service.heard.types('dies')).not.toContain('heartbeatStopped');
    await service.tell(dies, 'hang');
    await delay(300);
    service.signal('SIGSTOP');
    await delay(4_000);
    service.signal('SIGCONT');
    await service.heard.wait('dies', 'heartbeatStopped');
    expect(service.heard.types('fine')).not.toContain('heartbeatStopped');
    await ticks(fine);
  });

  test('restarted in order leaves its guests running, finds them again and tells nothing of them', async () => {
    const service = await started();
    const vm = await service.live('stays');
    const pid = await service.pidOf(vm);
    expect(await service.end('SIGTERM')).toBe(0);
    await service.run();
    expect(await service.pidOf(vm)).toBe(pid);
    await ticks(vm);
    await eventually(
      () =>
        service.heard.types().lastIndexOf('serviceStarted') > service.heard.types().indexOf('serviceStopped'),
      () => 'the second start to be heard',
    );
    await delay(3_000);
    await service.caughtUp();
    const types = service.heard.types();
    expect(types.slice(types.indexOf('serviceStopped'))).toEqual(['serviceStopped', 'serviceStarted']);
    expect(service.heard.isGapless()).toBe(true);
  });

  test('holds a guest: it hangs and nothing is told, over a restart too, until it is released', async () => {
    const service = await started();
    const vm = await service.live('held');
    const hold = await vm.hold({ minutes: 10, reason: 'kernel upgrade' });
    expect((await service.heard.wait('held', 'holdStarted')).data).toMatchObject({
      scope: 'vm',
      reason: 'kernel upgrade',
      until: hold.until,
    });
    await service.tell(vm, 'hang');
    await delay(4_000);
    expect(await service.end('SIGKILL')).toBeNull();
    await service.run();
    const { since: _, ...kept } = hold;
    expect((await vm.refresh()).guest.hold).toMatchObject(kept);
    await delay(4_000);
    expect(service.heard.types('held')).not.toContain('heartbeatStopped');
    expect((await vm.refresh()).guest.isHeartbeating).toBe(false);
    await vm.release();
    // The service was restarted: ten seconds until a tick confirms the pace it remembers, then the margin and a round.
    // On a host that is short of processors its own stalls and the guest's waits come on top.
    const stopped = await service.heard.wait('held', 'heartbeatStopped');
    expect(stopped.data).toMatchObject({ verdict: 'hung', cause: 'silence' });
    expect(stopped.data).not.toHaveProperty('held');
    const types = service.heard.types('held');
    expect(types.slice(types.indexOf('holdStarted'))).toEqual([
      'holdStarted',
      'holdEnded',
      'heartbeatStopped',
    ]);
    await service.end('SIGKILL');
    await service.run();
    expect((await vm.refresh()).guest).toMatchObject({ verdict: 'hung', stoppedSeq: stopped.seq });
  });

  test('killed again and again loses no event, doubles none, invents no stop, and finds every guest', async () => {
    const service = await started();
    const names = ['pauses', 'saves', 'resets', 'toggles'];
    const vms = await Promise.all(names.map((name) => service.live(name)));
    const [pauses] = vms;
    if (pauses === undefined) throw new Error('no guests');
    const pid = await service.pidOf(pauses);
    for (let round = 0; round < killRounds; round += 1) {
      const vm = vms[round % vms.length];
      if (vm === undefined) throw new Error('no guest');
      // Something under way at the moment of the kill; what it came to is what the next service makes of it.
      const work = Promise.allSettled([disturb(vm), pauses.change({ notes: `round ${round}` })]);
      await delay(Math.random() * (round % 2 === 0 ? 40 : 400));
      await service.end('SIGKILL');
      await work;
      await service.run();
    }
    expect(await service.pidOf(pauses)).toBe(pid);
    for (const vm of vms) await revive(vm);
    for (const vm of vms) await ticks(vm);
    await service.caughtUp();
    expect(service.heard.isGapless()).toBe(true);
    expect(service.heard.events.filter((event) => event.type === 'io.vmpulse.heartbeatStopped')).toEqual([]);
    // Most are killed before they have said that they started, where the disk is slow; the first and the last are not.
    const starts = service.heard.types().filter((type) => type === 'serviceStarted');
    expect(starts.length).toBeGreaterThanOrEqual(2);
  }, 900_000);

  test('killed while a guest dies tells the stop once', async () => {
    const service = await started();
    const vm = await service.live('gone');
    const pid = await service.pidOf(vm);
    await service.end('SIGKILL');
    process.kill(pid, 'SIGKILL');
    await service.run();
    const stopped = await service.heard.wait('gone', 'heartbeatStopped');
    expect(stopped.data).toMatchObject({ verdict: 'exited', cause: 'foundDead' });
    await service.end('SIGKILL');
    await service.run();
    await eventually(
      async () => (await vm.refresh()).state === 'turnedOff',
      () => `it to be turned off; heard ${JSON.stringify(service.heard.types('gone'))}`,
    );
    await delay(1_000);
    await service.caughtUp();
    expect(service.heard.types('gone').filter((type) => type === 'heartbeatStopped')).toHaveLength(1);
  });

  test('watches ten guests at once: the one that is killed is told, and no other', async () => {
    const service = await started();
    const names = Array.from({ length: 10 }, (_each, index) => `ten-${index}`);
    const vms = await Promise.all(names.map((name) => service.live(name)));
    await delay(10_000);
    expect(service.heard.types()).not.toContain('heartbeatStopped');
    const victim = vms[4];
    if (victim === undefined) throw new Error('no victim');
    process.kill(await service.pidOf(victim), 'SIGKILL');
    await service.heard.wait('ten-4', 'heartbeatStopped');
    await delay(5_000);
    await service.caughtUp();
    expect(service.heard.events.filter((event) => event.type === 'io.vmpulse.heartbeatStopped')).toHaveLength(
      1,
    );
  });

  test('is not harmed by a guest that floods its tick port, and neither are other guests', async () => {
    const service = await started();
    const floods = await service.live('floods');
    const quiet = await service.live('quiet');
    const before = await rssKiB(service.pid);
    await service.tell(floods, 'flood 200');
    await delay(10_000);
    expect((await rssKiB(service.pid)) - before).toBeLessThan(64 * 1024);
    await ticks(quiet);
    expect(service.heard.types()).not.toContain('heartbeatStopped');
  });
});

/** A guest that goes on; on a busy host it takes its time. */
async function ticks({ name, guestOS }: VirtualMachine): Promise<void> {
  await eventually(
    () => guestOS.isHeartbeating().catch(() => false),
    () => `${name} to tick`,
  );
}

/** Begins an operation on one of the guests of the kill test, by its name and state. */
async function disturb(vm: VirtualMachine): Promise<unknown> {
  const { state } = await vm.refresh();
  if (state === 'paused') return vm.resume();
  if (state === 'saved' || state === 'turnedOff') return vm.startup();
  switch (vm.name) {
    case 'pauses':
      return vm.pause();
    case 'saves':
      return vm.save();
    case 'resets':
      return vm.reset();
    default:
      return vm.turnOff();
  }
}

/** Brings a guest back to running, whatever it was left in. */
async function revive(vm: VirtualMachine): Promise<void> {
  await eventually(
    async () => {
      const { state, task } = await vm.refresh();
      if (task !== null) return false;
      if (state === 'running') return true;
      const back = state === 'paused' ? vm.resume() : vm.startup();
      await back.then((each) => each.waitForCompletion(patienceMs)).catch(() => undefined);
      return false;
    },
    () => `${vm.name} to run again`,
  );
}

async function rssKiB(pid: number): Promise<number> {
  const { readFile } = await import('node:fs/promises');
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/u.exec(status)?.[1]);
}
