import { eventTypeOf, type VmError, type VmEvent } from '@vmpulse/wire';
import { beforeEach, describe, expect, it } from 'vitest';
import { ServedMachines } from '../../../../test/support/served-machines.ts';

let served: ServedMachines;

beforeEach(async () => {
  served = new ServedMachines();
  await served.server.start();
});

const minute = 60_000;
const startMs = Date.UTC(2026, 0, 1);
const at = (afterMs: number): string => new Date(startMs + afterMs).toISOString();

const failure = (promise: Promise<unknown>): Promise<VmError> =>
  promise.then(
    () => {
      throw new Error('It did not fail.');
    },
    (error: unknown) => error as VmError,
  );

/** The hold events after `after`, as [type, machine, what is particular]. */
async function told(after = 0): Promise<unknown[]> {
  return (await served.events(after)).filter(isOfHold).map((event) => {
    const { vm, until, how, heldMs } = event.data as Record<string, unknown> & { vm?: { name: string } };
    return [eventTypeOf(event), vm?.name ?? 'all', ...(until === undefined ? [how, heldMs] : [until])];
  });
}

function isOfHold(event: VmEvent): boolean {
  return eventTypeOf(event).startsWith('hold');
}

/** What the watch of a machine was told of holds. */
function held(vmId: string): string[] {
  return served.watch(vmId).calls.filter((call) => call.startsWith('held'));
}

describe('a hold on a machine', () => {
  it('begins with its event, is shown, and ends by itself with another', async () => {
    const id = await served.create();
    const hold = await served.server.holds.hold('WEB-1', { seconds: 90, reason: ' backup ' });
    const shown = {
      scope: 'vm',
      vm: { id, name: 'web-1' },
      reason: 'backup',
      since: at(0),
      until: at(90_000),
    };
    expect(hold).toEqual(shown);
    expect(served.server.holds.list()).toEqual([shown]);
    expect(served.server.get('web-1').guest.hold).toEqual(shown);
    expect(served.server.guest('web-1').hold).toEqual(shown);
    expect(served.server.holds.countHeld()).toBe(1);
    expect(held(id)).toEqual(['held true']);
    await served.clock.advanceAsync(89_999);
    expect(held(id)).toEqual(['held true']);
    await served.clock.advanceAsync(1);
    expect(held(id)).toEqual(['held true', 'held false']);
    expect(served.server.holds.list()).toEqual([]);
    expect(served.server.guest('web-1').hold).toBeNull();
    expect(await told()).toEqual([
      ['holdStarted', 'web-1', at(90_000)],
      ['holdEnded', 'web-1', 'expired', 90_000],
    ]);
    expect(await served.memory.loadHolds()).toEqual([]);
  });

  it('is durable when it is answered, and in force before', async () => {
    const id = await served.create();
    const go = served.stallWrites();
    let answered = false;
    const holding = served.server.holds.hold('web-1', { seconds: 60, reason: 'r' }).finally(() => {
      answered = true;
    });
    await served.settle();
    expect([answered, held(id)]).toEqual([false, ['held true']]);
    go();
    await holding;
    expect(await served.memory.loadHolds()).toMatchObject([{ vmId: id }]);
  });

  it('is ended by its operator, and not twice', async () => {
    const id = await served.create();
    await served.server.holds.hold('web-1', { seconds: 60, reason: 'r' });
    await served.clock.advanceAsync(10_000);
    await served.server.holds.release('web-1');
    expect(held(id)).toEqual(['held true', 'held false']);
    const error = await failure(served.server.holds.release('web-1'));
    expect([error.code, error.message]).toEqual([
      'VMPULSE_E_NOT_FOUND',
      "'web-1' has no hold of its own; vmpulse holds lists what there is.",
    ]);
    await served.clock.advanceAsync(minute);
    expect((await told()).at(-1)).toEqual(['holdEnded', 'web-1', 'released', 10_000]);
  });

  it('is replaced by a new one, which has its own length', async () => {
    const id = await served.create();
    await served.server.holds.hold('web-1', { seconds: 60, reason: 'first' });
    await served.clock.advanceAsync(30_000);
    await served.server.holds.hold('web-1', { seconds: 120, reason: 'second' });
    await served.clock.advanceAsync(119_999);
    expect(served.server.holds.list()).toMatchObject([{ reason: 'second' }]);
    await served.clock.advanceAsync(1);
    expect(await told()).toEqual([
      ['holdStarted', 'web-1', at(60_000)],
      ['holdEnded', 'web-1', 'replaced', 30_000],
      ['holdStarted', 'web-1', at(150_000)],
      ['holdEnded', 'web-1', 'expired', 120_000],
    ]);
    // It was held all the time: nothing was judged in between.
    expect(held(id).indexOf('held false')).toBe(held(id).length - 1);
  });

  it('ends with its machine, of which vmDeleted is all that is told', async () => {
    await served.create();
    await served.server.holds.hold('web-1', { seconds: 60, reason: 'r' });
    await served.server.delete('web-1');
    expect(served.server.holds.list()).toEqual([]);
    expect(await served.memory.loadHolds()).toEqual([]);
    await served.clock.advanceAsync(2 * minute);
    expect((await served.types()).slice(-2)).toEqual(['holdStarted', 'vmDeleted']);
  });

  it('shows the name that its machine has now', async () => {
    await served.create();
    await served.server.holds.hold('web-1', { seconds: 60, reason: 'r' });
    await served.server.change('web-1', { name: 'web-2' });
    expect(served.server.holds.list()).toMatchObject([{ vm: { name: 'web-2' } }]);
  });

  it('is not moved by a step of the wall clock', async () => {
    const id = await served.create();
    await served.server.holds.hold('web-1', { seconds: 60, reason: 'r' });
    served.clock.stepWall(3_600_000);
    await served.clock.advanceAsync(59_999);
    expect(held(id)).toEqual(['held true']);
    served.clock.stepWall(-7_200_000);
    await served.clock.advanceAsync(1);
    expect((await told()).at(-1)).toEqual(['holdEnded', 'web-1', 'expired', 60_000]);
  });

  it('may last a week', async () => {
    await served.create();
    await served.server.holds.hold('web-1', { seconds: 604_800, reason: 'r' });
    await served.clock.advanceAsync(604_799_999);
    expect(served.server.holds.list()).toHaveLength(1);
    await served.clock.advanceAsync(1);
    expect(served.server.holds.list()).toEqual([]);
  });
});

