/**
 * What was lost at the bound of the write queue, until the log can tell it. Events are lost for good and counted. What
 * they meant for the stored machines is not:
 *  - record and state: the latest of each machine is kept, and written together with the eventsLost event, but only
 *    for machines that are stored: it is the truth about a machine that went on living (its pid, above all);
 *  - a creation or a removal fails whole: its caller got VMPULSE_E_LOG_UNAVAILABLE and the store stays as it was;
 *  - that the guest began another life is kept: the verdict of its open stop is of the one before;
 *  - a condition is neither opened nor closed: conditions say what the log's readers were told, and a lost event
 *    was told to nobody. After a restart the monitor tells again what is still so.
 */
import { type EventDraft, messageIds } from '@vmpulse/wire';
import { maxMachines } from '../limits.ts';
import type { RowEffect, WriteItem } from './protocol.ts';

interface Kept {
  record: string | undefined;
  state: string | undefined;
  forgetsVerdict: boolean;
}

/** Dropped events since the last eventsLost. */
export class Loss {
  #lost = 0;
  readonly #kept = new Map<string, Kept>();

  /** Counts a dropped item and keeps what it meant for its machine. */
  add(item: WriteItem): void {
    if (item.event !== null) this.#lost += 1;
    for (const effect of item.effects) {
      if (effect.op === 'put') this.#keep(effect.vmId, { record: effect.record });
      else if (effect.op === 'state') this.#keep(effect.vmId, { state: effect.state });
      else if (effect.op === 'forgetVerdict') this.#keep(effect.vmId, { forgetsVerdict: true });
    }
  }

  /** Whether there is something to tell or to write. */
  get isEmpty(): boolean {
    return this.#lost === 0 && this.#kept.size === 0;
  }

  /** The event that tells it, null where only records were dropped; and what to write with it. Empties this. */
  take(timeMs: number, reason: string): { draft: EventDraft | null; effects: RowEffect[] } {
    const effects = [...this.#kept].flatMap(([vmId, { record, state, forgetsVerdict }]): RowEffect[] => [
      { op: 'keep', vmId, record, state },
      ...(forgetsVerdict ? [{ op: 'forgetVerdict' as const, vmId }] : []),
    ]);
    const draft: EventDraft | null =
      this.#lost === 0
        ? null
        : {
            type: 'eventsLost',
            timeMs,
            data: { lost: this.#lost, messageId: messageIds.eventsLost, reason },
          };
    this.#lost = 0;
    this.#kept.clear();
    return { draft, effects };
  }

  #keep(vmId: string, latest: Partial<Kept>): void {
    const kept = this.#kept.get(vmId);
    // As many as there can be machines; beyond that it must be nonsense, and is lost.
    if (kept === undefined && this.#kept.size >= maxMachines) return;
    const before = {
      record: kept?.record,
      state: kept?.state,
      forgetsVerdict: kept?.forgetsVerdict ?? false,
    };
    this.#kept.set(vmId, { ...before, ...latest });
  }
}
