/** Changes a configuration: what a running machine cannot take, one event a key, what waits for the next start. */
import { isActive, VmError, type CompleteVmConfiguration } from '@vmpulse/wire';
import { changedKeys } from './configuration-change.ts';
import type { Machine } from './machine.ts';

/**
 * Takes `changed` (complete and checked). `rename` takes the new name, or throws. Resolves when durable.
 * Errors: VM_E_PREF_VM_ACTIVE, VMPULSE_E_OPERATION_IN_PROGRESS while the machine is deleted, VMPULSE_E_LOG_UNAVAILABLE.
 */
export async function changeMachine(
  machine: Machine,
  changed: CompleteVmConfiguration,
  rename: () => void,
): Promise<void> {
  const { record, state, slot, host } = machine;
  if (slot?.operation === 'delete') {
    throw new VmError(
      'VMPULSE_E_OPERATION_IN_PROGRESS',
      `${machine.name} is being deleted; it cannot be changed.`,
    );
  }
  const keys = changedKeys(record.configuration, changed);
  if (keys.length === 0) return;
  const active = isActive(state) || machine.phase.kind === 'held';
  if (changed.name !== record.configuration.name) {
    if (active) {
      const detail = `${machine.name} is ${state}; turn it off or save it first, then rename it.`;
      throw new VmError('VM_E_PREF_VM_ACTIVE', detail, { field: '/name' });
    }
    rename();
  }
  machine.amend({ configuration: changed });
  machine.watch.rename(machine.reference);
  machine.watch.setConfiguration(changed);
  // The first event carries the record, so that none is told of a change that was not stored; the others must not: a
  // change of 1,000 values would be as many copies of all of them.
  const put = machine.toRecord();
  const written = keys.map(({ key, value, hardware }, index) => {
    const effective = hardware && active ? ('nextStart' as const) : ('now' as const);
    return host.journal.appendDurably(
      'configurationChanged',
      machine.reference,
      { key, value, effective },
      index === 0 ? { put } : undefined,
    );
  });
  const results = await Promise.allSettled(written);
  for (const result of results) if (result.status === 'rejected') throw VmError.from(result.reason);
}