describe('a hold on all machines', () => {
  it('holds those there are and those that are made while it is on', async () => {
    const first = await served.create();
    await served.server.holds.hold(null, { seconds: 60, reason: 'upgrade' });
    const second = await served.create({ name: 'web-2' });
    expect([held(first), held(second)]).toEqual([['held true'], ['held true']]);
    expect(served.server.holds.countHeld()).toBe(2);
    expect(served.server.guest('web-2').hold).toEqual({
      scope: 'all',
      reason: 'upgrade',
      since: at(0),
      until: at(60_000),
    });
    await served.clock.advanceAsync(60_000);
    expect([held(first), held(second)]).toEqual([
      ['held true', 'held false'],
      ['held true', 'held false'],
    ]);
    expect(await told()).toEqual([
      ['holdStarted', 'all', at(60_000)],
      ['holdEnded', 'all', 'expired', 60_000],
    ]);
  });

  it('and that of a machine end apart: it is held until both are over', async () => {
    const [mine, other] = [await served.create(), await served.create({ name: 'web-2' })];
    await served.server.holds.hold('web-1', { seconds: 60, reason: 'mine' });
    await served.server.holds.hold(null, { seconds: 30, reason: 'all' });
    expect(served.server.holds.list().map(({ reason }) => reason)).toEqual(['all', 'mine']);
    expect(served.server.guest('web-1').hold?.reason).toBe('mine');
    await served.clock.advanceAsync(30_000);
    expect(held(mine).at(-1)).toBe('held true');
    expect(held(other).at(-1)).toBe('held false');
    await served.server.holds.hold(null, { seconds: 60, reason: 'all' });
    await served.server.holds.release('web-1');
    expect(held(mine).at(-1)).toBe('held true');
    const { message } = await failure(served.server.holds.release('web-1'));
    expect(message).toContain('vmpulse release --all');
    await served.server.holds.release(null);
    expect(held(mine).at(-1)).toBe('held false');
    expect((await failure(served.server.holds.release(null))).code).toBe('VMPULSE_E_NOT_FOUND');
  });
});

