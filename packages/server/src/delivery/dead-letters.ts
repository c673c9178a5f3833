/**
 * What could not be delivered, kept until an operator replays or drops it. A letter is stored in the transaction of the
 * event that tells of it (deliverySetAside); one that was such an event itself is stored and told by none, so that two
 * broken consumers never feed each other. Bounded: at the bound the oldest makes room, and the event says which.
 */
import { type DeadLetter, VmError, type VmEvent, eventTypeOf, isEvent, messageIds } from '@vmpulse/wire';
import type { Clock } from '../clock.ts';
import type { EventLog } from '../event/log.ts';
import { maxDeadLetters } from '../limits.ts';
import type { DocumentStore, StoredDocument } from '../machine-record.ts';

const kind = 'subscription.deadLetter';

interface StoredLetter extends DeadLetter {
  readonly owner: string;
}

/** What dead letters are written with. */
export interface DeadLetterPorts {
  readonly clock: Clock;
  readonly log: EventLog;
  readonly store: DocumentStore;
}

/** Every stored letter, by its owner. */
export async function loadDeadLetters(store: DocumentStore): Promise<Map<string, DeadLetter[]>> {
  const letters = new Map<string, DeadLetter[]>();
  for (const { value } of await store.loadDocuments(kind)) {
    const { owner, ...letter } = value as StoredLetter;
    const others = letters.get(owner);
    if (others === undefined) letters.set(owner, [letter]);
    else others.push(letter);
  }
  return letters;
}

/** The dead letters of one owner. */
export class DeadLetters {
  readonly #ports: DeadLetterPorts;
  readonly #owner: string;
  readonly #letters = new Map<number, DeadLetter>();
  /** Being dropped to make room. */
  readonly #leaving = new Set<number>();
  /** Being stored. */
  readonly #coming = new Set<number>();
  /** Its owner is being deleted. */
  #retired = false;

  constructor(ports: DeadLetterPorts, owner: string, stored: readonly DeadLetter[]) {
    this.#ports = ports;
    this.#owner = owner;
    for (const letter of stored) this.#letters.set(letter.seq, letter);
  }

  get size(): number {
    return this.#letters.size;
  }

  has(seq: number): boolean {
    return this.#letters.has(seq);
  }

  /** By seq. */
  list(): DeadLetter[] {
    return [...this.#letters.values()].toSorted((a, b) => a.seq - b.seq);
  }

  /** Errors: VMPULSE_E_NOT_FOUND. */
  get(seq: number): DeadLetter {
    const letter = this.#letters.get(seq);
    if (letter !== undefined) return letter;
    throw new VmError(
      'VMPULSE_E_NOT_FOUND',
      `'${this.#owner}' has no dead letter ${seq}; vmpulse subscription dead-letters ${this.#owner} lists them.`,
    );
  }

  /** Sets an event aside; resolves when that is durable. Errors: VMPULSE_E_LOG_UNAVAILABLE. */
  async add(event: VmEvent, attempts: number, reason: string): Promise<void> {
    const { clock, log, store } = this.#ports;
    const { seq } = event;
    this.#requireOwner();
    const timeMs = Math.trunc(clock.wallMs());
    const setAsideAt = new Date(timeMs).toISOString();
    const letter: DeadLetter = { seq, event, attempts, reason, setAsideAt, replaying: false };
    const dropped = this.#makeRoom(seq);
    if (dropped !== undefined) this.#leaving.add(dropped);
    const documents = [this.#document(seq, letter)];
    if (dropped !== undefined) documents.push(this.#document(dropped, null));
    this.#coming.add(seq);
    try {
      if (isEvent(event, 'deliverySetAside')) {
        await store.putDocuments(documents);
      } else {
        const data = {
          messageId: messageIds.deliverySetAside,
          subscription: this.#owner,
          setAsideSeq: seq,
          setAsideType: eventTypeOf(event),
          attempts,
          reason,
          ...(dropped === undefined ? {} : { droppedSeq: dropped }),
        };
        await log.append({ type: 'deliverySetAside', timeMs, data }, { documents });
      }
      this.#letters.set(seq, letter);
      if (dropped !== undefined) this.#letters.delete(dropped);
    } finally {
      this.#coming.delete(seq);
      if (dropped !== undefined) this.#leaving.delete(dropped);
    }
  }

  /** Marks one to be delivered once more. Errors: VMPULSE_E_NOT_FOUND, VMPULSE_E_LOG_UNAVAILABLE. */
  async replay(seq: number): Promise<DeadLetter> {
    const letter = { ...this.get(seq), replaying: true };
    this.#requireOwner();
    await this.#ports.store.putDocuments([this.#document(seq, letter)]);
    this.#letters.set(seq, letter);
    return letter;
  }

  /** Removes one; nothing where there is none. Errors: VMPULSE_E_LOG_UNAVAILABLE. */
  async drop(seq: number): Promise<void> {
    if (!this.#letters.has(seq)) return;
    await this.#ports.store.putDocuments([this.#document(seq, null)]);
    this.#letters.delete(seq);
  }

  /** What removes them all from the store, those being stored too. Nothing is stored any more until `restore`. */
  retire(): StoredDocument[] {
    this.#retired = true;
    return [...new Set([...this.#letters.keys(), ...this.#coming])].map((seq) => this.#document(seq, null));
  }

  /** The owner stays after all. */
  restore(): void {
    this.#retired = false;
  }

  #requireOwner(): void {
    if (this.#retired) throw new VmError('VMPULSE_E_NOT_FOUND', `'${this.#owner}' is being deleted.`);
  }

  #makeRoom(seq: number): number | undefined {
    if (this.#letters.has(seq) || this.#letters.size - this.#leaving.size < maxDeadLetters) return undefined;
    return this.list().find((letter) => !this.#leaving.has(letter.seq))?.seq;
  }

  #document(seq: number, letter: DeadLetter | null): StoredDocument {
    const value = letter === null ? null : { ...letter, owner: this.#owner };
    return { kind, key: `${this.#owner}/${String(seq).padStart(16, '0')}`, value };
  }
}
