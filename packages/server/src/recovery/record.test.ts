import type { EventType, VmEvent } from '@vmpulse/wire';
import { expect, it } from 'vitest';
import {
  type FoldTimes,
  type Folded,
  type Incident,
  type RecoveryRecord,
  type StepRecord,
  emptyRecord,
  fold,
  openIncident,
  overIfHeard,
  rearmed,
} from './record.ts';

const vm = { id: 'a', name: 'web-1' };

function recordOf(last: Partial<StepRecord>): RecoveryRecord {
  const stop = {
    stoppedSeq: 10,
    verdict: 'hung',
    correlated: false,
    stoppedMs: 0,
    runningSinceMs: null,
  } as const;
  const step: StepRecord = {
    step: 'turnOff',
    attempt: 1,
    outcome: 'begun',
    begunSeq: 12,
    endedSeq: null,
    endedMs: null,
    seen: [],
    stoppedAgain: false,
    dryRun: false,
    ...last,
  };
  const incident = {
    ...openIncident(stop),
    planned: true,
    taken: ['evidence', step.step] as const,
    last: step,
  };
  return { ...emptyRecord(vm), seq: 12, incident };
}

type Told = [record: RecoveryRecord, type: EventType, data?: object, times?: Partial<FoldTimes>];

function folding(...[record, type, data = {}, times = {}]: Told): Folded {
  const event = { seq: 13, type: `io.vmpulse.${type}`, data: { vm, ...data } } as unknown as VmEvent;
  return fold(record, event, { atMs: 5, runningSinceMs: null, ...times });
}

function after(...told: Told): RecoveryRecord {
  return folding(...told).record;
}

it('the last heartbeat of a machine that is being turned off ends nothing: it must still be started', () => {
  const off = after(recordOf({ seen: ['turningOff'] }), 'heartbeatResumed');
  expect(off.incident).toMatchObject({ stoppedSeq: 10, heard: true });
  expect(after(recordOf({}), 'heartbeatResumed').incident).toBeNull();
  const calledOff = after(recordOf({ seen: ['turningOff'] }), 'heartbeatResumed', {}, { undecided: true });
  expect(calledOff.incident).toBeNull();
  const failed = recordOf({ seen: ['turningOff'], outcome: 'failed' });
  expect(after(failed, 'heartbeatResumed').incident).toBeNull();
  // It could not be turned off after all.
  expect([overIfHeard(off).incident, overIfHeard(failed).incident?.stoppedSeq]).toEqual([null, 10]);
});

it('a start between turning it off and telling so is an operator who takes over', () => {
  const off = recordOf({ seen: ['turningOff', 'turnedOff'], outcome: 'done' });
  expect(after(off, 'stateChanged', { state: 'turningOn' }).incident).toBeNull();
  const starting = after(recordOf({ step: 'start' }), 'stateChanged', { state: 'turningOn' });
  expect(starting.incident?.last?.seen).toEqual(['turningOn']);
});

it('a reset while a step waits for the log is an operator who takes over', () => {
  const reset = recordOf({ step: 'reset' });
  const begins = (times: Partial<FoldTimes>): RecoveryRecord =>
    after(reset, 'stateChanged', { state: 'turningOn' }, times);
  expect(begins({ undecided: true }).incident?.last?.seen).toEqual(['turningOn']);
  expect(begins({ undecided: true, waiting: true }).incident).toBeNull();
  const told = after(reset, 'guestReset', { reason: 'host', byGuest: false }, { waiting: true });
  expect(told.incident?.last?.seen).toEqual([]);
});

it('armed again while its heartbeat is awaited it still has that time', () => {
  const settling = recordOf({ outcome: 'done', endedMs: 4 });
  expect(rearmed(settling, settling.incident)).toMatchObject({
    attempts: [],
    incident: { last: { endedMs: 4 } },
  });
  const gaveUp = { atMs: 5, reason: 'attempts', dryRun: false };
  const again = rearmed({ ...settling, gaveUp }, settling.incident);
  expect(again).toMatchObject({ gaveUp: null, incident: { last: null, taken: ['evidence'] } });
});

it('armed again while a step is under way it counts that attempt', () => {
  const record = recordOf({ step: 'reset' });
  const attempt = { atMs: 3, step: 'reset', stoppedSeq: 10, dryRun: false, counts: true } as const;
  const attempts = [{ ...attempt, outcome: 'done' } as const, { ...attempt, outcome: 'begun' } as const];
  expect(rearmed({ ...record, attempts }, record.incident).attempts).toEqual(attempts.slice(1));
});

it('what came back while the next step waited came back by the one before', () => {
  const waiting = recordOf({ step: 'turnOff' });
  const incident = waiting.incident as Incident;
  const previous: StepRecord = {
    ...(incident.last as StepRecord),
    step: 'start',
    outcome: 'done',
    endedMs: 2,
  };
  const attempt = { atMs: 3, stoppedSeq: 10, dryRun: false, counts: true };
  const attempts = [
    { ...attempt, step: 'start', outcome: 'done' } as const,
    { ...attempt, step: 'turnOff', outcome: 'begun' } as const,
  ];
  const record = { ...waiting, attempts, incident: { ...incident, acted: true, previous } };
  const folded = folding(record, 'heartbeatResumed', {}, { undecided: true });
  expect(folded.succeeded?.last?.step).toBe('start');
  expect(folded.record.attempts).toEqual([{ ...attempts[0], outcome: 'succeeded' }]);
});

it('a machine that is turned off while its start waits for the log is off by an operator', () => {
  const starting = recordOf({ step: 'start', seen: ['turningOn', 'running'] });
  const off = (previousState: string): RecoveryRecord =>
    after(starting, 'stateChanged', { state: 'turnedOff', previousState });
  expect(off('deleteMachine').incident).toBeNull();
  expect(off('turningOn').incident?.last?.seen).toEqual(['turningOn', 'running', 'turnedOff']);
});
