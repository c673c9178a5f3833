import {
  type EventDataByType,
  type EventType,
  type RecoveryConfiguration,
  type StopVerdict,
  VmError,
  eventTypeOf,
} from '@vmpulse/wire';
import { beforeEach, describe, expect, it } from 'vitest';
import { ServedMachines } from '../../../../test/support/served-machines.ts';
import type { EventLog } from '../event/log.ts';
import { Recovery, type RecoveryPorts } from './execute.ts';

let served: ServedMachines;
let recovery: Recovery;
let trouble: string | null;

const evidence = {
  lastTickAt: null,
  sinceLastTickMs: null,
  silenceMs: null,
  subtracted: { suspendedMs: 0, runDelayMs: 0 },
  intervalMs: null,
  marginMs: null,
  witnesses: [],
};

function make(change: Partial<RecoveryPorts> = {}): Recovery {
  return new Recovery({
    clock: served.clock,
    log: served.log,
    store: served.documents,
    machines: served.server,
    evidence: null,
    logger: { info: () => undefined, warn: () => undefined, error: () => undefined },
    hostTrouble: () => trouble,
    random: () => 0,
    ...change,
  });
}

async function serve(change: Partial<RecoveryPorts> = {}): Promise<void> {
  recovery = make(change);
  await served.server.load();
  await recovery.load();
  await served.server.start();
  recovery.start();
  await served.settle();
}

/** kill -9, and a new service. */
async function restart(change: Partial<RecoveryPorts> = {}): Promise<void> {
  served.kill();
  await serve(change);
}

async function running(recover: RecoveryConfiguration, name = 'web-1'): Promise<string> {
  const id = await served.create({ name, recovery: { minRunningMs: 0, settleMs: 30_000, ...recover } });
  await served.bring(id, 'running');
  return id;
}

async function say<T extends EventType>(id: string, type: T, data: EventDataByType[T]): Promise<void> {
  const vm = { id, name: served.server.get(id).name };
  await served.memory.append({ type, vm, timeMs: served.clock.wallMs(), data } as never);
  await served.settle();
}

async function stop(id: string, verdict: StopVerdict = 'hung', correlated = false): Promise<void> {
  served.watch(id).verdict = verdict;
  const data = {
    verdict,
    cause: 'silence' as const,
    evidence,
    ...(correlated ? { correlated: true as const } : {}),
  };
  await say(id, 'heartbeatStopped', data);
  await settle();
}

async function resume(id: string): Promise<void> {
  served.watch(id).verdict = 'alive';
  await say(id, 'heartbeatResumed', { outageMs: 1, stoppedSeq: null });
  await settle();
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 8; turn += 1) {
    await served.settle();
    await served.clock.advanceAsync(1);
  }
}

async function told(after = 0, name?: string): Promise<string[]> {
  const events = (await served.events(after)).filter((event) => name === undefined || event.subject === name);
  return events.flatMap((event) => {
    const type = eventTypeOf(event);
    if (!type.startsWith('recovery')) return [];
    const { step, phase, reason, dryRun } = event.data as unknown as Record<string, unknown>;
    const word = type === 'recoveryStep' ? `${String(step)} ${String(phase)}` : type.slice('recovery'.length);
    const why = type === 'recoveryHeldBack' || type === 'recoveryGaveUp' ? ` ${String(reason)}` : '';
    return [`${word}${why}${dryRun === true ? ' (dry)' : ''}`];
  });
}

const resets = (id: string): number =>
  served.watch(id).calls.filter((call) => call === 'suspend resetting').length;

beforeEach(async () => {
  served = new ServedMachines();
  trouble = null;
  await serve();
});

