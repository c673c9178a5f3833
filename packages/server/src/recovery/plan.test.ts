import type { RecoveryAction, RecoveryPolicy, RecoveryStepName, Verdict } from '@vmpulse/wire';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Decision, type PlanInput, foreseenSteps, planRecovery } from './plan.ts';

const now = 10_000_000;
const policyOf = (action: RecoveryAction, change: Partial<RecoveryPolicy> = {}): RecoveryPolicy => ({
  action,
  attempts: 3,
  windowMs: 3_600_000,
  minRunningMs: 60_000,
  backoffMs: 10_000,
  settleMs: null,
  nmi: false,
  memoryDumpMiB: null,
  dryRun: false,
  ...change,
});

type Change = {
  [K in 'stop' | 'machine' | 'brake']?: Partial<PlanInput[K]>;
} & Partial<Pick<PlanInput, 'policy' | 'attemptsMs' | 'gaveUp' | 'nowMs'>>;

function input({ stop, machine, brake, ...rest }: Change = {}): PlanInput {
  return {
    policy: policyOf('reset'),
    attemptsMs: [],
    gaveUp: false,
    nowMs: now,
    ...rest,
    stop: { runningSinceMs: now - 600_000, taken: ['evidence'], last: null, jitter: 0, ...stop },
    machine: {
      state: 'running',
      busy: false,
      verdict: 'hung',
      hold: null,
      bootWindowMs: 120_000,
      ...machine,
    },
    brake: { mass: false, others: 0, atOnce: 2, hostTrouble: null, ...brake },
  };
}

const shown = (decision: Decision): string =>
  [
    decision.do,
    'step' in decision ? decision.step : 'reason' in decision ? decision.reason : '',
    'why' in decision ? `${decision.why} ${decision.untilMs - now}` : '',
  ]
    .join(' ')
    .trim();
const done = (step: RecoveryStepName, endedMs = now - 200_000): NonNullable<PlanInput['stop']['last']> => ({
  step,
  outcome: 'done',
  endedMs,
  stoppedAgain: false,
});

describe('the next step', () => {
  it.each<[string, Change]>([
    ['nothing', { policy: policyOf('none') }],
    ['nothing', { policy: policyOf('notify') }],
    ['step evidence', { stop: { taken: [] } }],
    ['step reset', {}],
    ['step reset', { machine: { verdict: 'panicked' } }],
    ['step reset', { machine: { verdict: 'watchdog', state: 'paused' } }],
    ['step turnOff', { policy: policyOf('restart') }],
    ['step start', { policy: policyOf('restart'), machine: { verdict: 'exited', state: 'turnedOff' } }],
    ['step start', { machine: { verdict: 'exited', state: 'turnedOff' } }],
    ['step reset', { policy: policyOf('staged') }],
    ['step injectNmi', { policy: policyOf('staged', { nmi: true }) }],
    ['step reset', { policy: policyOf('staged', { nmi: true }), stop: { taken: ['evidence', 'injectNmi'] } }],
    ['step turnOff', { policy: policyOf('staged'), stop: { taken: ['evidence', 'reset'] } }],
    [
      'giveUp stages',
      { policy: policyOf('staged'), stop: { taken: ['evidence', 'reset', 'turnOff', 'start'] } },
    ],
    ['step start', { stop: { last: done('turnOff', now) }, machine: { state: 'turnedOff' } }],
    [
      'step start',
      {
        stop: { last: done('turnOff', now) },
        machine: { state: 'turnedOff', hold: 'kernel' },
        attemptsMs: [1, 2, now],
      },
    ],
  ])('is %s: %j', (expected, change) => {
    expect(shown(planRecovery(input(change)))).toBe(expected);
  });

  it('is foreseen for an operator', () => {
    expect(foreseenSteps(policyOf('staged', { nmi: true }), false)).toEqual([
      'evidence',
      'injectNmi',
      'reset',
      'turnOff',
      'start',
    ]);
    expect(foreseenSteps(policyOf('reset'), false)).toEqual(['evidence', 'reset']);
    expect(foreseenSteps(policyOf('restart'), true)).toEqual(['evidence', 'start']);
    expect(foreseenSteps(policyOf('notify'), false)).toEqual([]);
  });
});

