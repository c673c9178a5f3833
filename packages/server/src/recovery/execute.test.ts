import { VmError, eventTypeOf } from '@vmpulse/wire';
import { beforeEach, describe, expect, it } from 'vitest';
import { RecoveredMachines, noEvidence } from '../../../../test/support/recovered-machines.ts';

let served: RecoveredMachines;

beforeEach(async () => {
  served = new RecoveredMachines();
  await served.serve();
  await served.see();
});

describe('a guest that stopped', () => {
  it('is reset, and that is a success once its heartbeat is back', async () => {
    const id = await served.running({ action: 'reset' });
    await served.stopped(id);
    expect([await served.told(), served.resets(id)]).toEqual([['Planned', 'reset begun', 'reset done'], 1]);
    expect(served.recovery.info('web-1')).toMatchObject({
      state: 'settling',
      step: 'reset',
      verdict: 'hung',
    });
    await served.clock.advanceAsync(4_000);
    await served.resumed(id);
    expect((await served.told()).at(-1)).toBe('Succeeded');
    const event = (await served.events()).find((each) => eventTypeOf(each) === 'recoverySucceeded');
    expect(event?.data).toMatchObject({ step: 'reset', attempts: 1, messageId: 143 });
    const { outageMs } = (event?.data ?? { outageMs: 0 }) as { outageMs: number };
    expect(outageMs).toBeGreaterThanOrEqual(4_000);
    expect(served.recovery.info('web-1')).toMatchObject({
      state: 'idle',
      history: [{ outcome: 'succeeded' }],
    });
  });

  it('with restart is turned off and started; one whose process is gone is started', async () => {
    const id = await served.running({ action: 'restart' });
    await served.stopped(id, 'panicked');
    const steps = ['turnOff begun', 'turnOff done', 'start begun', 'start done'];
    expect([await served.told(), served.state(id)]).toEqual([['Planned', ...steps], 'running']);
    await served.resumed(id);
    const { seq } = served;
    served.host.machine(id).kill();
    await served.settleAll();
    await served.clock.advanceAsync(20_000);
    await served.settleAll();
    expect(await served.told(seq)).toEqual(['Planned', 'start begun', 'start done']);
    expect(served.state(id)).toBe('running');
  });

  it('goes through the stages, and is given up until an operator acts', async () => {
    const id = await served.running({ action: 'staged', nmi: true });
    await served.stopped(id);
    await served.clock.advanceAsync(200_000);
    await served.settleAll();
    const steps = ['injectNmi', 'reset', 'turnOff', 'start'].flatMap((step) => [
      `${step} begun`,
      `${step} done`,
    ]);
    expect(await served.told()).toEqual(['Planned', ...steps, 'GaveUp stages']);
    await served.clock.advanceAsync(7_200_000);
    expect(await served.told()).toHaveLength(steps.length + 2);
    expect(served.recovery.info(id).state).toBe('gaveUp');
    await served.restart();
    served.watch(id).verdict = 'hung';
    await served.see();
    expect([served.recovery.info(id).state, (await served.told()).length]).toEqual([
      'gaveUp',
      steps.length + 2,
    ]);
    const { seq } = served;
    expect((await served.recovery.rearm(id)).state).not.toBe('gaveUp');
    await served.settleAll();
    expect((await served.told(seq)).slice(0, 2)).toEqual(['injectNmi begun', 'injectNmi done']);
  });

  it('that boots and fails again and again ends in being given up, over restarts of the service too', async () => {
    const id = await served.running({ action: 'reset', attempts: 3 });
    for (let round = 0; round < 3; round += 1) {
      await served.stopped(id);
      await served.clock.advanceAsync(25_000);
      await served.settleAll();
      await served.resumed(id);
      await served.restart();
      served.watch(id).verdict = 'alive';
      await served.see();
    }
    const { seq } = served;
    await served.stopped(id);
    await served.settleAll();
    expect(await served.told(seq)).toEqual(['Planned', 'GaveUp attempts']);
    await served.resumed(id);
    await served.stopped(id);
    expect((await served.told(seq)).slice(2)).toEqual(['Planned', 'HeldBack gaveUp']);
    expect(served.resets(id)).toBe(0);
    await served.run(id, 'reset');
    await served.resumed(id);
    await served.stopped(id);
    expect((await served.told(seq)).slice(4)).toEqual(['Planned', 'reset begun', 'reset done']);
  });

  it('is left alone by none and by notify, and by a dry run, which tells what it would do', async () => {
    for (const [name, recover, expected] of [
      ['a', { action: 'none' }, []],
      ['b', { action: 'notify' }, ['Planned']],
      ['c', { action: 'default' }, []],
      ['d', { action: 'reset', dryRun: true }, ['Planned (dry)', 'reset begun (dry)', 'reset done (dry)']],
    ] as const) {
      const id = await served.running(recover, name);
      await served.stopped(id);
      expect([await served.told(0, name), served.resets(id)]).toEqual([expected, 0]);
      await served.resumed(id);
      await served.clock.advanceAsync(120_000);
    }
    expect(await served.told()).not.toContain('Succeeded');
  });

  it('follows the default of the server where its own policy says so', async () => {
    await served.recovery.setServerDefault({ action: 'reset', minRunningMs: 0 });
    const id = await served.create({ name: 'web-1' });
    await served.bring(id, 'running');
    await served.restart();
    await served.see();
    expect(served.recovery.info(id)).toMatchObject({
      inherited: true,
      policy: { action: 'reset', attempts: 3 },
    });
    await served.stopped(id);
    expect(served.resets(id)).toBe(1);
    await expect(served.recovery.setServerDefault({ action: 'pray' })).rejects.toThrow(/action/);
  });
});

