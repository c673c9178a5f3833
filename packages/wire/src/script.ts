/** Scripts on events, as the original attaches them: one for each event, of the server and of a machine. */
import { type EventType, type VmEvent, type VmReference, eventTypeOf, eventTypes, isEvent } from './event.ts';
import {
  type JsonSchema,
  type NamedSchema,
  flag,
  listOf,
  named,
  number,
  objectOf,
  oneOf,
  orNull,
  refer,
  text,
  timestamp,
} from './schema-builder.ts';

/** Bounds of a script. Lengths are characters. */
export const scriptBounds = {
  timeoutSeconds: { least: 1, most: 3_600, usual: 60 },
  maxArguments: 64,
  maxArgumentLength: 4_096,
} as const;

/** States that the original has event types of their own for, and vmpulse tells as stateChanged. */
const stateTriggers = {
  /** It runs, from nothing saved (a reset also ends so). */
  vmLaunched: 2,
  /** It runs, from its saved state. */
  vmStateRestored: 3,
  /** It was saved: it is off, and rests as saved. */
  vmStateSaved: 4,
  /** It is off, saved or not. */
  vmTurnedOff: 5,
} as const;

/** Levels of diskSpaceLow that the original has event types of their own for. */
const diskTriggers = { diskSpaceWarning: 10, diskSpaceError: 11 } as const;

/** Events of which there are scripts themselves: none runs for them, or it could run for ever. */
type UntriggeredType = 'scriptEnded' | 'scriptsSkipped';
const untriggered: readonly string[] = ['scriptEnded', 'scriptsSkipped'] satisfies UntriggeredType[];

/** What a script is attached to: an event type, or one of the original's that is a change of state here. */
export type ScriptTrigger =
  | Exclude<EventType, UntriggeredType>
  | keyof typeof stateTriggers
  | keyof typeof diskTriggers;

/** Every trigger with the original's `VMEventType`, where it has one. */
const triggerNumbers: ReadonlyMap<ScriptTrigger, number | undefined> = new Map([
  ...Object.entries(eventTypes)
    .filter(([type]) => !untriggered.includes(type))
    .map(([type, { script }]): [ScriptTrigger, number | undefined] => [type as ScriptTrigger, script]),
  ...(Object.entries({ ...stateTriggers, ...diskTriggers }) as [ScriptTrigger, number][]),
]);

/** Every trigger. */
export const scriptTriggers: readonly ScriptTrigger[] = [...triggerNumbers.keys()];

/** The trigger of that name or `VMEventType` number; undefined where there is none. */
export function findScriptTrigger(nameOrNumber: string | number): ScriptTrigger | undefined {
  const asked = String(nameOrNumber);
  for (const [trigger, value] of triggerNumbers) {
    if (trigger === asked || (value !== undefined && String(value) === asked)) return trigger;
  }
  return undefined;
}

/** `VMEventType` of a trigger; undefined where the original has none. */
export function scriptTriggerNumber(trigger: ScriptTrigger): number | undefined {
  return triggerNumbers.get(trigger);
}

/** The triggers that an event is: its type, and of a change of state the original's event, too. */
export function scriptTriggersOf(event: VmEvent): ScriptTrigger[] {
  const type = eventTypeOf(event);
  // What scripts do and what is done to them runs none.
  if (untriggered.includes(type)) return [];
  if (isEvent(event, 'configurationChanged') && event.data.key.startsWith(scriptKeyPrefix)) return [];
  const found: ScriptTrigger[] = triggerNumbers.has(type as ScriptTrigger) ? [type as ScriptTrigger] : [];
  if (isEvent(event, 'diskSpaceLow'))
    found.push(event.data.level === 'error' ? 'diskSpaceError' : 'diskSpaceWarning');
  if (!isEvent(event, 'stateChanged')) return found;
  const { state, previousState, saved } = event.data;
  if (state === 'running' && previousState === 'turningOn') found.push('vmLaunched');
  if (state === 'running' && previousState === 'restoring') found.push('vmStateRestored');
  // A start that came to nothing leaves a saved machine saved: that is no save.
  if (state === 'turnedOff' && saved === true && previousState === 'deleteMachine')
    found.push('vmStateSaved');
  if (state === 'turnedOff') found.push('vmTurnedOff');
  return found;
}