describe('waiting', () => {
  it.each<[string, Change]>([
    ['wait  minRunning 20000', { stop: { runningSinceMs: now - 40_000 } }],
    ['step evidence', { stop: { taken: [], runningSinceMs: now - 40_000 } }],
    ['step reset', { stop: { runningSinceMs: now - 60_000 } }],
    ['step reset', { stop: { runningSinceMs: null } }],
    ['wait  settle 119000', { stop: { last: done('reset', now - 1_000) } }],
    [
      'wait  settle 4000',
      { stop: { last: done('reset', now - 1_000) }, policy: policyOf('reset', { settleMs: 5_000 }) },
    ],
    ['step reset', { stop: { last: { ...done('reset', now - 1_000), stoppedAgain: true } } }],
    ['step reset', { stop: { last: { ...done('reset', now - 1_000), outcome: 'failed' } } }],
    ['step reset', { stop: { last: done('evidence', now - 1) } }],
    ['step reset', { stop: { last: done('reset') }, machine: { verdict: 'booting' } }],
    ['step reset', { stop: { last: done('start') }, machine: { verdict: 'notObserved' } }],
    ['wait  sight 3000', { machine: { seenFromMs: now + 3_000 } }],
    ['wait  sight 3000', { machine: { seenFromMs: now + 3_000, verdict: 'notObserved' } }],
    ['step evidence', { stop: { taken: [] }, machine: { seenFromMs: now + 3_000 } }],
    [
      'wait  sight 3000',
      {
        policy: policyOf('reset', { memoryDumpMiB: 1_024 }),
        stop: { taken: [] },
        machine: { seenFromMs: now + 3_000 },
      },
    ],
    ['step start', { machine: { seenFromMs: now + 3_000, state: 'turnedOff', verdict: 'exited' } }],
    ['wait  backoff 4000', { attemptsMs: [now - 6_000] }],
    ['wait  backoff 9000', { attemptsMs: [now - 6_000], stop: { jitter: 1 } }],
    ['wait  backoff 14000', { attemptsMs: [now - 100_000, now - 6_000] }],
    ['giveUp attempts', { attemptsMs: [now - 3_000_000, now - 100_000, now - 50_000] }],
    [
      'holdBack booting',
      { attemptsMs: [now - 3_000_000, now - 100_000, now - 50_000], machine: { verdict: 'alive' } },
    ],
    ['step reset', { attemptsMs: [now - 3_600_000, now - 100_000, now - 50_000] }],
    [
      'wait  settle 119000',
      { attemptsMs: [1, 2, 3].map((n) => now - n * 1_000), stop: { last: done('reset', now - 1_000) } },
    ],
  ])('%s: %j', (expected, change) => {
    expect(shown(planRecovery(input(change)))).toBe(expected);
  });
});

describe('held back', () => {
  it.each<[string, Change]>([
    ...(['busy', 'starved', 'additionsStopped', 'unknown', 'suspended', 'booting'] as const).map(
      (verdict): [string, Change] => [verdict, { machine: { verdict } }],
    ),
    ['unknown', { machine: { verdict: 'suspected' } }],
    ['unknown', { machine: { verdict: 'booting', unread: true }, stop: { last: done('start') } }],
    ['unknown', { machine: { verdict: 'notObserved' } }],
    ['booting', { machine: { verdict: 'alive' } }],
    ['suspended', { machine: { verdict: 'hung', state: 'paused' } }],
    ['hold', { machine: { hold: 'kernel upgrade' } }],
    ['operation', { machine: { busy: true } }],
    ['operation', { machine: { state: 'saving' } }],
    ['gaveUp', { gaveUp: true }],
    ['fleetBrake', { brake: { mass: true, others: 2 } }],
    ['hostUnwell', { brake: { mass: true, hostTrouble: 'load 90 on 2 processors' } }],
  ])('%s: %j', (reason, change) => {
    expect(planRecovery(input(change))).toMatchObject({ do: 'holdBack', reason });
  });

  it('is nobody by a brake that is off', () => {
    const brake = { mass: false, others: 9, hostTrouble: 'load' };
    expect(shown(planRecovery(input({ brake })))).toBe('step reset');
    expect(shown(planRecovery(input({ brake: { mass: true, others: 1 } })))).toBe('step reset');
  });
});

