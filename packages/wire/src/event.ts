/**
 * Events: numbered, durable facts. On the wire each is a CloudEvent 1.0. `eventTypes` is the closed list; with each
 * type stand the original's numbers where it had them.
 */
import type { ScriptOutcome, ScriptScope, ScriptTrigger } from './script.ts';
import type { RecoveryEventData } from './recovery.ts';
import type { VmState } from './states.ts';
import type { Evidence, StopCause, StopVerdict } from './verdict.ts';

/** The original's numbers of an event type: script event, server event, machine event. */
export interface OriginalNumbers {
  /** `VMEventType`, the type scripts are attached to. */
  readonly script?: number;
  /** `VMVirtualServerEvent`: raised to sinks of the server. */
  readonly server?: number;
  /** `VMVirtualMachineEvents`: raised to sinks of the machine. */
  readonly machine?: number;
}

/** Every event type with the original's numbers. */
export const eventTypes: Record<keyof EventDataByType, OriginalNumbers> = {
  /** The service began; `data.unclean` tells that it had not ended in order before. */
  serviceStarted: { script: 0, server: 1 },
  /** The service ends in order. */
  serviceStopped: { script: 1, server: 1 },
  /** A machine was made known to the server. */
  vmCreated: {},
  /** A machine was deleted; its name may be used again. */
  vmDeleted: {},
  /** A configuration value changed. */
  configurationChanged: { machine: 6 },
  /** A machine entered a state. */
  stateChanged: { server: 2, machine: 1 },
  /** A shutdown of the machine's hardware was asked for (power button). */
  shutdownRequested: { machine: 2 },
  /** The guest ended itself in order. */
  turnedOffByGuest: { script: 6 },
  /** The machine was reset, by its guest or from outside. */
  guestReset: { script: 7, machine: 3 },
  /** The guest's processor met a triple fault. */
  tripleFault: { script: 9, machine: 4 },
  /** First tick since the machine booted: it is watched from here on. */
  heartbeatStarted: {},
  /** The guest has stopped. */
  heartbeatStopped: { script: 8, server: 4, machine: 5 },
  /** Ticks are back after a heartbeatStopped. */
  heartbeatResumed: {},
  /** The guest runs, its additions do not. */
  additionsStopped: {},
  /** The additions are back. */
  additionsResumed: {},
  /** The guest cannot be judged: QEMU is stopped or stuck, or does not answer. */
  visibilityLost: {},
  /** The guest can be judged again. */
  visibilityRegained: {},
  /** Many guests fell silent at once: told before any of them is, which follow tagged `correlated`. */
  cohortSilent: { server: 3 },
  /** The host slept (suspend): its guests with it, and nobody is blamed for that time. */
  hostSuspended: { server: 3 },
  /** An operator holds the watch of one machine (`vm`) or of all: silence is not judged. */
  holdStarted: {},
  /** The hold is over and silence counts again, from zero. */
  holdEnded: {},
  /** QEMU could not read or write a disk of the machine. */
  ioError: { server: 3 },
  /** The host's memory failed under the machine. */
  memoryFailure: { server: 3 },
  /** A file system that is written to has little space left; `data.eventType` is 10 (warning) or 11 (error). */
  diskSpaceLow: { server: 3 },
  /** It has room again. */
  diskSpaceRegained: { server: 3 },
  /** How much space is left cannot be found out (a hung network file system), or can be again. */
  diskSpaceUnknown: { server: 3 },
  /** A script that is attached to an event has ended, or could not be started. */
  scriptEnded: { server: 3 },
  /** Scripts were not run for some events: more waited than are kept, or the events were gone. */
  scriptsSkipped: { server: 3 },
  /** The guest went on in another QEMU (live migration): the machine here is off, and its guest did not stop. */
  migratedAway: {},
  /** A subscription's consumer did not take an event as often as it may be tried; the event became a dead letter. */
  deliverySetAside: { server: 3 },
  /** Events that a subscription had not acknowledged are no longer kept; it goes on behind them. */
  subscriptionLostPlace: { server: 3 },
  /** A webhook is not told any more: its endpoint answered 410, or an operator disabled it. */
  webhookDisabled: { server: 3 },
  /** A webhook's endpoint did not accept an event in all its attempts: it is set aside. */
  webhookDeadLetter: { server: 3 },
  /** Events that a webhook had not got yet are no longer kept. */
  webhookMissed: { server: 3 },
  /** A guest stopped, and its machine's policy says what is done about it. */
  recoveryPlanned: { server: 3 },
  /** One step of a recovery: told before it is done, and how it ended. */
  recoveryStep: { server: 3 },
  /** Nothing is done for now; told once for each reason. */
  recoveryHeldBack: { server: 3 },
  /** The heartbeat came back after a step. */
  recoverySucceeded: { server: 3 },
  /** Nothing more is done until an operator acts. */
  recoveryGaveUp: { server: 3 },
  /** An operation failed; `data.error` says why. */
  taskFailed: { server: 3 },
  /** Events could not be written for a time and some were lost; `data.lost` says how many. */
  eventsLost: { server: 3 },
};

