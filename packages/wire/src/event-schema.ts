/** JSON Schemas of events: the envelope, and the data of each type. */
import {
  type DiskSpaceEventData,
  type DiskSpaceLevel,
  type ErrorInfo,
  type EventDataByType,
  type EventType,
  type VmReference,
  eventTypeNames,
  eventTypePrefix,
} from './event.ts';
import { recoveryEventSchemas } from './recovery.ts';
import {
  type JsonSchema,
  type NamedSchema,
  flag,
  listOf,
  milliseconds,
  named,
  number,
  objectOf,
  oneOf,
  orNull,
  refer,
  text,
  timestamp,
} from './schema-builder.ts';
import { scriptOutcomes, scriptTriggers } from './script.ts';
import { vmStates } from './states.ts';
import type { Evidence, StopCause, StopVerdict, WitnessAnswer } from './verdict.ts';

const stopVerdicts: Record<StopVerdict, true> = {
  exited: true,
  panicked: true,
  watchdog: true,
  tripleFault: true,
  internalError: true,
  hung: true,
  spinning: true,
  busy: true,
};

const stopCauses: Record<StopCause, true> = {
  processExit: true,
  guestPanicked: true,
  watchdog: true,
  tripleFault: true,
  internalError: true,
  silence: true,
  bootWindowEnded: true,
  foundDead: true,
};

/** Every verdict that is told as heartbeatStopped. */
export const stopVerdictNames: readonly StopVerdict[] = Object.keys(stopVerdicts) as StopVerdict[];

/** Everything that sets off a heartbeatStopped. */
export const stopCauseNames: readonly StopCause[] = Object.keys(stopCauses) as StopCause[];

/** A machine, as events and tasks name it. */
export const vmReferenceSchema: NamedSchema = named(
  'VmReference',
  'A machine, as events and tasks name it.',
  objectOf<VmReference>({ id: text('UUID'), name: text() }, {}),
);

/** An error, as events and tasks tell it. */
export const errorInfoSchema: NamedSchema = named(
  'ErrorInfo',
  'An error, as events and tasks tell it.',
  objectOf<ErrorInfo>(
    {
      code: text('Name of the code.'),
      hresult: text('0xA0040206'),
      detail: text('What is wrong, and what to do.'),
    },
    {},
  ),
);

/** Why a verdict is what it is. */
export const evidenceSchema: NamedSchema = named(
  'Evidence',
  'Why a verdict is what it is. Durations are milliseconds of the monotonic clock.',
  objectOf<Evidence>(
    {
      lastTickAt: orNull(timestamp),
      sinceLastTickMs: orNull(milliseconds('Since the last tick.')),
      silenceMs: orNull(milliseconds('What of that counts against the guest.')),
      subtracted: objectOf<Evidence['subtracted']>(
        { suspendedMs: milliseconds(), runDelayMs: milliseconds() },
        {},
      ),
      intervalMs: orNull(milliseconds("The heartbeat's interval.")),
      marginMs: orNull(milliseconds('Margin for lateness.')),
      witnesses: listOf(
        objectOf<WitnessAnswer>({ witness: text(), answer: text(), tookMs: milliseconds() }, {}),
      ),
    },
    {
      exit: objectOf<NonNullable<Evidence['exit']>>(
        { exitCode: orNull(number()), signal: orNull(text()), stderr: text() },
        {},
      ),
      detail: text('What QEMU said of it.'),
    },
  ),
);

const evidence = refer('Evidence');
const outageMs = milliseconds('Length of the outage.');
const messageId = number('The number that OnServiceEvent and OnEventLogged tell.');
const likeIt = number('How many like it there were since the last that was told.');
const diskSpaceLevels: readonly DiskSpaceLevel[] = ['warning', 'error'];
const diskSpace: Record<keyof DiskSpaceEventData, JsonSchema> = {
  messageId,
  path: text('Where it is mounted.'),
  freeBytes: number('Free for who is not root.'),
  boundBytes: number('What it fell below, or rose above with a margin.'),
  machines: listOf(refer('VmReference')),
  machineCount: number('Machines with a disk on it that they may write to; `machines` has the first 100.'),
};
const nothing: JsonSchema = { type: 'object', properties: {} };