describe('what cancels a plan', () => {
  it('a heartbeat that came back before the step', async () => {
    const id = await served.running({ action: 'reset', minRunningMs: 60_000 });
    await served.stopped(id);
    expect(served.recovery.info(id).state).toBe('waiting');
    await served.resumed(id);
    await served.clock.advanceAsync(120_000);
    expect([await served.told(), served.resets(id)]).toEqual([['Planned'], 0]);
  });

  it('a heartbeat that came back while the step was being written', async () => {
    const id = await served.running({ action: 'reset' });
    const go = served.stallWrites();
    const stopping = served.stopped(id);
    await served.settleAll();
    served.watch(id).verdict = 'alive';
    await served.say(id, 'heartbeatResumed', { outageMs: 1, stoppedSeq: null });
    go();
    await stopping;
    await served.clock.advanceAsync(120_000);
    expect([served.resets(id), (await served.told()).includes('Succeeded')]).toEqual([0, false]);
  });

  it('an operator who resets it or turns it off', async () => {
    for (const operation of ['reset', 'turnOff'] as const) {
      const id = await served.running({ action: 'reset', minRunningMs: 60_000 }, operation);
      await served.stopped(id);
      await served.run(id, operation);
      await served.clock.advanceAsync(120_000);
      expect(await served.told(0, operation)).toEqual(['Planned', 'HeldBack operation']);
    }
  });

  it('the end of the machine, also while it is being recovered', async () => {
    const id = await served.running({ action: 'restart' });
    served.hypervisor.script.startError = new VmError('VMPULSE_E_HYPERVISOR', 'no');
    await served.stopped(id);
    await served.server.delete(id);
    await served.settleAll();
    await served.clock.advanceAsync(600_000);
    expect(await served.memory.loadDocuments('recovery')).toEqual([]);
    expect((await served.told()).at(-1)).toBe('start failed');
  });
});

