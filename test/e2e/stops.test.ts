import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { setTimeout as delay } from 'node:timers/promises';
import type { VirtualMachine, VmEvent } from '@vmpulse/client';
import { eventually, RealService, patienceMs } from '../support/real-service.ts';

let service: RealService;
beforeAll(async () => {
  service = await RealService.start();
});
afterEach(() => service.clear());
afterAll(() => service.dispose());

/** Types of one machine's events after its first tick. */
function since(name: string): string[] {
  const types = service.heard.types(name);
  return types.slice(types.indexOf('heartbeatStarted') + 1);
}

/** State events of one machine after its first tick. */
function states(name: string): unknown[] {
  const events = service.heard.of(name);
  const started = events.findIndex((event) => event.type === 'io.vmpulse.heartbeatStarted');
  return events
    .slice(started)
    .flatMap((event) => (event.type === 'io.vmpulse.stateChanged' ? [state(event)] : []));
}

function state(event: VmEvent): unknown {
  return (event.data as { state?: unknown }).state;
}

/** A guest that goes on; on a busy host it takes its time. */
function ticks({ name, guestOS }: VirtualMachine): Promise<boolean> {
  return eventually(
    () => guestOS.isHeartbeating().catch(() => false),
    () => `${name} to tick; heard ${JSON.stringify(service.heard.types(name))}`,
  );
}

/** Long enough for a wrong event to come: an interval, the cold margin and several rounds. */
async function quiet(vm: VirtualMachine, forMs: number): Promise<void> {
  const endMs = performance.now() + forMs;
  while (performance.now() < endMs) {
    await vm.guestOS.isHeartbeating().catch(() => false);
    await delay(200);
  }
  await service.caughtUp();
}

describe('a guest that stops', () => {
  test('by panic is told as panicked, and its reset brings it back', async () => {
    const vm = await service.live('panics');
    await service.tell(vm, 'panic');
    const stopped = await service.heard.wait('panics', 'heartbeatStopped');
    expect(stopped.data).toMatchObject({ verdict: 'panicked', cause: 'guestPanicked', eventType: 8 });
    await (await vm.reset()).waitForCompletion(patienceMs);
    const resumed = await service.heard.wait('panics', 'heartbeatResumed');
    expect(resumed.data).toMatchObject({ stoppedSeq: stopped.seq });
    expect(since('panics')).toEqual([
      'heartbeatStopped',
      'stateChanged',
      'guestReset',
      'stateChanged',
      'stateChanged',
      'stateChanged',
      'heartbeatResumed',
    ]);
    expect(states('panics')).toEqual(['turningOff', 'deleteMachine', 'turningOn', 'running']);
  });

  test('by NMI, as the demo does it, is told as panicked', async () => {
    const vm = await service.live('nmi');
    await (await vm.injectNmi()).waitForCompletion(patienceMs);
    const stopped = await service.heard.wait('nmi', 'heartbeatStopped');
    expect(stopped.data).toMatchObject({ verdict: 'panicked' });
  });

  test('because QEMU was killed is told as exited with the signal, then as turned off', async () => {
    const vm = await service.live('killed');
    process.kill(await service.pidOf(vm), 'SIGKILL');
    const stopped = await service.heard.wait('killed', 'heartbeatStopped');
    expect(stopped.data).toMatchObject({
      verdict: 'exited',
      cause: 'processExit',
      evidence: { exit: { signal: 'SIGKILL' } },
    });
    await service.heard.wait('killed', 'stateChanged', 5);
    expect(since('killed')).toEqual(['heartbeatStopped', 'stateChanged', 'stateChanged', 'stateChanged']);
    expect(states('killed')).toEqual(['turningOff', 'deleteMachine', 'turnedOff']);
    expect((await vm.refresh()).state).toBe('turnedOff');
  });

  test('because its user space hangs is told as hung with evidence, and resumes after a reset', async () => {
    const vm = await service.live('hangs');
    await quiet(vm, 3_000);
    await service.tell(vm, 'hang');
    const stopped = await service.heard.wait('hangs', 'heartbeatStopped');
    expect(stopped.data).toMatchObject({
      verdict: 'hung',
      cause: 'silence',
      evidence: { intervalMs: 1_000 },
    });
    await (await vm.reset()).waitForCompletion(patienceMs);
    await service.heard.wait('hangs', 'heartbeatResumed');
    expect(since('hangs').filter((type) => type.startsWith('heartbeat'))).toEqual([
      'heartbeatStopped',
      'heartbeatResumed',
    ]);
  });

  test('by a livelock is told as spinning once its patience is over', async () => {
    const vm = await service.live('spins', { heartbeat: { patience: { spinningMs: 4_000 } } });
    await service.tell(vm, 'spin');
    const stopped = await service.heard.wait('spins', 'heartbeatStopped');
    expect(stopped.data).toMatchObject({ verdict: 'spinning', cause: 'silence' });
    const { evidence } = stopped.data as unknown as { evidence: { silenceMs: number } };
    expect(evidence.silenceMs).toBeGreaterThanOrEqual(4_000);
  });
});

