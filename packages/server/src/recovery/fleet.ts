/** The fleet brake: who failed of late, who is being recovered, how the host is. */
import { fleetWindowMs, hostLookMs } from '../limits.ts';
import type { RecoveryBook } from './book.ts';
import { isRecovering } from './look.ts';
import type { Brake } from './plan.ts';
import type { Incident } from './record.ts';

/** Stops that are kept to tell whether many fail together. */
const maxStops = 1_000;

/** What all machines share. */
export class Fleet {
  readonly #book: RecoveryBook;
  readonly #lookAtHost: () => string | null;
  #stops: { readonly vmId: string; readonly atMs: number }[] = [];
  #looked: { readonly atMs: number; readonly trouble: string | null } | null = null;

  constructor(book: RecoveryBook, lookAtHost: () => string | null) {
    this.#book = book;
    this.#lookAtHost = lookAtHost;
  }

  /** A guest stopped, whatever its policy. */
  noteStop(vmId: string, atMs: number): void {
    const fresh = this.#stops.filter((each) => each.vmId !== vmId && each.atMs > atMs - 60 * fleetWindowMs);
    this.#stops = [...fresh, { vmId, atMs }].slice(-maxStops);
  }

  /** The brake as it is for one machine. */
  brake(vmId: string, incident: Incident): Brake {
    const { atOnce } = this.#book.serverDefault;
    const mass = this.#isMass(vmId, incident, atOnce);
    if (!mass) return { mass, others: 0, atOnce, hostTrouble: null };
    return { mass, others: this.#countOthers(vmId), atOnce, hostTrouble: this.#hostTrouble() };
  }

  /** Do many fail together: told so by the cohort rule, or as many stops within a minute as may recover at once? */
  #isMass(vmId: string, { correlated, stoppedMs }: Incident, atOnce: number): boolean {
    if (correlated) return true;
    const isNear = (atMs: number): boolean => Math.abs(atMs - stoppedMs) <= fleetWindowMs;
    const near = this.#stops.filter((each) => each.vmId !== vmId && isNear(each.atMs));
    return near.length + 1 >= Math.max(2, atOnce);
  }

  #countOthers(vmId: string): number {
    const nowMs = this.#book.nowMs();
    let others = 0;
    for (const id of this.#book.stepped) {
      const record = this.#book.records.get(id);
      if (id !== vmId && record !== undefined && isRecovering(record, nowMs)) others += 1;
    }
    return others;
  }

  #hostTrouble(): string | null {
    const atMs = this.#book.nowMs();
    if (this.#looked === null || atMs - this.#looked.atMs >= hostLookMs) {
      this.#looked = { atMs, trouble: this.#lookAtHost() };
    }
    return this.#looked.trouble;
  }
}
