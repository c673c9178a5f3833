/** Which events a webhook is told. */
import {
  type EventType,
  type ToldVerdict,
  type VmEvent,
  type VmReference,
  type WebhookFilter,
  eventTypeOf,
  nameKey,
} from '@vmpulse/wire';

const ownTypes: ReadonlySet<EventType> = new Set(['webhookDisabled', 'webhookDeadLetter', 'webhookMissed']);

/** Is the event about a webhook? The failure to deliver such a one is not told by an event: it would have no end. */
export function isAboutWebhooks(event: VmEvent): boolean {
  return ownTypes.has(eventTypeOf(event));
}

/** Does an event pass the filter of the webhook `name`? What is about itself never does. */
export function compileFilter(filter: WebhookFilter, name: string): (event: VmEvent) => boolean {
  const { types, machines, verdicts } = filter;
  const keys = machines === undefined ? undefined : new Set(machines.map((machine) => nameKey(machine)));
  return (event) => {
    const { vm, webhook, verdict } = event.data as Subject;
    if (isAboutWebhooks(event) && webhook === name) return false;
    if (types !== undefined && !types.includes(eventTypeOf(event))) return false;
    if (keys !== undefined && !(vm !== undefined && (keys.has(nameKey(vm.name)) || keys.has(vm.id)))) {
      return false;
    }
    if (verdicts === undefined) return true;
    return verdict === undefined ? types !== undefined : verdicts.includes(verdict);
  };
}

/** What of an event's data a filter looks at. */
interface Subject {
  readonly vm?: VmReference;
  readonly webhook?: string;
  readonly verdict?: ToldVerdict;
}
