/**
 * A lazy timer wheel over slots, in typed arrays: a tick never touches it. A slot lies in the bucket of its next
 * check; when that comes, whoever visits it says when to look again. Dues beyond the horizon are looked at early,
 * found not due, and laid in again.
 */

/** Width of a bucket, milliseconds: the coarseness added to a deadline. */
export const bucketMs = 10;
/** Buckets: the horizon is 81.92 s, longer than the longest interval. */
const bucketCount = 8192;
const none = -1;
/** Visits in one go, at most some 10 ms of work; what is left is visited once the lane has been drained again. */
export const maxVisitsPerTurn = 1_024;

/** Looks at a slot that is due. Answers when to look again (monotonic ms), or -1 to leave the wheel. */
export type Visit = (slot: number) => number;

/** The wheel. Times are monotonic milliseconds. */
export class Wheel {
  private readonly heads = new Int32Array(bucketCount).fill(none);
  private next: Int32Array;
  private previous: Int32Array;
  /** Bucket index a slot lies in, or none. */
  private place: Int32Array;
  /** The bucket (counted from time 0) up to which everything has been visited. */
  private cursor: number;
  private members = 0;
  /** Slots of the bucket under the cursor; those from `visited` on are still to be visited. */
  private readonly due: number[] = [];
  private visited = 0;

  constructor(capacity: number, nowMs: number) {
    this.next = new Int32Array(capacity).fill(none);
    this.previous = new Int32Array(capacity).fill(none);
    this.place = new Int32Array(capacity).fill(none);
    this.cursor = Math.floor(nowMs / bucketMs);
  }

  /** Slots in the wheel. */
  get size(): number {
    return this.members;
  }

  /** Makes room for slots up to `capacity`. */
  grow(capacity: number): void {
    const widen = (old: Int32Array): Int32Array => {
      const wide = new Int32Array(capacity).fill(none);
      wide.set(old);
      return wide;
    };
    this.next = widen(this.next);
    this.previous = widen(this.previous);
    this.place = widen(this.place);
  }

  /** Lays the slot in for `dueMs`, taking it from where it was. A due in the past is due at the next advance. */
  put(slot: number, dueMs: number): void {
    this.remove(slot);
    const wanted = Math.ceil(dueMs / bucketMs);
    const bucket = Math.min(Math.max(wanted, this.cursor + 1), this.cursor + bucketCount - 1) % bucketCount;
    const head = this.heads[bucket] as number;
    this.next[slot] = head;
    this.previous[slot] = none;
    if (head !== none) this.previous[head] = slot;
    this.heads[bucket] = slot;
    this.place[slot] = bucket;
    this.members += 1;
  }

  /** Takes the slot out; does nothing when it is not in. */
  remove(slot: number): void {
    const bucket = this.place[slot] as number;
    if (bucket === none) return;
    const after = this.next[slot] as number;
    const before = this.previous[slot] as number;
    if (before === none) this.heads[bucket] = after;
    else this.next[before] = after;
    if (after !== none) this.previous[after] = before;
    this.place[slot] = none;
    this.members -= 1;
  }

  /**
   * Visits slots whose bucket ended at or before `nowMs`, in order and at most `maxVisitsPerTurn`: after a stall very
   * many are due, and visiting them must not be the next stall. `nextDueMs` is past while some are left.
   */
  advance(nowMs: number, visit: Visit): void {
    const end = Math.floor(nowMs / bucketMs);
    for (let left = maxVisitsPerTurn; ; left -= 1) {
      while (this.visited === this.due.length) {
        // After a stall longer than the horizon one turn of the wheel sees every slot.
        if (end - this.cursor > bucketCount) this.cursor = end - bucketCount;
        if (this.cursor >= end) return;
        this.cursor += 1;
        this.take(this.cursor % bucketCount);
      }
      if (left === 0) return;
      const slot = this.due[this.visited] as number;
      this.visited += 1;
      const againMs = visit(slot);
      if (againMs >= 0) this.put(slot, againMs);
    }
  }

  /** Empties a bucket into `due`: a visit may lay any slot in again without leading the walk astray. */
  private take(bucket: number): void {
    this.due.length = 0;
    this.visited = 0;
    for (let slot = this.heads[bucket] as number; slot !== none; slot = this.next[slot] as number) {
      this.place[slot] = none;
      this.due.push(slot);
    }
    this.heads[bucket] = none;
    this.members -= this.due.length;
  }

  /** When the next non-empty bucket ends, monotonic ms; undefined when the wheel is empty. */
  nextDueMs(): number | undefined {
    if (this.visited < this.due.length) return this.cursor * bucketMs;
    if (this.members === 0) return undefined;
    for (let ahead = 1; ahead < bucketCount; ahead += 1) {
      if (this.heads[(this.cursor + ahead) % bucketCount] !== none) return (this.cursor + ahead) * bucketMs;
    }
    return undefined;
  }
}
