/** Which events a subscription takes: a pure function of the event and the filter. */
import { type SubscriptionFilter, type VmEvent, eventTypeOf, nameKey } from '@vmpulse/wire';

function setOf<T>(values: readonly T[] | null | undefined): ReadonlySet<T> | null {
  return values === undefined || values === null ? null : new Set(values);
}

/** Compiles a filter. A machine is matched by its id or by the name the event tells. */
export function compileFilter(filter: SubscriptionFilter): (event: VmEvent) => boolean {
  const types = setOf(filter.types);
  const machines = setOf(filter.machines?.map(nameKey));
  const verdicts = setOf(filter.verdicts);
  return (event) => {
    if (types !== null && !types.has(eventTypeOf(event))) return false;
    const { vm } = event.data;
    if (machines !== null && (vm === undefined || !(machines.has(nameKey(vm.name)) || machines.has(vm.id)))) {
      return false;
    }
    if (verdicts === null || !('verdict' in event.data)) return true;
    return verdicts.has(event.data.verdict);
  };
}