/** Keys of configurationChanged that tell of scripts begin so: `scripts/heartbeatStopped`. */
export const scriptKeyPrefix = 'scripts/';

/** Whose script it is: it runs for events of every machine and of the server, or of its machine alone. */
export type ScriptScope = 'server' | 'vm';

/** How a run of a script ended. */
export type ScriptOutcome = 'ok' | 'failed' | 'timedOut' | 'notStarted';

/** Every outcome. */
export const scriptOutcomes: readonly ScriptOutcome[] = ['ok', 'failed', 'timedOut', 'notStarted'];

/** PUT /v1/scripts/{eventType} and /v1/vms/{vm}/scripts/{eventType}. */
export interface ScriptRequest {
  /** An executable's absolute path and its arguments; no shell takes part. */
  command: string[];
  /** It is ended after this, 1 to 3,600; default 60. */
  timeoutSeconds?: number;
}

/** A script that is attached. */
export interface ScriptInfo {
  scope: ScriptScope;
  /** The machine, where it is one's. */
  vm?: VmReference;
  trigger: ScriptTrigger;
  /** `VMEventType` of the original, where it has one. */
  eventType: number | null;
  command: string[];
  timeoutSeconds: number;
  /** ISO 8601. */
  attachedAt: string;
  /** It runs for events: scripts of its scope are enabled. */
  enabled: boolean;
  /** Events it has yet to be run for, the one it runs for included. */
  pending: number;
}

/** `VSScriptsEnabled` and `VMScriptsEnabled` of the original. Both are off until they are switched on. */
export interface ScriptSettings {
  /** Scripts of the server run. */
  vsScriptsEnabled: boolean;
  /** Scripts of machines run. */
  vmScriptsEnabled: boolean;
}

const { timeoutSeconds, maxArguments, maxArgumentLength } = scriptBounds;
const command: JsonSchema = {
  ...listOf({ ...text(), maxLength: maxArgumentLength }, maxArguments),
  minItems: 1,
  description: 'The absolute path of an executable, and its arguments; no shell takes part.',
};
const timeout = number(`It is ended after this; default ${timeoutSeconds.usual}.`, {
  minimum: timeoutSeconds.least,
  maximum: timeoutSeconds.most,
});
const serverFlag: JsonSchema = { ...flag, description: 'Scripts of the server run (VSScriptsEnabled).' };
const vmFlag: JsonSchema = { ...flag, description: 'Scripts of machines run (VMScriptsEnabled).' };

/** The schemas of this file. */
export const scriptSchemas: readonly NamedSchema[] = [
  named(
    'ScriptRequest',
    'A script to attach.',
    objectOf<ScriptRequest>({ command }, { timeoutSeconds: timeout }),
  ),
  named(
    'ScriptInfo',
    'A script that is attached to an event.',
    objectOf<ScriptInfo>(
      {
        scope: oneOf(['server', 'vm']),
        trigger: oneOf(scriptTriggers),
        eventType: orNull(number('VMEventType of Virtual Server, where it has one.')),
        command,
        timeoutSeconds: timeout,
        attachedAt: timestamp,
        enabled: { ...flag, description: 'Scripts of its scope are enabled.' },
        pending: number('Events it has yet to be run for.'),
      },
      { vm: refer('VmReference') },
    ),
  ),
  named(
    'ScriptList',
    'Scripts.',
    objectOf<{ scripts: ScriptInfo[] }>({ scripts: listOf(refer('ScriptInfo')) }, {}),
  ),
  named(
    'ScriptSettings',
    'Which scripts run.',
    objectOf<ScriptSettings>({ vsScriptsEnabled: serverFlag, vmScriptsEnabled: vmFlag }, {}),
  ),
  named(
    'ScriptSettingsChange',
    'What is named is changed.',
    objectOf<Partial<ScriptSettings>>({}, { vsScriptsEnabled: serverFlag, vmScriptsEnabled: vmFlag }),
  ),
];
