import type { EventType, VmEvent } from '@vmpulse/wire';
import { expect, it } from 'vitest';
import { type Incident, type RecoveryRecord, type StepRecord, emptyRecord, fold, rearmed } from './record.ts';

const vm = { id: 'a', name: 'web-1' };

function recordOf(last: Partial<StepRecord>): RecoveryRecord {
  const incident: Incident = {
    stoppedSeq: 10,
    verdict: 'hung',
    correlated: false,
    stoppedMs: 0,
    runningSinceMs: null,
    planned: true,
    taken: ['evidence', 'turnOff'],
    firstStepMs: 1,
    last: {
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
    },
    acted: true,
    told: [],
    jitter: 0,
  };
  return { ...emptyRecord(vm), seq: 12, incident };
}

function after(record: RecoveryRecord, type: EventType, data: object): RecoveryRecord {
  const event = { seq: 13, type: `io.vmpulse.${type}`, data: { vm, ...data } } as unknown as VmEvent;
  return fold(record, event, { atMs: 5, runningSinceMs: null }).record;
}

it('the last heartbeat of a machine that is being turned off ends nothing: it must still be started', () => {
  const off = recordOf({ seen: ['turningOff'] });
  expect(after(off, 'heartbeatResumed', {}).incident?.stoppedSeq).toBe(10);
  expect(after(recordOf({}), 'heartbeatResumed', {}).incident).toBeNull();
  const failed = recordOf({ seen: ['turningOff'], outcome: 'failed' });
  expect(after(failed, 'heartbeatResumed', {}).incident).toBeNull();
});

it('a start between turning it off and telling so is an operator who takes over', () => {
  const off = recordOf({ seen: ['turningOff', 'turnedOff'], outcome: 'done' });
  expect(after(off, 'stateChanged', { state: 'turningOn' }).incident).toBeNull();
  const starting = recordOf({ step: 'start' });
  expect(after(starting, 'stateChanged', { state: 'turningOn' }).incident?.last?.seen).toEqual(['turningOn']);
});

it('armed again while its heartbeat is awaited it still has that time', () => {
  const settling = recordOf({ outcome: 'done', endedMs: 4 });
  expect(rearmed(settling).incident?.last?.endedMs).toBe(4);
  const gaveUp = { atMs: 5, reason: 'attempts', dryRun: false };
  expect(rearmed({ ...settling, gaveUp })).toMatchObject({ gaveUp: null, incident: { last: null } });
});