describe('a guest that stopped', () => {
  it('is reset, and that is a success once its heartbeat is back', async () => {
    const id = await running({ action: 'reset' });
    await stop(id);
    expect([await told(), resets(id)]).toEqual([['Planned', 'reset begun', 'reset done'], 1]);
    expect(recovery.info('web-1')).toMatchObject({ state: 'settling', step: 'reset', verdict: 'hung' });
    await served.clock.advanceAsync(4_000);
    await resume(id);
    expect((await told()).at(-1)).toBe('Succeeded');
    const event = (await served.events()).find((each) => eventTypeOf(each) === 'recoverySucceeded');
    expect(event?.data).toMatchObject({ step: 'reset', attempts: 1, messageId: 143 });
    const { outageMs } = (event?.data ?? { outageMs: 0 }) as { outageMs: number };
    expect(outageMs).toBeGreaterThanOrEqual(4_000);
    expect(recovery.info('web-1')).toMatchObject({ state: 'idle', history: [{ outcome: 'succeeded' }] });
  });

  it('with restart is turned off and started; one whose process is gone is started', async () => {
    const id = await running({ action: 'restart' });
    await stop(id, 'panicked');
    const steps = ['turnOff begun', 'turnOff done', 'start begun', 'start done'];
    expect([await told(), served.state(id)]).toEqual([['Planned', ...steps], 'running']);
    await resume(id);
    const { seq } = served;
    served.host.machine(id).kill();
    await settle();
    await served.clock.advanceAsync(20_000);
    await settle();
    expect(await told(seq)).toEqual(['Planned', 'start begun', 'start done']);
    expect(served.state(id)).toBe('running');
  });

  it('goes through the stages, and is given up until an operator acts', async () => {
    const id = await running({ action: 'staged', nmi: true });
    await stop(id);
    await served.clock.advanceAsync(200_000);
    await settle();
    const steps = ['injectNmi', 'reset', 'turnOff', 'start'].flatMap((step) => [
      `${step} begun`,
      `${step} done`,
    ]);
    expect(await told()).toEqual(['Planned', ...steps, 'GaveUp stages']);
    await served.clock.advanceAsync(7_200_000);
    expect(await told()).toHaveLength(steps.length + 2);
    expect(recovery.info(id).state).toBe('gaveUp');
    await restart();
    served.watch(id).verdict = 'hung';
    await served.clock.advanceAsync(10_000);
    expect([recovery.info(id).state, (await told()).length]).toEqual(['gaveUp', steps.length + 2]);
    const { seq } = served;
    expect((await recovery.rearm(id)).state).not.toBe('gaveUp');
    await settle();
    expect((await told(seq)).slice(0, 2)).toEqual(['injectNmi begun', 'injectNmi done']);
  });

  it('that boots and fails again and again ends in being given up, over restarts of the service too', async () => {
    const id = await running({ action: 'reset', attempts: 3 });
    for (let round = 0; round < 3; round += 1) {
      await stop(id);
      await served.clock.advanceAsync(25_000);
      await settle();
      await resume(id);
      await restart();
    }
    const { seq } = served;
    await stop(id);
    await settle();
    expect(await told(seq)).toEqual(['Planned', 'GaveUp attempts']);
    await resume(id);
    await stop(id);
    expect((await told(seq)).slice(2)).toEqual(['Planned', 'HeldBack gaveUp']);
    expect(resets(id)).toBe(0);
    await served.run(id, 'reset');
    await resume(id);
    await stop(id);
    expect((await told(seq)).slice(4)).toEqual(['Planned', 'reset begun', 'reset done']);
  });

  it('is left alone by none and by notify, and by a dry run, which tells what it would do', async () => {
    for (const [name, recover, expected] of [
      ['a', { action: 'none' }, []],
      ['b', { action: 'notify' }, ['Planned']],
      ['c', { action: 'default' }, []],
      ['d', { action: 'reset', dryRun: true }, ['Planned (dry)', 'reset begun (dry)', 'reset done (dry)']],
    ] as const) {
      const id = await running(recover, name);
      await stop(id);
      expect([await told(0, name), resets(id)]).toEqual([expected, 0]);
      await resume(id);
      await served.clock.advanceAsync(120_000);
    }
    expect(await told()).not.toContain('Succeeded');
  });

  it('follows the default of the server where its own policy says so', async () => {
    await recovery.setServerDefault({ action: 'reset', minRunningMs: 0 });
    const id = await served.create({ name: 'web-1' });
    await served.bring(id, 'running');
    await restart();
    expect(recovery.info(id)).toMatchObject({ inherited: true, policy: { action: 'reset', attempts: 3 } });
    await stop(id);
    expect(resets(id)).toBe(1);
    await expect(recovery.setServerDefault({ action: 'pray' })).rejects.toThrow(/action/);
  });
});