describe('held back', () => {
  it('once for each reason, and gone on with once it is over', async () => {
    const id = await served.running({ action: 'reset' });
    served.watch(id).verdict = 'busy';
    await served.say(id, 'heartbeatStopped', { verdict: 'busy', cause: 'silence', evidence: noEvidence });
    await served.clock.advanceAsync(20_000);
    served.watch(id).verdict = 'unknown';
    await served.clock.advanceAsync(20_000);
    await served.server.holds.hold(id, { seconds: 60, reason: 'kernel' });
    served.watch(id).verdict = 'hung';
    await served.clock.advanceAsync(20_000);
    const { state, reason } = served.recovery.info(id);
    expect([state, reason]).toEqual(['heldBack', 'hold: its watch is held: kernel']);
    await served.clock.advanceAsync(60_000);
    const held = ['HeldBack busy', 'HeldBack unknown', 'HeldBack hold'];
    expect((await served.told()).slice(0, 6)).toEqual(['Planned', ...held, 'reset begun', 'reset done']);
  });

  it('by the brake: when many fail together two recover at once, and none while the host is not well', async () => {
    const ids: string[] = [];
    for (const name of ['a', 'b', 'c', 'd']) ids.push(await served.running({ action: 'reset' }, name));
    served.trouble = 'load 90 on 2 processors';
    for (const id of ids) await served.stopped(id, 'hung', true);
    const done = (): number => ids.reduce((sum, id) => sum + served.resets(id), 0);
    expect([done(), await served.told(0, 'a')]).toEqual([0, ['Planned', 'HeldBack hostUnwell']]);
    served.trouble = null;
    await served.clock.advanceAsync(5_000);
    expect(done()).toBe(2);
    for (const id of ids.filter((each) => served.resets(each) > 0)) await served.resumed(id);
    await served.clock.advanceAsync(5_000);
    expect(done()).toBe(4);
    expect((await served.told()).filter((each) => each === 'HeldBack fleetBrake').length).toBeGreaterThan(0);
  });
});

describe('after kill -9', () => {
  it('a stop that was told and not looked at yet is recovered', async () => {
    const id = await served.running({ action: 'reset' });
    await served.recovery.close();
    await served.stopped(id);
    expect(await served.told()).toEqual([]);
    await served.restart();
    served.watch(id).verdict = 'hung';
    await served.see();
    expect(await served.told()).toEqual(['Planned', 'reset begun', 'reset done']);
  });

  it('before the reset it is done; after it, it is not done twice; and success is told once', async () => {
    const id = await served.running({ action: 'reset' });
    // Cut off before the operation begins.
    served.server.perform = () => Promise.race<never>([]);
    await served.stopped(id);
    expect([await served.told(), served.resets(id)]).toEqual([['Planned', 'reset begun'], 0]);
    await served.restart();
    served.watch(id).verdict = 'hung';
    await served.settleAll();
    expect([await served.told(), served.resets(id)]).toEqual([
      ['Planned', 'reset begun', 'reset cancelled'],
      0,
    ]);
    expect(served.recovery.info(id)).toMatchObject({ state: 'waiting', history: [] });
    await served.see();
    expect([(await served.told()).slice(3), served.resets(id)]).toEqual([['reset begun', 'reset done'], 1]);
    await served.resumed(id);
    // Cut off in the middle of it: QEMU may have been told.
    served.hypervisor.script.commandDelayMs = 60_000;
    const { seq } = served;
    await served.clock.advanceAsync(60_000);
    await served.stopped(id);
    expect(await served.told(seq)).toEqual(['Planned', 'reset begun']);
    await served.restart();
    served.watch(id).verdict = 'booting';
    await served.clock.advanceAsync(5_000);
    expect([await served.told(seq), served.resets(id)]).toEqual([
      ['Planned', 'reset begun', 'reset done'],
      0,
    ]);
    await served.resumed(id);
    await served.restart();
    await served.settleAll();
    expect(await served.told(seq)).toEqual(['Planned', 'reset begun', 'reset done', 'Succeeded']);
  });

  it('between turning off and starting it is started', async () => {
    const id = await served.running({ action: 'restart' });
    served.hypervisor.start = () => Promise.race<never>([]);
    await served.stopped(id);
    expect((await served.told()).at(-1)).toBe('start begun');
    await served.restart();
    await served.clock.advanceAsync(10_000);
    expect([(await served.told()).at(-1), served.state(id)]).toEqual(['start done', 'running']);
  });
});
