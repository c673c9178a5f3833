/** What an operator asks of scripts, read strictly: a misspelt word must not become another script. */
import { isAbsolute } from 'node:path';
import { type ScriptRequest, type ScriptSettings, VmError, scriptBounds } from '@vmpulse/wire';

const requestFields: readonly string[] = ['command', 'timeoutSeconds'] satisfies (keyof ScriptRequest)[];
const settingFields = ['vsScriptsEnabled', 'vmScriptsEnabled'] as const satisfies (keyof ScriptSettings)[];

/** Command and time limit, checked; the executable is looked at when it is run. Errors: VMPULSE_E_REQUEST_INVALID. */
export function checkScriptRequest(request: unknown): Required<ScriptRequest> {
  const given = fieldsOf(request, requestFields);
  return { command: checkCommand(given['command']), timeoutSeconds: checkTimeout(given['timeoutSeconds']) };
}

/** The flags that are named. Errors: VMPULSE_E_REQUEST_INVALID. */
export function checkScriptSettings(change: unknown): Partial<ScriptSettings> {
  const given = fieldsOf(change, settingFields);
  const checked: Partial<ScriptSettings> = {};
  for (const field of settingFields) {
    const value = given[field];
    if (value === undefined) continue;
    if (typeof value !== 'boolean') throw invalid(field, `${field} must be true or false.`);
    checked[field] = value;
  }
  return checked;
}

function fieldsOf(value: unknown, fields: readonly string[]): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new VmError('VMPULSE_E_REQUEST_INVALID', 'The body must be a JSON object.');
  }
  const unknown = Object.keys(value).find((key) => !fields.includes(key));
  if (unknown === undefined) return value as Record<string, unknown>;
  const shown = unknown.slice(0, 64);
  throw invalid(shown, `There is no '${shown}' here; give ${fields.join(' and ')}.`);
}

function checkCommand(command: unknown): string[] {
  const { maxArguments, maxArgumentLength } = scriptBounds;
  const isGood = (part: unknown): part is string =>
    typeof part === 'string' && part.length <= maxArgumentLength && !part.includes('\0');
  if (
    !Array.isArray(command) ||
    command.length < 1 ||
    command.length > maxArguments ||
    !command.every(isGood)
  ) {
    const bounds = `1 to ${maxArguments} texts of at most ${maxArgumentLength} characters, without NUL`;
    throw invalid('command', `command must be an executable and its arguments: a list of ${bounds}.`);
  }
  const [executable = ''] = command;
  if (isAbsolute(executable)) return [...command];
  const why = 'no shell takes part and no PATH is searched';
  throw invalid('command/0', `'${executable.slice(0, 64)}' is not an absolute path: ${why}.`);
}

function checkTimeout(seconds: unknown): number {
  const { least, most, usual } = scriptBounds.timeoutSeconds;
  if (seconds === undefined) return usual;
  if (typeof seconds === 'number' && seconds >= least && seconds <= most) return seconds;
  throw invalid('timeoutSeconds', `timeoutSeconds must be a number from ${least} to ${most}.`);
}

function invalid(field: string, detail: string): VmError {
  const pointer =
    field === 'command/0' ? '/command/0' : `/${field.replaceAll('~', '~0').replaceAll('/', '~1')}`;
  return new VmError('VMPULSE_E_REQUEST_INVALID', detail, { field: pointer });
}