/** The type of an event, without the prefix it has on the wire. */
export type EventType = keyof EventDataByType;

/** Every event type. */
export const eventTypeNames: readonly EventType[] = Object.keys(eventTypes) as EventType[];

/** What comes before the type on the wire: `io.vmpulse.heartbeatStopped`. */
export const eventTypePrefix = 'io.vmpulse.';

/** A machine, as events name it. */
export interface VmReference {
  readonly id: string;
  readonly name: string;
}

/** An error as events and tasks tell it. */
export interface ErrorInfo {
  readonly code: string;
  /** `0xA0040206` */
  readonly hresult: string;
  /** What is wrong and what to do. */
  readonly detail: string;
}

/** What a hold covers: one machine's watch, or every one. */
export type HoldScope = 'vm' | 'all';

/** How low the space of a file system is. */
export type DiskSpaceLevel = 'warning' | 'error';

/** What is told of a file system's space. */
export interface DiskSpaceEventData {
  readonly messageId: number;
  /** Where it is mounted. */
  readonly path: string;
  /** Free for who is not root. */
  readonly freeBytes: number;
  /** The bound that it fell below, or rose above with a margin. */
  readonly boundBytes: number;
  /** Machines with a disk on it that they may write to; the first 100 of `machineCount`. */
  readonly machines: readonly VmReference[];
  readonly machineCount: number;
}

/** The data of each type, besides `vm` and the original's `eventType` number. Times of day are ISO 8601. */
export interface EventDataByType extends RecoveryEventData {
  serviceStarted: { messageId: number; version: string; pid: number; unclean: boolean };
  serviceStopped: { messageId: number; reason: string };
  vmCreated: { hypervisor: string };
  vmDeleted: object;
  configurationChanged: { key: string; value: unknown; effective: 'now' | 'nextStart' };
  /**
   * `cause`: what no operation asked for (its process ended by itself), or none of an operator's (autostart; a pause by
   * the service for want of disk space). `saved`: with turnedOff, it rests as saved.
   */
  stateChanged: {
    state: VmState;
    stateCode: number;
    previousState: VmState;
    cause?: 'processExit' | 'autostart' | 'diskSpace';
    saved?: true;
  };
  shutdownRequested: { by: 'acpi' };
  turnedOffByGuest: { reason: string };
  guestReset: { reason: string; byGuest: boolean };
  tripleFault: object;
  heartbeatStarted: { source: 'ticker' | 'agent'; intervalMs: number; additionsVersion: string | null };
  /** `held`: an operator holds the watch (a fact such as an exit is told all the same). */
  heartbeatStopped: {
    verdict: StopVerdict;
    cause: StopCause;
    evidence: Evidence;
    correlated?: true;
    held?: true;
  };
  heartbeatResumed: { outageMs: number; stoppedSeq: number | null };
  additionsStopped: { cause: 'silence' | 'portClosed' | 'bye'; evidence: Evidence };
  additionsResumed: { outageMs: number };
  visibilityLost: { verdict: 'unknown' | 'starved'; reason: string; evidence: Evidence };
  visibilityRegained: { outageMs: number };
  cohortSilent: {
    messageId: number;
    /** Guests that fell silent, of those watched, within so many milliseconds. */
    silent: number;
    watched: number;
    withinMs: number;
    /** The first of them, at most 100. */
    vms: readonly VmReference[];
    /** How the host itself is, for people: `load 8.2 on 2 processors, ...`. */
    host: string;
  };
  hostSuspended: { messageId: number; suspendedMs: number };
  holdStarted: { scope: HoldScope; reason: string; until: string };
  holdEnded: { scope: HoldScope; reason: string; how: 'expired' | 'released' | 'replaced'; heldMs: number };
  /** `action`: what QEMU did (`stop`, `report`, `ignore`). `others`: like it since the last that was told. */
  ioError: { messageId: number; device: string; action: string; others: number };
  /** `recipient`: whom it hit, `hypervisor` or `guest`. `action`: `ignore`, `inject`, `fatal`, `reset`. */
  memoryFailure: { messageId: number; recipient: string; action: string; others: number };
  /** On `error` the machines are paused. */
  diskSpaceLow: DiskSpaceEventData & {
    level: DiskSpaceLevel;
    /** `VMEventType` of the original: 10 warning, 11 error. */
    eventType: number;
  };
  /** `from`: what it was; `to`: what it is. From `error` on, machines that were paused for it are resumed. */
  diskSpaceRegained: DiskSpaceEventData & { from: DiskSpaceLevel; to: DiskSpaceLevel | 'ok' };
  /** `over`: it can be found out again. */
  diskSpaceUnknown: { messageId: number; path: string; reason: string; over: boolean };
  scriptEnded: {
    messageId: number;
    scope: ScriptScope;
    /** What it is attached to. */
    trigger: ScriptTrigger;
    /** seq of the event it was run for. */
    eventSeq: number;
    /** The executable. */
    executable: string;
    outcome: ScriptOutcome;
    exitStatus: number | null;
    /** The signal that ended it: `SIGKILL`. */
    signal: string | null;
    durationMs: number;
    /** The last 4 KiB of what it wrote on standard output and error. */
    output: string;
    /** Why it could not be started, or was ended; empty where it ended by itself. */
    detail: string;
    /** From 1; more where the service died while it ran: it was run again. */
    attempt: number;
  };
  scriptsSkipped: {
    messageId: number;
    reason: 'tooMany' | 'eventsGone';
    /** Of the script: null where it concerns all. */
    scope: ScriptScope | null;
    trigger: ScriptTrigger | null;
    /** How many events, and from which to which. */
    skipped: number;
    firstSeq: number;
    lastSeq: number;
  };
  migratedAway: object;
  deliverySetAside: {
    messageId: number;
    subscription: string;
    /** The event that was set aside: its number and type. */
    setAsideSeq: number;
    setAsideType: string;
    attempts: number;
    /** What the consumer said last. */
    reason: string;
    /** The oldest dead letter, where this one took its place at the bound. */
    droppedSeq?: number;
  };
  /** From `from` to `to` were missed. */
  subscriptionLostPlace: { messageId: number; subscription: string; from: number; to: number };
  webhookDisabled: { messageId: number; webhook: string; reason: 'gone' | 'operator' };
  /** `failed` is the seq of the event that is set aside. */
  webhookDeadLetter: { messageId: number; webhook: string; failed: number; attempts: number; error: string };
  /** The first and the last seq missed. */
  webhookMissed: { messageId: number; webhook: string; from: number; to: number };
  taskFailed: { task: string; operation: string; messageId: number; error: ErrorInfo };
  eventsLost: { lost: number; messageId: number; reason: string };
}