describe('what cancels a plan', () => {
  it('a heartbeat that came back before the step', async () => {
    const id = await running({ action: 'reset', minRunningMs: 60_000 });
    await stop(id);
    expect(recovery.info(id).state).toBe('waiting');
    await resume(id);
    await served.clock.advanceAsync(120_000);
    expect([await told(), resets(id)]).toEqual([['Planned'], 0]);
  });

  it('a heartbeat that came back while the step was being written', async () => {
    const id = await running({ action: 'reset' });
    const go = served.stallWrites();
    const stopping = stop(id);
    await settle();
    served.watch(id).verdict = 'alive';
    await say(id, 'heartbeatResumed', { outageMs: 1, stoppedSeq: null });
    go();
    await stopping;
    await served.clock.advanceAsync(120_000);
    expect([resets(id), (await told()).includes('Succeeded')]).toEqual([0, false]);
  });

  it('an operator who resets it or turns it off', async () => {
    for (const operation of ['reset', 'turnOff'] as const) {
      const id = await running({ action: 'reset', minRunningMs: 60_000 }, operation);
      await stop(id);
      await served.run(id, operation);
      await served.clock.advanceAsync(120_000);
      expect(await told(0, operation)).toEqual(['Planned']);
    }
  });

  it('the end of the machine, also while it is being recovered', async () => {
    const id = await running({ action: 'restart' });
    served.hypervisor.script.startError = new VmError('VMPULSE_E_HYPERVISOR', 'no');
    await stop(id);
    await served.server.delete(id);
    await settle();
    await served.clock.advanceAsync(600_000);
    expect(await served.memory.loadDocuments('recovery')).toEqual([]);
    expect((await told()).at(-1)).toBe('start failed');
  });
});

it('an operator who turns it off while recovery starts it has the last word', async () => {
  const id = await running({ action: 'restart', backoffMs: 1_000 });
  served.hypervisor.script.startDelayMs = 2_000;
  await stop(id);
  await served.run(id, 'turnOff');
  await served.clock.advanceAsync(120_000);
  expect([served.state(id), (await told()).at(-1)]).toEqual(['turnedOff', 'start failed']);
});

describe('held back', () => {
  it('once for each reason, and gone on with once it is over', async () => {
    const id = await running({ action: 'reset' });
    served.watch(id).verdict = 'busy';
    await say(id, 'heartbeatStopped', { verdict: 'busy', cause: 'silence', evidence });
    await served.clock.advanceAsync(20_000);
    served.watch(id).verdict = 'unknown';
    await served.clock.advanceAsync(20_000);
    await served.server.holds.hold(id, { seconds: 60, reason: 'kernel' });
    served.watch(id).verdict = 'hung';
    await served.clock.advanceAsync(20_000);
    const { state, reason } = recovery.info(id);
    expect([state, reason]).toEqual(['heldBack', 'hold: its watch is held: kernel']);
    await served.clock.advanceAsync(60_000);
    const held = ['HeldBack busy', 'HeldBack unknown', 'HeldBack hold'];
    expect((await told()).slice(0, 6)).toEqual(['Planned', ...held, 'reset begun', 'reset done']);
  });

  it('by the brake: when many fail together two recover at once, and none while the host is not well', async () => {
    const ids: string[] = [];
    for (const name of ['a', 'b', 'c', 'd']) ids.push(await running({ action: 'reset' }, name));
    trouble = 'load 90 on 2 processors';
    for (const id of ids) await stop(id, 'hung', true);
    const done = (): number => ids.reduce((sum, id) => sum + resets(id), 0);
    expect([done(), await told(0, 'a')]).toEqual([0, ['Planned', 'HeldBack hostUnwell']]);
    trouble = null;
    await served.clock.advanceAsync(5_000);
    expect(done()).toBe(2);
    for (const id of ids.filter((each) => resets(each) > 0)) await resume(id);
    await served.clock.advanceAsync(5_000);
    expect(done()).toBe(4);
    expect((await told()).filter((each) => each === 'HeldBack fleetBrake').length).toBeGreaterThan(0);
  });
});