describe('whatever happens', () => {
  const verdicts: Verdict[] = [
    'hung',
    'panicked',
    'exited',
    'busy',
    'starved',
    'unknown',
    'suspended',
    'booting',
  ];
  const steps: RecoveryStepName[] = ['evidence', 'injectNmi', 'reset', 'turnOff', 'start'];
  const anything = fc.record({
    policy: fc.record({
      action: fc.constantFrom<RecoveryAction>('none', 'notify', 'reset', 'restart', 'staged'),
      attempts: fc.integer({ min: 1, max: 5 }),
      windowMs: fc.integer({ min: 60_000, max: 3_600_000 }),
      minRunningMs: fc.integer({ min: 0, max: 100_000 }),
      backoffMs: fc.integer({ min: 1_000, max: 60_000 }),
      settleMs: fc.option(fc.integer({ min: 1_000, max: 200_000 })),
      nmi: fc.boolean(),
      memoryDumpMiB: fc.constant(null),
      dryRun: fc.boolean(),
    }),
    stop: fc.record({
      runningSinceMs: fc.option(fc.integer({ min: now - 200_000, max: now })),
      taken: fc.subarray(steps),
      last: fc.option(
        fc.record({
          step: fc.constantFrom(...steps),
          outcome: fc.constantFrom('done', 'failed'),
          endedMs: fc.integer({ min: now - 300_000, max: now }),
          stoppedAgain: fc.boolean(),
        }),
      ),
      jitter: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
    machine: fc.record({
      state: fc.constantFrom('running', 'paused', 'turnedOff', 'saving', 'turningOn'),
      busy: fc.boolean(),
      verdict: fc.constantFrom(...verdicts),
      hold: fc.option(fc.constant('r')),
      bootWindowMs: fc.constant(120_000),
    }),
    attemptsMs: fc.array(fc.integer({ min: now - 4_000_000, max: now }), { maxLength: 8 }),
    gaveUp: fc.boolean(),
    brake: fc.record({
      mass: fc.boolean(),
      others: fc.nat(5),
      atOnce: fc.integer({ min: 1, max: 3 }),
      hostTrouble: fc.option(fc.constant('load')),
    }),
    nowMs: fc.constant(now),
  });

  it('no guest that may live, is held, or whose attempts are used up is touched; waits are in the future', () => {
    fc.assert(
      fc.property(anything, (generated) => {
        const given = generated as PlanInput;
        const decision = planRecovery(given);
        if (decision.do === 'wait') expect(decision.untilMs).toBeGreaterThan(now);
        if (decision.do !== 'step') return;
        const { policy, machine, attemptsMs, brake, stop } = given;
        expect(machine.busy).toBe(false);
        const finishes = stop.last?.step === 'turnOff' && decision.step === 'start';
        if (finishes) return;
        expect(['none', 'notify']).not.toContain(policy.action);
        expect(given.gaveUp).toBe(false);
        expect(machine.hold).toBeNull();
        expect(['busy', 'starved', 'unknown', 'suspended']).not.toContain(machine.verdict);
        expect(attemptsMs.filter((at) => at > now - policy.windowMs).length).toBeLessThan(policy.attempts);
        if (decision.step === 'evidence') return;
        if (brake.mass) expect([brake.others < brake.atOnce, brake.hostTrouble]).toEqual([true, null]);
        if (decision.step === 'injectNmi') expect([policy.action, policy.nmi]).toEqual(['staged', true]);
        if (decision.step === 'start') expect(machine.state).toBe('turnedOff');
        expect(stop.taken).toContain('evidence');
      }),
      { numRuns: 2_000 },
    );
  });
});
