/**
 * JSON Schemas of what is asked and answered over HTTP, as plain constants. They describe; the server's own checks of
 * a configuration go further (and name their code), so requests are not judged by them.
 */
import { type ProblemDocument, isErrorCode } from './error.ts';
import type { VmEvent } from './event.ts';
import {
  errorInfoSchema,
  evidenceSchema,
  stopVerdictNames,
  vmEventSchema,
  vmReferenceSchema,
} from './event-schema.ts';
import { guestSchemas } from './guest.ts';
import { HResult } from './hresult.ts';
import { incidentSchemas } from './incident.ts';
import {
  type BootConfiguration,
  type DiskConfiguration,
  type EventPage,
  type GuestInfo,
  type HoldInfo,
  type HoldRequest,
  type HeartbeatConfiguration,
  type NetworkConfiguration,
  type PatienceConfiguration,
  type ServerInfo,
  type TaskInfo,
  type VmChange,
  type VmConfiguration,
  type VmInfo,
  taskResultCodes,
} from './machine.ts';
import { maxNameLength } from './name.ts';
import { recoveryConfigurationSchema, recoverySchemas } from './recovery.ts';
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
import { scriptSchemas } from './script.ts';
import { vmOperations, vmStates } from './states.ts';
import { subscriptionSchemas } from './subscription.ts';
import type { Verdict } from './verdict.ts';
import { webhookSchemas } from './webhook.ts';

export { stopCauseNames, stopVerdictNames } from './event-schema.ts';
export type { JsonSchema, NamedSchema } from './schema-builder.ts';

const otherVerdicts: Record<Exclude<Verdict, (typeof stopVerdictNames)[number]>, true> = {
  alive: true,
  notObserved: true,
  booting: true,
  suspected: true,
  suspended: true,
  starved: true,
  additionsStopped: true,
  unknown: true,
};

/** Every verdict. */
export const verdictNames: readonly Verdict[] = [
  ...(Object.keys(otherVerdicts) as Verdict[]),
  ...stopVerdictNames,
];

/** Every error code. */
const errorCodeNames: readonly string[] = Object.keys(HResult).filter(isErrorCode);

const path = text('Absolute path.');
const boot = objectOf<BootConfiguration>({ kernel: path }, { initrd: path, cmdline: text() });
const watchdog = objectOf<NonNullable<VmConfiguration['watchdog']>>(
  { model: oneOf(['i6300esb']), action: oneOf(['reset', 'pause', 'none']) },
  {},
);
const disk = objectOf<DiskConfiguration>(
  { file: path },
  {
    format: oneOf(['qcow2', 'raw', 'vpc'], "By default by the file's ending."),
    bus: oneOf(['virtio', 'ide'], 'Default virtio.'),
    readOnly: flag,
  },
);
const network = objectOf<NetworkConfiguration>(
  { type: oneOf(['user', 'tap', 'bridge']) },
  { device: text('Tap device or bridge.'), mac: text('52:54:00:xx:xx:xx') },
);
const patience = objectOf<PatienceConfiguration>(
  {},
  {
    spinningMs: milliseconds('Default 10,000.'),
    busyMs: milliseconds('Default 60,000.'),
    additionsStoppedMs: milliseconds('Default 10,000.'),
  },
);
const heartbeat = objectOf<HeartbeatConfiguration>(
  {},
  {
    intervalMs: number('Default 1,000.', { minimum: 100, maximum: 60_000 }),
    patience,
    bootWindowMaxMs: number('Default 600,000.', { minimum: 10_000, maximum: 3_600_000 }),
    watch: { ...flag, description: "false: the guest's ticks are shown, never judged. Default true." },
  },
);
const scalar: JsonSchema = { type: ['string', 'number', 'boolean'] };