/** A fact before it has its number. `time` is the wall clock's, milliseconds since 1970. */
export type EventDraft = {
  [T in EventType]: { type: T; vm?: VmReference; timeMs: number; data: EventDataByType[T] };
}[EventType];

/** A numbered, durable fact, as CloudEvent 1.0 with `seq` as extension attribute. */
export interface VmEvent<T extends EventType = EventType> {
  readonly specversion: '1.0';
  readonly id: string;
  /** `/v1/server/<server id>` */
  readonly source: string;
  /** `io.vmpulse.` and the event type. */
  readonly type: `${typeof eventTypePrefix}${T}`;
  /** The machine's name, where the event concerns one. */
  readonly subject?: string;
  /** ISO 8601, UTC, milliseconds. */
  readonly time: string;
  readonly datacontenttype: 'application/json';
  /** Per virtual server, gapless, from 1. */
  readonly seq: number;
  readonly data: EventDataByType[T] & {
    readonly vm?: VmReference;
    /** `VMEventType` of the original, where it has one. */
    readonly eventType?: number;
  };
}

/** The event's type without its prefix. */
export function eventTypeOf(event: VmEvent): EventType {
  return event.type.slice(eventTypePrefix.length) as EventType;
}

/** Narrows an event to one type, with the data that type carries. */
export function isEvent<T extends EventType>(event: VmEvent, type: T): event is VmEvent<T> {
  return event.type === `${eventTypePrefix}${type}`;
}

/** The CloudEvent of a draft that got its number. */
export function toCloudEvent(draft: EventDraft, seq: number, serverId: string): VmEvent {
  const numbers = eventTypes[draft.type];
  return {
    specversion: '1.0',
    id: `${serverId}-${seq}`,
    source: `/v1/server/${serverId}`,
    type: `${eventTypePrefix}${draft.type}`,
    ...(draft.vm === undefined ? {} : { subject: draft.vm.name }),
    time: new Date(draft.timeMs).toISOString(),
    datacontenttype: 'application/json',
    seq,
    data: {
      ...(draft.vm === undefined ? {} : { vm: draft.vm }),
      ...(numbers.script === undefined ? {} : { eventType: numbers.script }),
      ...draft.data,
    },
  };
}

/** Numbers of the messages that OnServiceEvent and OnEventLogged tell (`logMessageID`). */
export const messageIds = {
  serviceStarted: 1,
  serviceStopped: 2,
  serviceStartedUnclean: 3,
  taskFailed: 100,
  eventsLost: 101,
  cohortSilent: 102,
  hostSuspended: 103,
  deliverySetAside: 110,
  subscriptionLostPlace: 111,
  webhookDisabled: 120,
  webhookDeadLetter: 121,
  webhookMissed: 122,
  ioError: 104,
  memoryFailure: 105,
  diskSpaceWarning: 106,
  diskSpaceError: 107,
  diskSpaceRegained: 108,
  diskSpaceUnknown: 109,
  scriptOk: 130,
  scriptFailed: 131,
  scriptTimedOut: 132,
  scriptNotStarted: 133,
  scriptsSkipped: 134,
  recoveryPlanned: 140,
  recoveryStep: 141,
  recoveryHeldBack: 142,
  recoverySucceeded: 143,
  recoveryGaveUp: 144,
} as const;