describe('a guest that does not stop', () => {
  test('but powers itself off in order is told as turned off by its guest', async () => {
    const vm = await service.live('poweroff');
    await service.tell(vm, 'poweroff');
    await service.heard.wait('poweroff', 'turnedOffByGuest');
    await service.heard.wait('poweroff', 'stateChanged', 5);
    expect(since('poweroff')).toEqual(['turnedOffByGuest', 'stateChanged', 'stateChanged', 'stateChanged']);
    expect(states('poweroff')).toEqual(['turningOff', 'deleteMachine', 'turnedOff']);
  });

  test('but is shut down by the agent', async () => {
    const vm = await service.live('agent');
    await (await vm.guestOS.shutdown()).waitForCompletion(patienceMs);
    expect((await vm.refresh()).state).toBe('turnedOff');
    await service.caughtUp();
    expect(since('agent').filter((type) => type.startsWith('heartbeat'))).toEqual([]);
  });

  test('but reboots from inside is told as reset and started', async () => {
    const vm = await service.live('reboots');
    await service.tell(vm, 'reboot');
    await service.heard.wait('reboots', 'heartbeatStarted', 2);
    expect(since('reboots')).toEqual(['guestReset', 'heartbeatStarted']);
  });

  test('but is reset', async () => {
    const vm = await service.live('reset');
    await (await vm.reset()).waitForCompletion(patienceMs);
    await service.heard.wait('reset', 'heartbeatStarted', 2);
    expect(since('reset').filter((type) => type !== 'stateChanged')).toEqual([
      'guestReset',
      'heartbeatStarted',
    ]);
    expect(states('reset')).toEqual(['turningOff', 'deleteMachine', 'turningOn', 'running']);
  });

  test('but is paused for 8 s', async () => {
    const vm = await service.live('paused');
    await (await vm.pause()).waitForCompletion(patienceMs);
    await quiet(vm, 8_000);
    await (await vm.resume()).waitForCompletion(patienceMs);
    await quiet(vm, 4_000);
    expect(since('paused')).toEqual(['stateChanged', 'stateChanged']);
    expect(states('paused')).toEqual(['paused', 'running']);
    expect(await ticks(vm)).toBe(true);
  });

  test('but is saved and restored', async () => {
    const vm = await service.live('saved');
    await (await vm.save()).waitForCompletion(patienceMs);
    expect((await vm.refresh()).state).toBe('saved');
    await service.caughtUp();
    expect(states('saved')).toEqual(['saving', 'turningOff', 'deleteMachine', 'turnedOff']);
    await (await vm.startup()).waitForCompletion(patienceMs);
    await quiet(vm, 4_000);
    expect(states('saved').slice(4)).toEqual(['turningOn', 'restoring', 'running']);
    expect(since('saved').filter((type) => type !== 'stateChanged')).toEqual([]);
    expect(await ticks(vm)).toBe(true);
  });

  test('but is turned off', async () => {
    const vm = await service.live('off');
    await (await vm.turnOff()).waitForCompletion(patienceMs);
    await service.caughtUp();
    expect(since('off')).toEqual(['stateChanged', 'stateChanged', 'stateChanged']);
    expect(states('off')).toEqual(['turningOff', 'deleteMachine', 'turnedOff']);
  });
});