describe('over a restart', () => {
  it('holds go on, for what is left of them, before any process is looked for', async () => {
    const id = await served.create();
    await served.bring(id, 'running');
    await served.server.holds.hold('web-1', { seconds: 600, reason: 'mine' });
    await served.server.holds.hold(null, { seconds: 60, reason: 'all' });
    const before = served.server.holds.list();
    await served.clock.advanceAsync(10_000);
    const { seq } = served;
    await served.kill().start();
    expect(served.server.holds.list()).toEqual(before);
    expect(served.watch(id).calls.slice(0, 2)).toEqual(['held true', 'begin adopted running']);
    await served.clock.advanceAsync(50_000);
    expect(await told(seq)).toEqual([['holdEnded', 'all', 'expired', 60_000]]);
    expect(held(id).at(-1)).toBe('held true');
    await served.clock.advanceAsync(540_000);
    expect((await told(seq)).at(-1)).toEqual(['holdEnded', 'web-1', 'expired', 600_000]);
    expect(held(id).at(-1)).toBe('held false');
  });

  it('and a stop in order they go on too; no hold ends, begins or expires meanwhile', async () => {
    await served.create();
    await served.server.holds.hold('web-1', { seconds: 60, reason: 'r' });
    const stopping = served.server;
    await stopping.stop();
    expect((await failure(stopping.holds.release('web-1'))).code).toBe('VM_E_APP_SHUTTING_DOWN');
    const again = failure(stopping.holds.hold('web-1', { seconds: 1, reason: 'r' }));
    expect((await again).code).toBe('VM_E_APP_SHUTTING_DOWN');
    const { seq } = served;
    await served.clock.advanceAsync(2 * minute);
    expect(served.seq).toBe(seq);
    expect(await served.memory.loadHolds()).toHaveLength(1);
  });

  it('what ran out while no service ran is told once, behind serviceStarted', async () => {
    const id = await served.create();
    await served.server.holds.hold('web-1', { seconds: 60, reason: 'r' });
    const { seq } = served;
    const server = served.kill();
    served.clock.advance(3_600_000);
    await server.load();
    expect(served.seq).toBe(seq);
    await server.start();
    await served.clock.advanceAsync(1);
    expect((await served.types(seq)).slice(0, 2)).toEqual(['serviceStarted', 'holdEnded']);
    expect(await told(seq)).toEqual([['holdEnded', 'web-1', 'expired', 60_000]]);
    expect(held(id).at(-1)).toBe('held false');
    await served.kill().start();
    await served.clock.advanceAsync(minute);
    expect(await told(seq)).toHaveLength(1);
  });

  it.each([
    ['set back by a day gives a hold its whole length anew and no more', -86_400_000, 60_000],
    ['set forward by 20 s takes them off it', 20_000, 30_000],
    ['set forward by a day ends it', 86_400_000, 0],
  ])('a wall clock %s', async (_what, stepMs, leftMs) => {
    await served.create();
    await served.server.holds.hold('web-1', { seconds: 60, reason: 'r' });
    await served.clock.advanceAsync(10_000);
    const server = served.kill();
    served.clock.stepWall(stepMs);
    await server.start();
    if (leftMs > 0) {
      await served.clock.advanceAsync(leftMs - 1);
      expect(server.holds.list()).toHaveLength(1);
    }
    await served.clock.advanceAsync(1);
    expect(server.holds.list()).toEqual([]);
  });

  it('at whatever moment the service is killed, it finds what its events say', async () => {
    const id = await served.create();
    const script: ((holds: typeof served.server.holds) => Promise<unknown>)[] = [
      (holds) => holds.hold('web-1', { seconds: 60, reason: 'one' }),
      (holds) => holds.hold('web-1', { seconds: 60, reason: 'two' }),
      (holds) => holds.release('web-1'),
      (holds) => holds.hold(null, { seconds: 60, reason: 'all' }),
      (holds) => holds.hold('web-1', { seconds: 60, reason: 'three' }),
      (holds) => holds.release(null),
      (holds) => holds.release('web-1'),
    ];
    // Each call is cut off as it writes: its events are lost with the service that had not answered.
    for (const [step, call] of script.entries()) {
      for (const isWritten of [false, true]) {
        if (isWritten) await call(served.server.holds);
        else {
          served.stallWrites();
          call(served.server.holds).catch(() => undefined);
          await served.settle();
        }
        await served.kill().start();
        const events = (await served.events()).filter(isOfHold);
        const open = new Map<string, unknown>();
        for (const event of events) {
          const { vm, reason } = event.data as { vm?: { id: string }; reason: string };
          if (eventTypeOf(event) === 'holdStarted') open.set(vm?.id ?? 'all', reason);
          else open.delete(vm?.id ?? 'all');
        }
        const found = served.server.holds.list().map(({ vm, reason }) => [vm?.id ?? 'all', reason]);
        expect(new Map(found as [string, unknown][]), `step ${step}`).toEqual(open);
        expect(held(id)).toEqual(open.size > 0 ? ['held true'] : []);
      }
    }
  });
});