/** What all shapes of a configuration share. */
const settings = {
  name: {
    ...text('Case-insensitive, none of *?:<>/\\|", unique.'),
    minLength: 1,
    maxLength: maxNameLength,
  } as JsonSchema,
  memoryMiB: number('Default 512.', { minimum: 16, maximum: 16_777_216 }),
  cpus: number('Default 1.', { minimum: 1, maximum: 255 }),
  disks: listOf(disk, 24),
  networks: listOf(network, 8),
  vnc: {
    ...flag,
    description: "A VNC server on the machine's own Unix socket; default false.",
  } as JsonSchema,
  heartbeat,
  recovery: recoveryConfigurationSchema,
  autostart: objectOf<NonNullable<VmConfiguration['autostart']>>(
    { action: oneOf(['never', 'always', 'ifRunningAtQuit']) },
    { delaySeconds: number('Default 0.', { minimum: 0 }) },
  ),
  shutdownActionOnQuit: oneOf(['leaveRunning', 'save', 'turnOff', 'shutdown'], 'Default leaveRunning.'),
  notes: text(),
};
const { name, ...optionalSettings } = settings;
const values: JsonSchema = { type: 'object', additionalProperties: scalar };

/** POST /v1/vms. */
export const vmCreationSchema: NamedSchema = named(
  'VmCreation',
  'A machine to create; with `id`, to register under that UUID.',
  objectOf<VmConfiguration & { id?: string }>(
    { name },
    { ...optionalSettings, boot, watchdog, values, id: { ...text(), format: 'uuid' } },
  ),
);

/** PATCH /v1/vms/{vm}. */
export const vmChangeSchema: NamedSchema = named(
  'VmChange',
  'What is named is replaced; null takes boot, watchdog or one of values away.',
  objectOf<VmChange>(
    {},
    {
      ...settings,
      boot: orNull(boot),
      watchdog: orNull(watchdog),
      values: { type: 'object', additionalProperties: orNull({ anyOf: [scalar] }) },
    },
  ),
);

/** A hold. */
export const holdInfoSchema: NamedSchema = named(
  'HoldInfo',
  'A hold on the watch of one machine or of all: silence is not judged until it ends.',
  objectOf<HoldInfo>(
    {
      scope: oneOf(['vm', 'all']),
      reason: text('Why, as the operator said.'),
      since: timestamp,
      until: { ...timestamp, description: 'When it ends by itself.' },
    },
    { vm: refer('VmReference') },
  ),
);

/** PUT /v1/holds and PUT /v1/vms/{vm}/hold. */
export const holdRequestSchema: NamedSchema = named(
  'HoldRequest',
  'A hold to begin.',
  objectOf<HoldRequest>(
    {
      seconds: { type: 'number', minimum: 1, maximum: 604_800, description: 'It ends by itself after this.' },
      reason: { ...text('Why, in printable characters.'), minLength: 1, maxLength: 500 },
    },
    {},
  ),
);

/** GET /v1/holds. */
export const holdListSchema: NamedSchema = named(
  'HoldList',
  'Every hold.',
  objectOf<{ holds: HoldInfo[] }>({ holds: listOf(refer('HoldInfo')) }, {}),
);

/** GET /v1/vms/{vm}/guest. */
export const guestInfoSchema: NamedSchema = named(
  'GuestInfo',
  'The guest of a machine: heartbeat and what its additions tell.',
  objectOf<GuestInfo>(
    {
      isHeartbeating: flag,
      heartbeatPercentage: orNull({ type: 'number', minimum: 0, maximum: 100 }),
      verdict: oneOf(verdictNames),
      lastTickAgoMs: orNull(milliseconds()),
      intervalMs: orNull(milliseconds()),
      source: orNull(oneOf(['ticker', 'agent'])),
      additions: objectOf<GuestInfo['additions']>({ version: orNull(text()) }, {}),
      osName: orNull(text()),
      computerName: orNull(text()),
      canShutdown: flag,
      stoppedSeq: orNull(number('seq of the heartbeatStopped that no heartbeatResumed has followed yet.')),
      fileSystems: orNull(oneOf(['thawed', 'frozen'], 'What the guest agent last said of them.')),
      hold: orNull(refer('HoldInfo')),
    },
    {},
  ),
);

/** A machine. */
export const vmInfoSchema: NamedSchema = named(
  'VmInfo',
  'A machine, with every default filled in.',
  objectOf<VmInfo>(
    {
      ...settings,
      boot: orNull(boot),
      watchdog: orNull(watchdog),
      values,
      id: text('UUID'),
      hypervisor: oneOf(['qemu', 'libvirt', 'fake']),
      state: oneOf(vmStates),
      stateCode: number("VMVMState of Virtual Server: the state's number."),
      pausedFor: orNull(oneOf(['diskSpace'], 'Why the service paused it itself, and will resume it.')),
      pid: orNull(number("QEMU's process, while there is one.")),
      accelerator: orNull(oneOf(['kvm', 'tcg'])),
      startedAt: orNull(timestamp),
      createdAt: timestamp,
      operations: listOf(oneOf(vmOperations)),
      task: orNull(text('Id of the task under way.')),
      files: objectOf<VmInfo['files']>(
        { directory: path, serialLog: path, serialSocket: path, vncSocket: orNull(path) },
        {},
      ),
      changesPending: { ...flag, description: 'A change waits for the next start.' },
      guest: refer('GuestInfo'),
    },
    {},
  ),
);

