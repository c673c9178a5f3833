import { VmError } from '@vmpulse/wire';
import { beforeEach, expect, it } from 'vitest';
import { ScriptedAgent } from '../../../../test/support/served-machines.ts';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { foundFrozenMs, GuestFreezer } from './guest-freezer.ts';

let clock: SimulatedClock;
let agent: ScriptedAgent;
let warnings: string[];
let freezer: GuestFreezer;

beforeEach(() => {
  clock = new SimulatedClock();
  agent = new ScriptedAgent();
  warnings = [];
  const warn = (_details: object, message: string): void => void warnings.push(message);
  freezer = new GuestFreezer({
    clock,
    logger: { info: warn, warn, error: warn },
    vm: () => ({ id: 'a', name: 'web-1' }),
    agent: () => agent,
  });
});

const thaws = (): number => agent.asked.filter((word) => word === 'thaw').length;

it('freezes, and thaws when it is told to', async () => {
  expect(await freezer.freeze(60_000)).toBe(1);
  expect([freezer.last, agent.frozen]).toEqual(['frozen', true]);
  expect(await freezer.thaw()).toBe(1);
  expect([freezer.last, agent.frozen]).toEqual(['thawed', false]);
  await clock.advanceAsync(600_000);
  expect(thaws()).toBe(1);
  expect(warnings).toEqual([]);
});

it('thaws what nobody thawed, when its time is over', async () => {
  await freezer.freeze(60_000);
  await clock.advanceAsync(59_999);
  expect(agent.frozen).toBe(true);
  await clock.advanceAsync(1);
  expect([freezer.last, agent.frozen]).toEqual(['thawed', false]);
  expect(warnings).toHaveLength(1);
});

it('tries to thaw again and again, less and less often, until it is done', async () => {
  await freezer.freeze(1_000);
  let failing = true;
  const thaw = agent.thaw.bind(agent);
  agent.thaw = () => {
    if (failing) agent.failures.set('thaw', new VmError('VM_E_TIMED_OUT', 'late'));
    return thaw();
  };
  await clock.advanceAsync(1_000 + 1_000 + 2_000 + 4_000);
  expect(thaws()).toBe(4);
  await clock.advanceAsync(300_000);
  expect(thaws()).toBeGreaterThan(10);
  expect(thaws()).toBeLessThan(20);
  failing = false;
  await clock.advanceAsync(30_000);
  expect(agent.frozen).toBe(false);
  const before = thaws();
  await clock.advanceAsync(300_000);
  expect(thaws()).toBe(before);
});

it('thaws also where it never learned whether they froze', async () => {
  agent.failures.set('freeze', new VmError('VM_E_TIMED_OUT', 'sent but not answered'));
  await expect(freezer.freeze(5_000)).rejects.toMatchObject({ code: 'VM_E_TIMED_OUT' });
  await clock.advanceAsync(5_000);
  expect(thaws()).toBe(1);
});

it('thaws nothing where the guest refused to freeze, or has nothing to freeze', async () => {
  agent.failures.set('freeze', new VmError('E_FAIL', 'error'));
  await expect(freezer.freeze(5_000)).rejects.toMatchObject({ code: 'E_FAIL' });
  expect(freezer.last).toBeNull();
  agent.fileSystems = 0;
  expect(await freezer.freeze(5_000)).toBe(0);
  expect(freezer.last).toBe('thawed');
  await clock.advanceAsync(60_000);
  expect(thaws()).toBe(0);
});

it('refuses to freeze what is frozen, and keeps the time of before', async () => {
  await freezer.freeze(10_000);
  await expect(freezer.freeze(600_000)).rejects.toMatchObject({ code: 'E_FAIL' });
  await clock.advanceAsync(10_000);
  expect(agent.frozen).toBe(false);
});

it('thaws what it finds frozen, and does not wait longer for being told of it again', async () => {
  agent.frozen = true;
  freezer.note('frozen');
  await clock.advanceAsync(foundFrozenMs / 2);
  freezer.note('frozen');
  await clock.advanceAsync(foundFrozenMs / 2);
  expect(agent.frozen).toBe(false);
  expect(freezer.last).toBe('thawed');
});

it('is not misled by what the agent said before it froze', async () => {
  let freeze = (): void => undefined;
  agent.freeze = () =>
    new Promise((resolve) => {
      freeze = () => {
        agent.frozen = true;
        resolve(1);
      };
    });
  const freezing = freezer.freeze(5_000);
  freezer.note('thawed');
  freeze();
  await freezing;
  expect(freezer.last).toBe('frozen');
  await clock.advanceAsync(5_000);
  expect(agent.frozen).toBe(false);
});

it('forgets all of it when the guest boots anew', async () => {
  await freezer.freeze(5_000);
  freezer.forget();
  expect(freezer.last).toBeNull();
  await clock.advanceAsync(60_000);
  expect(thaws()).toBe(0);
});

it('thaws when the service lets go of the guest, and waits for no agent that does not answer', async () => {
  await freezer.release();
  expect(agent.asked).toEqual([]);
  await freezer.freeze(60_000);
  await freezer.release();
  expect(agent.frozen).toBe(false);
  await freezer.thaw();
  await freezer.freeze(60_000);
  agent.answers = false;
  const released = freezer.release();
  await clock.advanceAsync(5_000);
  await released;
  expect(warnings).toHaveLength(2);
});
