/** What the server answers is looked at before it is believed: a wrong shape is a VmError, never a TypeError later. */
import {
  type DeadLetter,
  type CompleteRecoveryDefault,
  type EventPage,
  type GuestExecutionResult,
  type GuestFreezeResult,
  type GuestParameter,
  type HoldInfo,
  type ScriptInfo,
  type ScriptSettings,
  type IncidentContent,
  type IncidentInfo,
  type RecoveryInfo,
  type ServerInfo,
  type SubscriptionInfo,
  type SubscriptionLease,
  type SubscriptionLoss,
  type SubscriptionRewind,
  type TaskInfo,
  type VmEvent,
  type VmInfo,
  VmError,
  type WebhookDeadLetter,
  type WebhookInfo,
  type WebhookSecret,
  type WebhookTest,
  eventTypePrefix,
  vmStates,
} from '@vmpulse/wire';

type Fields = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSeq(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function unexpected(what: string): VmError {
  return new VmError(
    'E_UNEXPECTED',
    `The server's answer is no ${what}; is this address a vmpulse server of the same version?`,
  );
}

/** GET /v1/server. */
export function readServerInfo(value: unknown): ServerInfo {
  if (
    !isObject(value) ||
    typeof value['id'] !== 'string' ||
    !isSeq(value['seq']) ||
    !isSeq(value['oldestSeq'])
  ) {
    throw unexpected('description of a virtual server');
  }
  return value as unknown as ServerInfo;
}

/** One machine. */
export function readVmInfo(value: unknown): VmInfo {
  const good =
    isObject(value) &&
    typeof value['id'] === 'string' &&
    typeof value['name'] === 'string' &&
    vmStates.includes(value['state'] as VmInfo['state']) &&
    isObject(value['guest']);
  if (!good) throw unexpected('description of a virtual machine');
  return value as unknown as VmInfo;
}

/** One task. */
export function readTaskInfo(value: unknown): TaskInfo {
  if (!isObject(value) || typeof value['id'] !== 'string' || typeof value['isComplete'] !== 'boolean') {
    throw unexpected('description of a task');
  }
  return value as unknown as TaskInfo;
}

/** One hold. */
export function readHoldInfo(value: unknown): HoldInfo {
  const good =
    isObject(value) &&
    (value['scope'] === 'vm' || value['scope'] === 'all') &&
    typeof value['reason'] === 'string' &&
    typeof value['until'] === 'string' &&
    (value['vm'] === undefined || isObject(value['vm']));
  if (!good) throw unexpected('hold');
  return value as unknown as HoldInfo;
}

/** One webhook. */
export function readWebhookInfo(value: unknown): WebhookInfo {
  const good =
    isObject(value) &&
    typeof value['name'] === 'string' &&
    typeof value['url'] === 'string' &&
    typeof value['enabled'] === 'boolean' &&
    isSeq(value['cursor']) &&
    isObject(value['filter']);
  if (!good) throw unexpected('webhook');
  return value as unknown as WebhookInfo;
}

/** One webhook with its new secret. */
export function readWebhookSecret(value: unknown): WebhookInfo & WebhookSecret {
  const info = readWebhookInfo(value);
  if (typeof (info as { secret?: unknown }).secret !== 'string') throw unexpected('webhook with its secret');
  return info as WebhookInfo & WebhookSecret;
}

/** How a test went. */
export function readWebhookTest(value: unknown): WebhookTest {
  if (!isObject(value) || typeof value['accepted'] !== 'boolean' || typeof value['tookMs'] !== 'number') {
    throw unexpected('result of a test');
  }
  return value as unknown as WebhookTest;
}

/** One dead letter. */
export function readWebhookDeadLetter(value: unknown): WebhookDeadLetter {
  if (!isObject(value) || !isSeq(value['seq']) || typeof value['error'] !== 'string') {
    throw unexpected('dead letter');
  }
  readEvent(value['event']);
  return value as unknown as WebhookDeadLetter;
}

/** How many dead letters. */
export function readWebhookCount(value: unknown): number {
  const count = isObject(value) ? value['count'] : undefined;
  if (!isSeq(count)) throw unexpected('number of dead letters');
  return count;
}

/** One script on an event. */
export function readScriptInfo(value: unknown): ScriptInfo {
  const good =
    isObject(value) &&
    (value['scope'] === 'vm' || value['scope'] === 'server') &&
    typeof value['trigger'] === 'string' &&
    Array.isArray(value['command']) &&
    value['command'].every((part) => typeof part === 'string') &&
    (value['vm'] === undefined || isObject(value['vm']));
  if (!good) throw unexpected('script');
  return value as unknown as ScriptInfo;
}

/** Which scripts run. */
export function readScriptSettings(value: unknown): ScriptSettings {
  const flags = isObject(value) ? [value['vsScriptsEnabled'], value['vmScriptsEnabled']] : [undefined];
  if (!flags.every((one) => typeof one === 'boolean')) throw unexpected('settings of scripts');
  return value as ScriptSettings;
}

/** How a machine's recovery stands. */
export function readRecoveryInfo(value: unknown): RecoveryInfo {
  const good =
    isObject(value) && isObject(value['vm']) && isObject(value['policy']) && Array.isArray(value['history']);
  if (!good) throw unexpected('recovery of a machine');
  return value as unknown as RecoveryInfo;
}

/** What the server does by default. */
export function readRecoveryDefault(value: unknown): CompleteRecoveryDefault {
  if (!isObject(value) || typeof value['action'] !== 'string') throw unexpected('policy of recovery');
  return value as unknown as CompleteRecoveryDefault;
}

/** One incident. */
export function readIncidentInfo(value: unknown): IncidentInfo {
  const good =
    isObject(value) && isSeq(value['seq']) && isObject(value['vm']) && Array.isArray(value['files']);
  if (!good) throw unexpected('incident');
  return value as unknown as IncidentInfo;
}

/** A file of an incident. */
export function readIncidentContent(value: unknown): IncidentContent {
  const good = isObject(value) && typeof value['base64'] === 'string' && typeof value['bytes'] === 'number';
  if (!good) throw unexpected('file of an incident');
  return value as unknown as IncidentContent;
}

function isOutput(value: unknown): boolean {
  return isObject(value) && typeof value['text'] === 'string';
}

/** How a program in a guest ended. */
export function readGuestExecutionResult(value: unknown): GuestExecutionResult {
  if (!isObject(value) || !isOutput(value['stdout']) || !isOutput(value['stderr'])) {
    throw unexpected("program's end");
  }
  return value as unknown as GuestExecutionResult;
}

/** A parameter of a guest. */
export function readGuestParameter(value: unknown): GuestParameter {
  if (!isObject(value) || typeof value['value'] !== 'string') throw unexpected("guest's parameter");
  return value as unknown as GuestParameter;
}

/** What a freeze or a thaw did. */
export function readGuestFreezeResult(value: unknown): GuestFreezeResult {
  if (!isObject(value) || typeof value['fileSystems'] !== 'number') {
    throw unexpected('number of file systems');
  }
  return value as unknown as GuestFreezeResult;
}

/** An answer that is one list under `key`. */
export function readList<T>(value: unknown, key: string, readItem: (item: unknown) => T): T[] {
  const list = isObject(value) ? value[key] : undefined;
  if (!Array.isArray(list)) throw unexpected(`list of ${key}`);
  return list.map(readItem);
}

/** One event. Types of a newer server pass: they are events too. */
export function readEvent(value: unknown): VmEvent {
  const good =
    isObject(value) &&
    isSeq(value['seq']) &&
    value['seq'] > 0 &&
    typeof value['type'] === 'string' &&
    value['type'].startsWith(eventTypePrefix) &&
    typeof value['source'] === 'string' &&
    typeof value['time'] === 'string' &&
    isObject(value['data']) &&
    (value['data']['vm'] === undefined || isObject(value['data']['vm']));
  if (!good) throw unexpected('event');
  return value as unknown as VmEvent;
}

/** One subscription. */
export function readSubscriptionInfo(value: unknown): SubscriptionInfo {
  const good =
    isObject(value) &&
    typeof value['name'] === 'string' &&
    isSeq(value['cursor']) &&
    isSeq(value['lag']) &&
    isSeq(value['deadLetters']);
  if (!good) throw unexpected('subscription');
  return value as unknown as SubscriptionInfo;
}

/** One dead letter. */
export function readDeadLetter(value: unknown): DeadLetter {
  if (!isObject(value) || !isSeq(value['seq']) || typeof value['reason'] !== 'string') {
    throw unexpected('dead letter');
  }
  return { ...(value as unknown as DeadLetter), event: readEvent(value['event']) };
}

/** A stream's message that it serves from here on. */
export function readLease(value: unknown): SubscriptionLease {
  if (!isObject(value) || typeof value['lease'] !== 'string' || !isSeq(value['cursor'])) {
    throw unexpected('lease');
  }
  return value as unknown as SubscriptionLease;
}

/** A stream's message that it goes back. */
export function readRewind(value: unknown): SubscriptionRewind {
  if (!isObject(value) || !isSeq(value['seq'])) throw unexpected('rewind');
  return value as unknown as SubscriptionRewind;
}

/** A stream's message that events were missed. */
export function readLoss(value: unknown): SubscriptionLoss {
  if (!isObject(value) || !isSeq(value['from']) || !isSeq(value['to'])) throw unexpected('loss');
  return value as unknown as SubscriptionLoss;
}

/** One page of events after `after`, in order of seq. */
export function readEventPage(value: unknown, after: number): EventPage<VmEvent> {
  const next = isObject(value) ? value['next'] : undefined;
  const events = readList(value, 'events', readEvent);
  if (!isSeq(next) || next < after) throw unexpected('page of events');
  let last = after;
  for (const event of events) {
    if (event.seq <= last) throw unexpected('page of events in order');
    last = event.seq;
  }
  return { events, next: Math.max(next, last) };
}