/** The data of each type, besides `vm` and the original's `eventType`. */
const dataSchemas: Record<EventType, JsonSchema> = {
  serviceStarted: objectOf<EventDataByType['serviceStarted']>(
    {
      messageId,
      version: text(),
      pid: number(),
      unclean: { ...flag, description: 'Had not ended in order before.' },
    },
    {},
  ),
  serviceStopped: objectOf<EventDataByType['serviceStopped']>({ messageId, reason: text() }, {}),
  vmCreated: objectOf<EventDataByType['vmCreated']>({ hypervisor: text() }, {}),
  vmDeleted: nothing,
  configurationChanged: objectOf<EventDataByType['configurationChanged']>(
    { key: text(), value: {}, effective: oneOf(['now', 'nextStart']) },
    {},
  ),
  stateChanged: objectOf<EventDataByType['stateChanged']>(
    { state: oneOf(vmStates), stateCode: number(), previousState: oneOf(vmStates) },
    {
      cause: oneOf(['processExit', 'autostart', 'diskSpace'], 'Where no operator asked for it.'),
      saved: flag,
    },
  ),
  shutdownRequested: objectOf<EventDataByType['shutdownRequested']>({ by: oneOf(['acpi']) }, {}),
  turnedOffByGuest: objectOf<EventDataByType['turnedOffByGuest']>({ reason: text() }, {}),
  guestReset: objectOf<EventDataByType['guestReset']>({ reason: text(), byGuest: flag }, {}),
  tripleFault: nothing,
  heartbeatStarted: objectOf<EventDataByType['heartbeatStarted']>(
    { source: oneOf(['ticker', 'agent']), intervalMs: milliseconds(), additionsVersion: orNull(text()) },
    {},
  ),
  heartbeatStopped: objectOf<EventDataByType['heartbeatStopped']>(
    { verdict: oneOf(stopVerdictNames), cause: oneOf(stopCauseNames), evidence },
    {
      correlated: { const: true, description: 'Many guests fell silent at once.' },
      held: { const: true, description: 'An operator holds the watch.' },
    },
  ),
  heartbeatResumed: objectOf<EventDataByType['heartbeatResumed']>(
    { outageMs, stoppedSeq: orNull(number('seq of the heartbeatStopped that this ends.')) },
    {},
  ),
  additionsStopped: objectOf<EventDataByType['additionsStopped']>(
    { cause: oneOf(['silence', 'portClosed', 'bye']), evidence },
    {},
  ),
  additionsResumed: objectOf<EventDataByType['additionsResumed']>({ outageMs }, {}),
  visibilityLost: objectOf<EventDataByType['visibilityLost']>(
    { verdict: oneOf(['unknown', 'starved']), reason: text(), evidence },
    {},
  ),
  visibilityRegained: objectOf<EventDataByType['visibilityRegained']>({ outageMs }, {}),
  cohortSilent: objectOf<EventDataByType['cohortSilent']>(
    {
      messageId,
      silent: number('Guests that fell silent.'),
      watched: number('Guests watched.'),
      withinMs: milliseconds('Within which they fell silent.'),
      vms: listOf(refer('VmReference')),
      host: text('How the host itself is.'),
    },
    {},
  ),
  hostSuspended: objectOf<EventDataByType['hostSuspended']>(
    { messageId, suspendedMs: milliseconds('How long the host slept.') },
    {},
  ),
  holdStarted: objectOf<EventDataByType['holdStarted']>(
    { scope: oneOf(['vm', 'all']), reason: text(), until: timestamp },
    {},
  ),
  holdEnded: objectOf<EventDataByType['holdEnded']>(
    {
      scope: oneOf(['vm', 'all']),
      reason: text('Why it was begun.'),
      how: oneOf(['expired', 'released', 'replaced']),
      heldMs: milliseconds(),
    },
    {},
  ),
  ioError: objectOf<EventDataByType['ioError']>(
    { messageId, device: text(), action: text('What QEMU did: stop, report, ignore.'), others: likeIt },
    {},
  ),
  memoryFailure: objectOf<EventDataByType['memoryFailure']>(
    {
      messageId,
      recipient: text('Whom it hit: hypervisor or guest.'),
      action: text('What QEMU did: ignore, inject, fatal, reset.'),
      others: likeIt,
    },
    {},
  ),
  diskSpaceLow: objectOf<EventDataByType['diskSpaceLow']>(
    {
      ...diskSpace,
      level: oneOf(diskSpaceLevels, 'On error the machines are paused.'),
      eventType: number('10: warning, 11: error.'),
    },
    {},
  ),
  diskSpaceRegained: objectOf<EventDataByType['diskSpaceRegained']>(
    { ...diskSpace, from: oneOf(diskSpaceLevels), to: oneOf([...diskSpaceLevels, 'ok']) },
    {},
  ),
  diskSpaceUnknown: objectOf<EventDataByType['diskSpaceUnknown']>(
    { messageId, path: text('Where it is mounted.'), reason: text(), over: flag },
    {},
  ),
  scriptEnded: objectOf<EventDataByType['scriptEnded']>(
    {
      messageId,
      scope: oneOf(['server', 'vm']),
      trigger: oneOf(scriptTriggers, 'What it is attached to.'),
      eventSeq: number('seq of the event it was run for.'),
      executable: text(),
      outcome: oneOf(scriptOutcomes),
      exitStatus: orNull(number()),
      signal: orNull(text('The signal that ended it.')),
      durationMs: milliseconds(),
      output: text('The last 4 KiB of its standard output and error.'),
      detail: text('Why it could not be started, or was ended.'),
      attempt: number('More than 1 where the service died while it ran.'),
    },
    {},
  ),
  scriptsSkipped: objectOf<EventDataByType['scriptsSkipped']>(
    {
      messageId,
      reason: oneOf(['tooMany', 'eventsGone']),
      scope: orNull(oneOf(['server', 'vm'])),
      trigger: orNull(oneOf(scriptTriggers)),
      skipped: number('How many events.'),
      firstSeq: number(),
      lastSeq: number(),
    },
    {},
  ),
  migratedAway: nothing,
  deliverySetAside: objectOf<EventDataByType['deliverySetAside']>(
    {
      messageId,
      subscription: text('Its name.'),
      setAsideSeq: number('seq of the event that was set aside.'),
      setAsideType: text('Its type.'),
      attempts: number(),
      reason: text('What the consumer said last.'),
    },
    { droppedSeq: number('The oldest dead letter, where this one took its place at the bound.') },
  ),
  subscriptionLostPlace: objectOf<EventDataByType['subscriptionLostPlace']>(
    {
      messageId,
      subscription: text('Its name.'),
      from: number('First seq missed.'),
      to: number('Last seq missed.'),
    },
    {},
  ),
  webhookDisabled: objectOf<EventDataByType['webhookDisabled']>(
    { messageId, webhook: text(), reason: oneOf(['gone', 'operator']) },
    {},
  ),
  webhookDeadLetter: objectOf<EventDataByType['webhookDeadLetter']>(
    {
      messageId,
      webhook: text(),
      failed: number('seq of the event that is set aside.'),
      attempts: number(),
      error: text('Why the last attempt failed.'),
    },
    {},
  ),
  webhookMissed: objectOf<EventDataByType['webhookMissed']>(
    { messageId, webhook: text(), from: number('First seq missed.'), to: number('Last seq missed.') },
    {},
  ),
  ...recoveryEventSchemas(stopVerdictNames),
  taskFailed: objectOf<EventDataByType['taskFailed']>(
    { task: text('Id of the task.'), operation: text(), messageId, error: refer('ErrorInfo') },
    {},
  ),
  eventsLost: objectOf<EventDataByType['eventsLost']>({ lost: number(), messageId, reason: text() }, {}),
};

/** A CloudEvent; `type` says which data it carries. */
export const vmEventSchema: NamedSchema = named('VmEvent', 'A numbered, durable fact, as CloudEvent 1.0.', {
  type: 'object',
  properties: {
    specversion: { const: '1.0' },
    id: text('Server id and seq.'),
    source: text('/v1/server/<server id>'),
    type: oneOf(eventTypeNames.map((type) => eventTypePrefix + type)),
    subject: text("The machine's name, where the event concerns one."),
    time: timestamp,
    datacontenttype: { const: 'application/json' },
    seq: number('Per virtual server, gapless.', { minimum: 1 }),
    data: {
      type: 'object',
      properties: {
        vm: refer('VmReference'),
        eventType: number('VMEventType of Virtual Server, where it has one.'),
      },
    },
  },
  required: ['specversion', 'id', 'source', 'type', 'time', 'datacontenttype', 'seq', 'data'],
  oneOf: eventTypeNames.map((type) => ({
    title: type,
    properties: { type: { const: eventTypePrefix + type }, data: dataSchemas[type] },
  })),
});
