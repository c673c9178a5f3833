/** How many machines there are of each kind: one pass, and nothing made for each machine, for it is asked often. */
import { type Verdict, type VmState, vmStates } from '@vmpulse/wire';
import type { Machine } from './machine.ts';

/** By state; each state is there. */
export function countedStates(machines: readonly Machine[]): Record<VmState, number> {
  const counts = Object.fromEntries(vmStates.map((state) => [state, 0])) as Record<VmState, number>;
  for (const { state } of machines) counts[state] += 1;
  return counts;
}

/** By verdict; those that no guest has are not there. */
export function countedVerdicts(machines: readonly Machine[]): Partial<Record<Verdict, number>> {
  const counts: Partial<Record<Verdict, number>> = {};
  for (const { watch } of machines) {
    const { verdict } = watch.info();
    counts[verdict] = (counts[verdict] ?? 0) + 1;
  }
  return counts;
}
