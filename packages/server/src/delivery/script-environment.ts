/** What a script is told: the event's main facts in its environment, and where it runs. */
import type { VmEvent } from '@vmpulse/wire';
import { eventTypeOf } from '@vmpulse/wire';

/** Longest value of a variable, characters: the whole event is on standard input. */
const maxValueLength = 4_096;

/** Tells a script's processes from all others, also after the service died. */
export const runDirectoryVariable = 'VMPULSE_RUN_DIRECTORY';

/** The server that started them: others may have directories of the same name. */
export const serverIdVariable = 'VMPULSE_SERVER_ID';

/** Facts of an event's data that have a variable, where the event has them. */
const facts: Readonly<Record<string, string>> = {
  verdict: 'VMPULSE_VERDICT',
  cause: 'VMPULSE_CAUSE',
  reason: 'VMPULSE_REASON',
  state: 'VMPULSE_STATE',
  previousState: 'VMPULSE_PREVIOUS_STATE',
  outageMs: 'VMPULSE_OUTAGE_MS',
  messageId: 'VMPULSE_MESSAGE_ID',
  correlated: 'VMPULSE_CORRELATED',
  held: 'VMPULSE_HELD',
  level: 'VMPULSE_LEVEL',
  path: 'VMPULSE_PATH',
  freeBytes: 'VMPULSE_FREE_BYTES',
};

/** The whole environment of a run: nothing of the service's own is in it. */
export function scriptEnvironment(
  event: VmEvent,
  run: {
    readonly trigger: string;
    readonly attempt: number;
    readonly directory: string;
    readonly serverId: string;
  },
): Record<string, string> {
  const { vm, eventType, ...data } = event.data;
  const environment: Record<string, unknown> = {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    LANG: 'C.UTF-8',
    HOME: run.directory,
    [runDirectoryVariable]: run.directory,
    [serverIdVariable]: run.serverId,
    VMPULSE_TRIGGER: run.trigger,
    VMPULSE_ATTEMPT: run.attempt,
    VMPULSE_EVENT_TYPE: eventTypeOf(event),
    VMPULSE_EVENT_NUMBER: eventType,
    VMPULSE_EVENT_ID: event.id,
    VMPULSE_SEQ: event.seq,
    VMPULSE_TIME: event.time,
    VMPULSE_VM_NAME: vm?.name,
    VMPULSE_VM_ID: vm?.id,
  };
  for (const [fact, variable] of Object.entries(facts)) {
    const value = (data as Readonly<Record<string, unknown>>)[fact];
    if (['string', 'number', 'boolean'].includes(typeof value)) environment[variable] = value;
  }
  return Object.fromEntries(
    Object.entries(environment)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => [name, String(value).replaceAll('\0', '').slice(0, maxValueLength)]),
  );
}
