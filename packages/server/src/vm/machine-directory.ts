/** Finds machines by name (any case) or UUID, and keeps names unique. */
import { nameKey, VmError } from '@vmpulse/wire';
import type { Machine } from './machine.ts';
import { didYouMean } from './suggestion.ts';

/** All machines of a server. */
export class MachineDirectory {
  readonly #byId = new Map<string, Machine>();
  /** Name key to the id that has it; a name is taken before its machine exists. */
  readonly #names = new Map<string, string>();

  get size(): number {
    return this.#byId.size;
  }

  /** In no order. */
  all(): Machine[] {
    return [...this.#byId.values()];
  }

  /** By name. */
  sorted(): Machine[] {
    return this.all()
      .map((machine) => ({ machine, key: nameKey(machine.name) }))
      .toSorted((a, b) => (a.key < b.key ? -1 : 1))
      .map(({ machine }) => machine);
  }

  has(id: string): boolean {
    return this.#byId.has(id);
  }

  /** Errors: VM_E_VM_UNKNOWN. */
  find(vm: string): Machine {
    const machine = this.#byId.get(vm.toLowerCase()) ?? this.#byId.get(this.#names.get(nameKey(vm)) ?? '');
    if (machine !== undefined) return machine;
    const names = this.all().map(({ name }) => name);
    const shown = vm.length > 64 ? `${vm.slice(0, 64)}…` : vm;
    const hint = didYouMean(vm, names) || '; see the list of machines (vmpulse vm list).';
    throw new VmError('VM_E_VM_UNKNOWN', `There is no machine '${shown}'${hint}`);
  }

  /** Takes a name for `id`, giving up `former`. Errors: VM_E_CONFIG_DUPLICATE_NAME. */
  takeName(name: string, id: string, former?: string): void {
    const holder = this.#names.get(nameKey(name));
    if (holder !== undefined && holder !== id) {
      const detail = `A machine named '${this.#byId.get(holder)?.name ?? name}' exists already; choose another name.`;
      throw new VmError('VM_E_CONFIG_DUPLICATE_NAME', detail, { field: '/name' });
    }
    // Found by it, the one would hide the other.
    if (name.toLowerCase() !== id && this.#byId.has(name.toLowerCase())) {
      const detail = `'${name}' is the UUID of another machine; choose another name.`;
      throw new VmError('VM_E_CONFIG_DUPLICATE_NAME', detail, { field: '/name' });
    }
    if (former !== undefined) this.#giveUp(former, id);
    this.#names.set(nameKey(name), id);
  }

  add(machine: Machine): void {
    this.#byId.set(machine.id, machine);
    if (!this.#names.has(nameKey(machine.name))) this.#names.set(nameKey(machine.name), machine.id);
  }

  remove(machine: Machine): void {
    this.#byId.delete(machine.id);
    this.#giveUp(machine.name, machine.id);
  }

  /** Of two machines that were stored under one name only one has it. */
  #giveUp(name: string, id: string): void {
    if (this.#names.get(nameKey(name)) === id) this.#names.delete(nameKey(name));
  }
}