describe('while the log cannot be written', () => {
  it('holds are neither begun nor ended', async () => {
    const id = await served.create();
    await served.server.holds.hold('web-1', { seconds: 600, reason: 'r' });
    served.memory.failWrites('disk full');
    const again = failure(served.server.holds.hold('web-1', { seconds: 5, reason: 'r' }));
    expect((await again).code).toBe('VMPULSE_E_LOG_UNAVAILABLE');
    expect((await failure(served.server.holds.release('web-1'))).code).toBe('VMPULSE_E_LOG_UNAVAILABLE');
    expect(held(id)).toEqual(['held true']);
    expect(served.server.holds.list()).toMatchObject([{ until: at(600_000) }]);
  });

  it('a hold that runs out ends all the same, and is told when writing works again', async () => {
    const id = await served.create();
    await served.server.holds.hold('web-1', { seconds: 5, reason: 'r' });
    served.memory.failWrites('disk full');
    await served.clock.advanceAsync(6_000);
    expect(held(id)).toEqual(['held true', 'held false']);
    served.memory.mendWrites();
    await served.settle();
    expect((await told()).at(-1)).toEqual(['holdEnded', 'web-1', 'expired', 5_000]);
  });

  it('a call whose events are dropped changes nothing', async () => {
    const id = await served.create();
    await served.server.holds.hold('web-1', { seconds: 600, reason: 'kept' });
    const append = served.memory.append.bind(served.memory);
    served.memory.append = () => Promise.reject(new Error('dropped at the bound'));
    await failure(served.server.holds.hold('web-1', { seconds: 5, reason: 'lost' }));
    await failure(served.server.holds.hold(null, { seconds: 5, reason: 'lost' }));
    await failure(served.server.holds.release('web-1'));
    served.memory.append = append;
    expect(served.server.holds.list()).toMatchObject([{ reason: 'kept', until: at(600_000) }]);
    expect(held(id).at(-1)).toBe('held true');
    await served.clock.advanceAsync(600_000);
    expect(await told()).toEqual([
      ['holdStarted', 'web-1', at(600_000)],
      ['holdEnded', 'web-1', 'expired', 600_000],
    ]);
  });
});

describe('what is asked of a hold', () => {
  it.each<[object, string]>([
    [{ reason: 'r' }, '/seconds'],
    [{ seconds: '60', reason: 'r' }, '/seconds'],
    [{ seconds: 0.9, reason: 'r' }, '/seconds'],
    [{ seconds: 604_801, reason: 'r' }, '/seconds'],
    [{ seconds: Number.NaN, reason: 'r' }, '/seconds'],
    [{ seconds: Number.POSITIVE_INFINITY, reason: 'r' }, '/seconds'],
    [{ seconds: 60 }, '/reason'],
    [{ seconds: 60, reason: '  ' }, '/reason'],
    [{ seconds: 60, reason: 'x'.repeat(501) }, '/reason'],
    [{ seconds: 60, reason: 'two\nlines' }, '/reason'],
    [{ seconds: 60, reason: 'turned \u202e round' }, '/reason'],
    [{ seconds: 60, reason: 7 }, '/reason'],
    [{ seconds: 60, reason: 'r', minutes: 1 }, '/minutes'],
  ])('is refused where it is %j, naming the field', async (request, field) => {
    await served.create();
    const { seq } = served;
    const error = await failure(served.server.holds.hold('web-1', request as never));
    expect([error.code, error.field, served.seq]).toEqual(['VMPULSE_E_REQUEST_INVALID', field, seq]);
  });

  it('may be a reason of 500 characters in any writing', async () => {
    await served.create();
    const reason = '\u{1f6e0}'.repeat(500);
    expect(await served.server.holds.hold('web-1', { seconds: 1, reason })).toMatchObject({ reason });
  });

  it('is of a machine that there is', async () => {
    const nobody = failure(served.server.holds.hold('nobody', { seconds: 60, reason: 'r' }));
    expect((await nobody).code).toBe('VM_E_VM_UNKNOWN');
    expect((await failure(served.server.holds.release('nobody'))).code).toBe('VM_E_VM_UNKNOWN');
  });
});
