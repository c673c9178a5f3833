/** Which events a webhook is told. */
import {
  type EventType,
  type ToldVerdict,
  type VmEvent,
  type WebhookFilter,
  eventTypeOf,
  nameKey,
} from '@vmpulse/wire';

const ownTypes: ReadonlySet<EventType> = new Set(['webhookDisabled', 'webhookDeadLetter', 'webhookMissed']);

/** Is the event about a webhook? The failure to deliver such a one is not told by an event: it would have no end. */
export function isAboutWebhooks(event: VmEvent): boolean {
  return ownTypes.has(eventTypeOf(event));
}

/** Does `event` pass the filter of the webhook `name`? What is about itself never does. */
export function passes(event: VmEvent, filter: WebhookFilter, name: string): boolean {
  const data = event.data as { webhook?: string; verdict?: ToldVerdict };
  if (isAboutWebhooks(event) && data.webhook === name) return false;
  const { types, machines, verdicts } = filter;
  const type = eventTypeOf(event);
  if (types !== undefined && !types.includes(type)) return false;
  if (machines !== undefined && !machines.some((machine) => isMachine(event, machine))) return false;
  if (verdicts === undefined) return true;
  return data.verdict === undefined ? types !== undefined : verdicts.includes(data.verdict);
}

function isMachine({ data: { vm } }: VmEvent, machine: string): boolean {
  if (vm === undefined) return false;
  return nameKey(vm.name) === nameKey(machine) || vm.id === machine.toLowerCase();
}
