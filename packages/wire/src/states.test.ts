import { describe, expect, it } from 'vitest';
import { VMVMState, VMTaskResult } from './enumerations.ts';
import { taskResultCodes } from './machine.ts';
import {
  allowedStates,
  isActive,
  operationsIn,
  refusal,
  stateCodes,
  stateSequences,
  vmOperations,
  vmStates,
} from './states.ts';

const original = (values: Record<string, number>): [string, number][] =>
  Object.entries(values).map(([name, value]) => {
    const word = name.slice(name.indexOf('_') + 1);
    return [`${word.charAt(0).toLowerCase()}${word.slice(1)}`, value];
  });

it('states and task results have the names and numbers of the original', () => {
  expect(Object.entries(stateCodes)).toEqual(original(VMVMState));
  expect(Object.entries(taskResultCodes)).toEqual(original(VMTaskResult));
});

it('state events come in the order of the original', () => {
  expect(stateSequences).toEqual({
    startup: ['turningOn', 'running'],
    restore: ['turningOn', 'restoring', 'running'],
    save: ['saving', 'turningOff', 'deleteMachine', 'turnedOff'],
    reset: ['turningOff', 'deleteMachine', 'turningOn', 'running'],
    pause: ['paused'],
    resume: ['running'],
    turnOff: ['turningOff', 'deleteMachine', 'turnedOff'],
  });
});

describe('what a state allows', () => {
  it.each([
    ['turnedOff', ['startup', 'delete']],
    ['saved', ['startup', 'discardSavedState', 'delete']],
    ['running', ['turnOff', 'reset', 'pause', 'save', 'shutdown', 'injectNmi']],
    ['paused', ['turnOff', 'reset', 'resume', 'save']],
    ['turningOn', []],
    ['restoring', []],
    ['saving', []],
    ['turningOff', []],
    ['mergingDrives', []],
    ['deleteMachine', []],
    ['invalid', []],
  ] as const)('%s: %j', (state, operations) => {
    expect(operationsIn(state)).toEqual(operations);
  });

  it('is refused with a code exactly where it is not allowed', () => {
    for (const operation of vmOperations) {
      for (const state of vmStates) {
        expect([operation, state, refusal(operation, state) === undefined]).toEqual([
          operation,
          state,
          allowedStates[operation].includes(state),
        ]);
      }
    }
  });

  it.each([
    ['startup', 'running', 'VM_E_VM_RUNNING'],
    ['delete', 'paused', 'VM_E_VM_RUNNING'],
    ['pause', 'paused', 'E_FAIL'],
    ['resume', 'running', 'E_FAIL'],
    ['pause', 'turnedOff', 'VM_E_VM_NOT_RUNNING'],
    ['turnOff', 'turnedOff', 'VM_E_VM_NOT_RUNNING'],
    ['reset', 'saved', 'VM_E_VM_NOT_RUNNING'],
    ['save', 'turnedOff', 'VM_E_VM_NOT_RUNNING'],
    ['discardSavedState', 'turnedOff', 'VM_E_VM_NO_SAVED_STATE'],
    ['discardSavedState', 'running', 'VM_E_VM_RUNNING'],
    ['shutdown', 'turnedOff', 'VM_E_VM_NOT_RUNNING'],
    ['shutdown', 'paused', 'VM_E_VM_PAUSED'],
    ['injectNmi', 'paused', 'VM_E_VM_PAUSED'],
    ['startup', 'invalid', 'E_FAIL'],
  ] as const)('%s of a machine that is %s is %s', (operation, state, code) => {
    expect(refusal(operation, state)).toBe(code);
  });

  it('a guest exists in these states', () => {
    const active = ['turningOn', 'restoring', 'running', 'paused', 'saving', 'turningOff'];
    expect(vmStates.filter(isActive)).toEqual(active);
  });
});
