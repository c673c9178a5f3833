import { describe, expect, it } from 'vitest';
import { VMEventType, VMVirtualMachineEvents, VMVirtualServerEvent } from './enumerations.ts';
import {
  type EventType,
  eventTypeNames,
  eventTypeOf,
  eventTypePrefix,
  eventTypes,
  isEvent,
  messageIds,
  toCloudEvent,
} from './event.ts';

type Numbers = Partial<Record<'script' | 'server' | 'machine', number>>;

describe('event types', () => {
  it.each<[EventType, Numbers]>([
    [
      'serviceStarted',
      {
        script: VMEventType.vmEvent_VirtualServerStarted,
        server: VMVirtualServerEvent.vmVirtualServerEvent_ServiceEvent,
      },
    ],
    [
      'serviceStopped',
      {
        script: VMEventType.vmEvent_VirtualServerStopped,
        server: VMVirtualServerEvent.vmVirtualServerEvent_ServiceEvent,
      },
    ],
    [
      'stateChanged',
      {
        server: VMVirtualServerEvent.vmVirtualServerEvent_VMStateChange,
        machine: VMVirtualMachineEvents.vmVirtualMachineEvent_StateChanged,
      },
    ],
    ['shutdownRequested', { machine: VMVirtualMachineEvents.vmVirtualMachineEvent_RequestShutdown }],
    ['turnedOffByGuest', { script: VMEventType.vmEvent_VirtualMachineTurnedOffByGuest }],
    [
      'guestReset',
      {
        script: VMEventType.vmEvent_VirtualMachineReset,
        machine: VMVirtualMachineEvents.vmVirtualMachineEvent_Reset,
      },
    ],
    [
      'tripleFault',
      {
        script: VMEventType.vmEvent_VirtualMachineProcessorError,
        machine: VMVirtualMachineEvents.vmVirtualMachineEvent_TripleFault,
      },
    ],
    [
      'heartbeatStopped',
      {
        script: VMEventType.vmEvent_VirtualMachineNoHeartbeat,
        server: VMVirtualServerEvent.vmVirtualServerEvent_VMHeartbeatStopped,
        machine: VMVirtualMachineEvents.vmVirtualMachineEvent_HeartbeatStopped,
      },
    ],
    ['configurationChanged', { machine: VMVirtualMachineEvents.vmVirtualMachineEvent_ConfigurationChanged }],
    ['taskFailed', { server: VMVirtualServerEvent.vmVirtualServerEvent_EventLogged }],
    ['eventsLost', { server: VMVirtualServerEvent.vmVirtualServerEvent_EventLogged }],
    ['heartbeatResumed', {}],
    ['additionsStopped', {}],
    ['visibilityLost', {}],
  ])('%s has the numbers of the original', (type, numbers) => {
    expect(eventTypes[type]).toEqual(numbers);
  });

  it('cover every event that the original raises to sinks', () => {
    const numbers = Object.values(eventTypes);
    expect(new Set(numbers.map((n) => n.server).filter(Boolean))).toEqual(
      new Set(Object.values(VMVirtualServerEvent)),
    );
    expect(new Set(numbers.map((n) => n.machine).filter(Boolean))).toEqual(
      new Set(Object.values(VMVirtualMachineEvents)),
    );
  });

  it('have message ids that differ', () => {
    expect(new Set(Object.values(messageIds)).size).toBe(Object.keys(messageIds).length);
  });
});

describe('an event on the wire', () => {
  const vm = { id: 'u', name: 'web-1' };
  const event = toCloudEvent(
    { type: 'heartbeatResumed', vm, timeMs: 5, data: { outageMs: 7, stoppedSeq: 3 } },
    4,
    's',
  );

  it('is a CloudEvent with its seq', () => {
    expect(event).toEqual({
      specversion: '1.0',
      id: 's-4',
      source: '/v1/server/s',
      type: 'io.vmpulse.heartbeatResumed',
      subject: 'web-1',
      time: '1970-01-01T00:00:00.005Z',
      datacontenttype: 'application/json',
      seq: 4,
      data: { vm, outageMs: 7, stoppedSeq: 3 },
    });
  });

  it('carries the number of the original where it has one, zero too, and no machine where it concerns none', () => {
    const started = { messageId: 1, version: '1', pid: 1, unclean: false };
    const service = toCloudEvent({ type: 'serviceStarted', timeMs: 0, data: started }, 1, 's');
    expect(service.data.eventType).toBe(0);
    expect('subject' in service || 'vm' in service.data).toBe(false);
    expect(toCloudEvent({ type: 'tripleFault', vm, timeMs: 0, data: {} }, 1, 's').data.eventType).toBe(9);
  });

  it('is told from others by its type', () => {
    expect(eventTypeOf(event)).toBe('heartbeatResumed');
    for (const type of eventTypeNames)
      expect(isEvent(event, type)).toBe(event.type === `${eventTypePrefix}${type}`);
  });
});