/** The log, with something that happens while a reset is told as begun. */
function logWith(happen: () => unknown): EventLog {
  const { log } = served;
  const append = ((draft, effect) => {
    if (JSON.stringify(draft.data).includes('"step":"reset","phase":"begun"')) happen();
    return log.append(draft, effect);
  }) as EventLog['append'];
  return { ...log, append };
}

describe('looked at again right before the step', () => {
  const work = { seconds: 60, reason: 'work' };
  it.each<[string, (id: string) => unknown, (id: string) => unknown]>([
    ['busy', (id) => (served.watch(id).verdict = 'busy'), (id) => (served.watch(id).verdict = 'hung')],
    ['hold', (id) => served.server.holds.hold(id, work), (id) => served.server.holds.release(id)],
  ])('it is withdrawn under %s, and done once that is over', async (why, begin, end) => {
    let happen = (): unknown => null;
    served.kill();
    await serve({ log: logWith(() => happen()) });
    const id = await running({ action: 'staged', attempts: 1 });
    happen = () => begin(id);
    await stop(id);
    happen = () => null;
    const withdrawn = ['Planned', 'reset begun', 'reset failed', `HeldBack ${why}`];
    expect([await told(), resets(id), recovery.info(id).history]).toEqual([withdrawn, 0, []]);
    await end(id);
    await served.clock.advanceAsync(5_000);
    expect([await told(), resets(id)]).toEqual([[...withdrawn, 'reset begun', 'reset done'], 1]);
  });
});

describe('after kill -9', () => {
  it('a stop that was told and not looked at yet is recovered', async () => {
    const id = await running({ action: 'reset' });
    await recovery.close();
    await stop(id);
    expect(await told()).toEqual([]);
    await restart();
    served.watch(id).verdict = 'hung';
    await served.clock.advanceAsync(15_000);
    expect(await told()).toEqual(['Planned', 'reset begun', 'reset done']);
  });

  it('before the reset it is done; after it, it is not done twice; and success is told once', async () => {
    const id = await running({ action: 'reset' });
    // Cut off before the operation begins.
    served.server.perform = () => Promise.race<never>([]);
    await stop(id);
    expect([await told(), resets(id)]).toEqual([['Planned', 'reset begun'], 0]);
    await restart();
    served.watch(id).verdict = 'hung';
    await served.clock.advanceAsync(15_000);
    expect([await told(), resets(id)]).toEqual([['Planned', 'reset begun', 'reset done'], 1]);
    await resume(id);
    // Cut off in the middle of it: QEMU may have been told.
    served.hypervisor.script.commandDelayMs = 60_000;
    const { seq } = served;
    await served.clock.advanceAsync(60_000);
    await stop(id);
    expect(await told(seq)).toEqual(['Planned', 'reset begun']);
    await restart();
    served.watch(id).verdict = 'booting';
    await served.clock.advanceAsync(15_000);
    expect([await told(seq), resets(id)]).toEqual([['Planned', 'reset begun', 'reset done'], 0]);
    await resume(id);
    await restart();
    await settle();
    expect(await told(seq)).toEqual(['Planned', 'reset begun', 'reset done', 'Succeeded']);
  });

  it('one whose heartbeat comes back to the new service is left alone', async () => {
    const id = await running({ action: 'reset', settleMs: 1_000, backoffMs: 1_000 });
    await stop(id);
    await restart();
    served.watch(id).verdict = 'hung';
    await served.clock.advanceAsync(9_000);
    await resume(id);
    await served.clock.advanceAsync(60_000);
    expect([(await told()).at(-1), resets(id)]).toEqual(['Succeeded', 0]);
  });

  it('between turning off and starting it is started', async () => {
    const id = await running({ action: 'restart' });
    served.hypervisor.start = () => Promise.race<never>([]);
    await stop(id);
    expect((await told()).at(-1)).toBe('start begun');
    await restart();
    await served.clock.advanceAsync(10_000);
    expect([(await told()).at(-1), served.state(id)]).toEqual(['start done', 'running']);
  });
});