/** A task. */
export const taskInfoSchema: NamedSchema = named(
  'TaskInfo',
  'An operation under way or ended.',
  objectOf<TaskInfo>(
    {
      id: text(),
      vm: refer('VmReference'),
      operation: oneOf(vmOperations),
      description: text('For a person.'),
      percent: { type: 'number', minimum: 0, maximum: 100 },
      isComplete: flag,
      isCancelable: flag,
      result: orNull(oneOf(Object.keys(taskResultCodes))),
      resultCode: orNull(number('VMTaskResult of Virtual Server.')),
      error: orNull(refer('ErrorInfo')),
      startedAt: timestamp,
      endedAt: orNull(timestamp),
    },
    {},
  ),
);

/** GET /v1/server. */
export const serverInfoSchema: NamedSchema = named(
  'ServerInfo',
  'The virtual server.',
  objectOf<ServerInfo>(
    {
      id: text(),
      name: text(),
      version: text(),
      uptimeMs: milliseconds(),
      seq: number('Number of the newest event; 0 when there is none.'),
      oldestSeq: number('Number of the oldest event kept.'),
      host: objectOf<ServerInfo['host']>(
        {
          hostname: text(),
          kernel: text(),
          cpus: number(),
          memoryMiB: number(),
          accelerator: orNull(oneOf(['kvm', 'tcg'])),
          acceleratorReason: orNull(text('Why kvm is not used, where it is not.')),
          qemuVersion: orNull(text()),
        },
        {},
      ),
      limits: { type: 'object', additionalProperties: { type: 'number' } },
      vms: { type: 'object', additionalProperties: number(), description: 'Machines by state.' },
    },
    {},
  ),
);

/** GET /v1/vms. */
export const vmListSchema: NamedSchema = named(
  'VmList',
  'Every machine.',
  objectOf<{ vms: VmInfo[] }>({ vms: listOf(refer('VmInfo')) }, {}),
);

/** GET /v1/tasks. */
export const taskListSchema: NamedSchema = named(
  'TaskList',
  'Tasks under way and the last ended ones.',
  objectOf<{ tasks: TaskInfo[] }>({ tasks: listOf(refer('TaskInfo')) }, {}),
);

/** GET /v1/events. */
export const eventPageSchema: NamedSchema = named(
  'EventPage',
  'One page of events.',
  objectOf<EventPage<VmEvent>>(
    { events: listOf(refer('VmEvent')), next: number('The `after` of the page that follows.') },
    {},
  ),
);

/** RFC 9457. */
export const problemSchema: NamedSchema = named(
  'Problem',
  'What went wrong and what to do (RFC 9457).',
  objectOf<ProblemDocument>(
    {
      type: text('urn:vmpulse:error:VM_E_VM_UNKNOWN'),
      title: text(),
      status: number(),
      detail: text('What is wrong and what to do, for a person.'),
      code: oneOf(errorCodeNames, 'For a program.'),
      hresult: text('0xA0040207'),
    },
    { field: text("JSON pointer of the request's field at fault.") },
  ),
);

/** Every named schema, those that others refer to first. */
export const schemas: readonly NamedSchema[] = [
  vmReferenceSchema,
  errorInfoSchema,
  evidenceSchema,
  vmEventSchema,
  vmCreationSchema,
  vmChangeSchema,
  holdInfoSchema,
  holdRequestSchema,
  holdListSchema,
  guestInfoSchema,
  vmInfoSchema,
  taskInfoSchema,
  serverInfoSchema,
  vmListSchema,
  taskListSchema,
  eventPageSchema,
  problemSchema,
  ...recoverySchemas(stopVerdictNames),
  ...incidentSchemas,
  ...guestSchemas,
  ...subscriptionSchemas,
  ...webhookSchemas,
  ...scriptSchemas,
];
