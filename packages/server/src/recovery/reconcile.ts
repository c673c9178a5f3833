/** Brings what recovery knows in line with the machines as they are, where events were missed. */
import type { RecoveryPolicy, VmInfo } from '@vmpulse/wire';
import type { RecoveryBook } from './book.ts';
import { standingIncident } from './look.ts';
import { emptyRecord, withoutBegun } from './record.ts';

/**
 * Stops that are over are forgotten, and those that stand and were not read of are taken up. Answers the ids of the
 * machines of which something else is known now, which is to be stored.
 */
export function reconcile(
  book: RecoveryBook,
  machines: readonly VmInfo[],
  policyOf: (vm: VmInfo) => RecoveryPolicy,
): string[] {
  const changed: string[] = [];
  const there = new Set(machines.map(({ id }) => id));
  for (const vmId of book.records.keys()) {
    if (there.has(vmId)) continue;
    book.forget(vmId);
    changed.push(vmId);
  }
  for (const vm of machines) {
    const record = book.records.get(vm.id) ?? emptyRecord({ id: vm.id, name: vm.name });
    const { stoppedSeq, verdict } = vm.guest;
    if (record.incident !== null) {
      if (stoppedSeq !== null || verdict !== 'alive') continue;
      book.set({ ...record, incident: null, attempts: withoutBegun(record.attempts) });
    } else {
      const incident = policyOf(vm).action === 'none' ? null : standingIncident(vm, book.nowMs());
      if (incident === null) continue;
      book.set({ ...record, incident });
    }
    changed.push(vm.id);
  }
  return changed;
}
