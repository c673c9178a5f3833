/** Finding the machine that a command names, and guessing the one that was meant. */
import { type VirtualMachine, type VirtualServer, VmError } from '@vmpulse/client';
import { distance } from 'fastest-levenshtein';

/** The name that `wanted` was most likely meant to be, or undefined when none is near. */
export function nearestName(wanted: string, names: readonly string[]): string | undefined {
  const key = wanted.toLowerCase();
  const near = names
    .map((name) => ({ name, steps: distance(key, name.toLowerCase()) }))
    .toSorted((a, b) => a.steps - b.steps)[0];
  return near !== undefined && near.steps <= Math.max(1, Math.floor(wanted.length / 3))
    ? near.name
    : undefined;
}

/** Errors: VM_E_VM_UNKNOWN, which names the machine that was probably meant. */
export async function findMachine(server: VirtualServer, nameOrId: string): Promise<VirtualMachine> {
  const vm = await server.tryFindVirtualMachine(nameOrId);
  if (vm !== undefined) return vm;
  const meant = nearestName(
    nameOrId,
    (await server.virtualMachines()).map((one) => one.name),
  );
  const hint = meant === undefined ? 'see `vmpulse vm list`' : `did you mean '${meant}'?`;
  throw new VmError('VM_E_VM_UNKNOWN', `no machine '${nameOrId}'; ${hint}`);
}
