/**
 * Events in flight to one consumer, in the order they are sent. What was not taken goes back to be sent again with all
 * that was sent after it: the order stays. Replayed dead letters stand before the others, and hold nothing up.
 */
import type { VmEvent } from '@vmpulse/wire';
import { maxDeadLetters } from '../limits.ts';

/** One event in flight. */
export interface WindowItem {
  readonly event: VmEvent;
  /** A dead letter, delivered once more: acknowledged by itself. */
  readonly isReplay: boolean;
  state: 'queued' | 'sent' | 'settingAside';
  /** Counts what is sent, so that it is known what came after what; 0: not sent yet. */
  sentAs: number;
}

/** Bounded by whoever adds. */
export class DeliveryWindow {
  /** Replays first, then the others by seq. */
  #items: WindowItem[] = [];
  #replays = 0;
  /** Numbers of replays that are done with. */
  readonly #doneReplays = new Set<number>();
  #sends = 0;

  /** Without replays: those are bounded by the dead letters there are. */
  get size(): number {
    return this.#items.length - this.#replays;
  }

  /** Sent and neither acknowledged nor refused. */
  get inFlight(): number {
    return this.#items.filter(({ state }) => state === 'sent').length;
  }

  /** In the order they are to be sent. */
  get items(): readonly WindowItem[] {
    return this.#items;
  }

  /** The oldest that is no replay: the cursor stays before it. */
  get oldest(): VmEvent | undefined {
    return this.#items[this.#replays]?.event;
  }

  /** The one that waits longest for an answer: a consumer answers in the order they were sent. */
  get sentFirst(): WindowItem | undefined {
    let first: WindowItem | undefined;
    for (const item of this.#items) {
      if (item.state === 'sent' && (first === undefined || item.sentAs < first.sentAs)) first = item;
    }
    return first;
  }

  add(event: VmEvent): void {
    this.#items.push({ event, isReplay: false, state: 'queued', sentAs: 0 });
  }

  /** One that is there already stays as it is. */
  addReplay(event: VmEvent): void {
    if (this.#replayOf(event.seq) !== undefined) return;
    this.#items.splice(this.#replays, 0, { event, isReplay: true, state: 'queued', sentAs: 0 });
    this.#replays += 1;
  }

  /** It is about to be sent. */
  markSent(item: WindowItem): void {
    this.#sends += 1;
    item.state = 'sent';
    item.sentAs = this.#sends;
  }

  /** The one that was sent under this number and is not done with. */
  sent(seq: number): WindowItem | undefined {
    return this.#items.find(({ event, state }) => event.seq === seq && state === 'sent');
  }

  /**
   * Takes out what this acknowledges: a replay by its own number, of the others all up to it. Null, and nothing is
   * taken out, where one of them has not been sent (again).
   */
  acknowledge(seq: number): WindowItem[] | null {
    const replay = this.#replayOf(seq);
    // Said again of a replay that is done with, it must not count for what was sent under smaller numbers.
    if (replay === undefined && this.#doneReplays.has(seq)) return [];
    const [from, to] = replay === undefined ? this.#upTo(seq) : this.#placeOf(replay);
    const concerned = this.#items.slice(from, to);
    if (concerned.some(({ state }) => state === 'queued')) return null;
    const rest = concerned.filter(({ state }) => state !== 'sent');
    this.#items.splice(from, concerned.length, ...rest);
    if (replay !== undefined) this.#endReplays(replay, concerned.length - rest.length);
    return concerned.filter(({ state }) => state === 'sent');
  }

  /** `item` and all that was sent after it, replays among them, is to be sent again: the consumer threw it away. */
  rewind(item: WindowItem): void {
    for (const one of this.#items) {
      if (one.state === 'sent' && one.sentAs >= item.sentAs) one.state = 'queued';
    }
  }

  remove(item: WindowItem): void {
    const index = this.#items.indexOf(item);
    if (index === -1) return;
    this.#items.splice(index, 1);
    if (item.isReplay) this.#endReplays(item, 1);
  }

  /** Takes out what waits to be sent under this number. */
  removeQueued(seq: number): void {
    const queued = this.#items.filter(({ event, state }) => event.seq === seq && state === 'queued');
    for (const item of queued) this.remove(item);
  }

  /** Takes a replay out, whatever its state. */
  removeReplay(seq: number): void {
    const replay = this.#replayOf(seq);
    if (replay !== undefined) this.remove(replay);
  }

  /** Where those that are no replays begin, and where those up to `seq` end. */
  #upTo(seq: number): [from: number, to: number] {
    let to = this.#replays;
    while ((this.#items[to]?.event.seq ?? Number.POSITIVE_INFINITY) <= seq) to += 1;
    return [this.#replays, to];
  }

  #endReplays({ event }: WindowItem, count: number): void {
    this.#replays -= count;
    if (count > 0) this.#doneReplays.add(event.seq);
    const [oldest] = this.#doneReplays;
    if (this.#doneReplays.size > maxDeadLetters && oldest !== undefined) this.#doneReplays.delete(oldest);
  }

  #placeOf(item: WindowItem): [from: number, to: number] {
    const from = this.#items.indexOf(item);
    return [from, from + 1];
  }

  #replayOf(seq: number): WindowItem | undefined {
    for (const item of this.#items) {
      if (!item.isReplay) return undefined;
      if (item.event.seq === seq) return item;
    }
    return undefined;
  }
}
