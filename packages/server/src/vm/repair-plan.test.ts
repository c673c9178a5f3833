import { vmStates } from '@vmpulse/wire';
import { describe, expect, it } from 'vitest';
import type { RunState } from '../hypervisor/hypervisor.ts';
import { planRepair, type Situation } from './repair-plan.ts';

const runStates: RunState[] = [
  'running',
  'paused',
  'saving',
  'restoring',
  'shutdown',
  'panicked',
  'internalError',
  'ioError',
  'watchdog',
  'suspended',
  'preparing',
  'other',
];
const yesNo = [true, false];

const situations: Situation[] = vmStates.flatMap((state) =>
  [...runStates, 'gone' as const].flatMap((found) =>
    yesNo.flatMap((meantToRun) => yesNo.map((saved) => ({ state, found, meantToRun, saved }))),
  ),
);

describe('in every situation', () => {
  it('a process that lives is ended only when it was being ended, was saved, or its guest is off', () => {
    for (const situation of situations.filter(({ found }) => found !== 'gone')) {
      const { kind } = planRepair(situation);
      if (kind === 'finishTurnOff') {
        expect(['turningOff', 'deleteMachine']).toContain(situation.state);
        expect(situation.meantToRun).toBe(false);
      }
      if (kind === 'finishSave') expect(situation).toMatchObject({ state: 'saving', saved: true });
      if (kind === 'guestOff') expect(situation.found).toBe('shutdown');
      expect(kind).not.toBe('rest');
    }
  });

  it('a machine without a process comes to rest', () => {
    for (const situation of situations.filter(({ found }) => found === 'gone')) {
      expect(planRepair(situation)).toMatchObject({ kind: 'rest', saved: situation.saved });
    }
  });

  it('a guest is found dead only where it ran, nobody ended it, and no save explains it', () => {
    for (const situation of situations) {
      const plan = planRepair(situation);
      if (plan.kind !== 'rest' || !plan.foundDead) continue;
      const ran = ['running', 'paused', 'saving'].includes(situation.state) && !situation.saved;
      const beingReset = ['turningOff', 'deleteMachine'].includes(situation.state) && situation.meantToRun;
      expect(ran || beingReset, JSON.stringify(situation)).toBe(true);
    }
  });
});

const rest = { kind: 'rest', told: true, foundDead: false, saved: false, states: [] };

it.each<[Situation['state'], Situation['found'], Partial<Situation>, object]>([
  ['turnedOff', 'gone', {}, { ...rest, told: false }],
  ['turnedOff', 'gone', { saved: true }, { ...rest, told: false, saved: true }],
  ['turnedOff', 'running', {}, { kind: 'follow', states: ['turningOn', 'running'] }],
  ['turnedOff', 'preparing', {}, { kind: 'finishStart', states: ['turningOn'] }],
  ['turnedOff', 'shutdown', {}, { kind: 'guestOff', states: ['turningOn', 'running'] }],
  ['turningOn', 'gone', {}, rest],
  ['turningOn', 'running', {}, { kind: 'follow', states: ['running'] }],
  ['turningOn', 'panicked', {}, { kind: 'follow', states: ['running'] }],
  ['turningOn', 'ioError', {}, { kind: 'follow', states: ['running', 'paused'] }],
  ['turningOn', 'paused', {}, { kind: 'finishStart', states: [] }],
  ['turningOn', 'other', {}, { kind: 'follow', states: ['running'] }],
  ['restoring', 'gone', { saved: true }, { ...rest, saved: true }],
  ['restoring', 'restoring', { saved: true }, { kind: 'finishStart', states: [] }],
  ['running', 'gone', {}, { ...rest, states: ['turningOff', 'deleteMachine'], foundDead: true }],
  ['running', 'gone', { saved: true }, { ...rest, states: ['turningOff', 'deleteMachine'], saved: true }],
  ['running', 'running', {}, { kind: 'follow', states: [] }],
  ['running', 'other', {}, { kind: 'follow', states: [] }],
  ['running', 'panicked', {}, { kind: 'follow', states: [] }],
  ['running', 'paused', {}, { kind: 'follow', states: ['paused'] }],
  ['running', 'ioError', {}, { kind: 'follow', states: ['paused'] }],
  ['running', 'shutdown', {}, { kind: 'guestOff', states: [] }],
  ['running', 'saving', {}, { kind: 'abandonSave', goesOn: 'running' }],
  ['paused', 'running', {}, { kind: 'follow', states: ['running'] }],
  ['paused', 'paused', {}, { kind: 'follow', states: [] }],
  ['paused', 'saving', {}, { kind: 'abandonSave', goesOn: 'paused' }],
  ['saving', 'gone', { saved: true }, { ...rest, states: ['turningOff', 'deleteMachine'], saved: true }],
  ['saving', 'gone', {}, { ...rest, states: ['turningOff', 'deleteMachine'], foundDead: true }],
  ['saving', 'saving', {}, { kind: 'abandonSave', goesOn: 'running' }],
  ['saving', 'saving', { saved: true }, { kind: 'finishSave' }],
  ['saving', 'running', { saved: true }, { kind: 'follow', states: ['running'] }],
  ['turningOff', 'gone', { meantToRun: false }, { ...rest, states: ['deleteMachine'] }],
  [
    'turningOff',
    'gone',
    { meantToRun: false, saved: true },
    { ...rest, states: ['deleteMachine'], saved: true },
  ],
  ['turningOff', 'gone', {}, { ...rest, states: ['deleteMachine'], foundDead: true }],
  ['turningOff', 'running', { meantToRun: false }, { kind: 'finishTurnOff', saved: false }],
  ['turningOff', 'saving', { meantToRun: false, saved: true }, { kind: 'finishTurnOff', saved: true }],
  ['turningOff', 'running', {}, { kind: 'follow', states: ['running'] }],
  ['turningOff', 'shutdown', {}, { kind: 'guestOff', states: [] }],
  ['deleteMachine', 'gone', { meantToRun: false }, rest],
  ['deleteMachine', 'running', {}, { kind: 'follow', states: ['turningOn', 'running'] }],
])('stored %s, found %s %o', (state, found, rest_, plan) => {
  expect(planRepair({ state, found, meantToRun: true, saved: false, ...rest_ })).toEqual(plan);
});
