/** The holds of a scripted server. */
import { type HoldInfo, type HoldRequest, VmError, type VmInfo } from '@vmpulse/wire';

/** Wall time at which every scripted hold begins, ms since 1970. */
const sinceMs = 1_700_000_000_000;

/** One for each machine, one for all, in the order they began. */
export class ScriptedHolds {
  #holds: HoldInfo[] = [];

  /** What is answered to GET, PUT or DELETE of the hold of `vm` or, undefined, of all; null is no content. */
  ask(method: string, vm: VmInfo | undefined, body: unknown): object | null {
    if (method === 'GET') return { holds: this.#holds };
    const others = this.#holds.filter((hold) => hold.vm?.id !== vm?.id);
    if (method === 'PUT') {
      const { seconds, reason } = body as HoldRequest;
      const hold: HoldInfo = {
        scope: vm === undefined ? 'all' : 'vm',
        ...(vm === undefined ? {} : { vm: { id: vm.id, name: vm.name } }),
        reason,
        since: new Date(sinceMs).toISOString(),
        until: new Date(sinceMs + seconds * 1_000).toISOString(),
      };
      this.#holds = [...others, hold];
      return hold;
    }
    if (others.length === this.#holds.length) {
      throw new VmError('VMPULSE_E_NOT_FOUND', 'There is no such hold; see vmpulse holds.');
    }
    this.#holds = others;
    return null;
  }

  /** Writes into the machines which hold they are under. */
  show(vms: readonly VmInfo[]): void {
    for (const { id, guest } of vms) {
      const own = this.#holds.find(({ vm }) => vm?.id === id);
      guest.hold = own ?? this.#holds.find(({ scope }) => scope === 'all') ?? null;
    }
  }
}
