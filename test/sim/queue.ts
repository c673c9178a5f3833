/** The two queues of simulated time: what happens once, and the next tick of each guest. */

/** Something that happens once at a time; `run` null: taken back. */
export interface Entry {
  readonly atMs: number;
  readonly order: number;
  run: (() => void) | null;
}

/** Binary heap of entries by time, then by the order in which they were put. */
export class EntryHeap {
  private readonly heap: Entry[] = [];
  private order = 0;

  /** The next one; undefined when there is none. */
  get first(): Entry | undefined {
    const { heap } = this;
    while (heap.length > 0 && (heap[0] as Entry).run === null) this.pop();
    return heap[0];
  }

  put(atMs: number, run: () => void): Entry {
    this.order += 1;
    const entry: Entry = { atMs, order: this.order, run };
    const { heap } = this;
    let index = heap.length;
    heap.push(entry);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent] as Entry;
      if (!before(entry, above)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = entry;
    return entry;
  }

  /** Takes the next one out. */
  pop(): void {
    const { heap } = this;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as Entry, heap[child] as Entry)) child += 1;
      if (!before(heap[child] as Entry, last)) break;
      heap[index] = heap[child] as Entry;
      index = child;
    }
    heap[index] = last;
  }

  clear(): void {
    this.heap.length = 0;
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

const out = -1;

/** The next tick of each guest, by its number: an indexed heap in typed arrays, for it turns at every tick. */
export class TickHeap {
  private readonly dueMs: Float64Array;
  private readonly heap: Int32Array;
  private readonly place: Int32Array;
  private size = 0;

  constructor(guests: number) {
    this.dueMs = new Float64Array(guests);
    this.heap = new Int32Array(guests);
    this.place = new Int32Array(guests).fill(out);
  }

  /** Whose tick is next; meaningless while `nextMs` is Infinity. */
  get first(): number {
    return this.heap[0] as number;
  }

  /** When it is due. */
  get nextMs(): number {
    return this.size === 0 ? Number.POSITIVE_INFINITY : (this.dueMs[this.heap[0] as number] as number);
  }

  set(guest: number, atMs: number): void {
    this.dueMs[guest] = atMs;
    let at = this.place[guest] as number;
    if (at === out) {
      at = this.size;
      this.size += 1;
      this.heap[at] = guest;
      this.place[guest] = at;
    }
    this.sink(this.rise(at));
  }

  remove(guest: number): void {
    const at = this.place[guest] as number;
    if (at === out) return;
    this.place[guest] = out;
    this.size -= 1;
    if (at === this.size) return;
    const moved = this.heap[this.size] as number;
    this.heap[at] = moved;
    this.place[moved] = at;
    this.sink(this.rise(at));
  }

  private rise(from: number): number {
    const { heap, dueMs, place } = this;
    const guest = heap[from] as number;
    const due = dueMs[guest] as number;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent] as number;
      const aboveDue = dueMs[above] as number;
      if (aboveDue < due || (aboveDue === due && above < guest)) break;
      heap[at] = above;
      place[above] = at;
      at = parent;
    }
    heap[at] = guest;
    place[guest] = at;
    return at;
  }

  private sink(from: number): void {
    const { heap, dueMs, place, size } = this;
    const guest = heap[from] as number;
    const due = dueMs[guest] as number;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      const right = child + 1;
      if (right < size && this.earlier(heap[right] as number, heap[child] as number)) child = right;
      const below = heap[child] as number;
      const belowDue = dueMs[below] as number;
      if (due < belowDue || (due === belowDue && guest < below)) break;
      heap[at] = below;
      place[below] = at;
      at = child;
    }
    heap[at] = guest;
    place[guest] = at;
  }

  private earlier(a: number, b: number): boolean {
    const dueA = this.dueMs[a] as number;
    const dueB = this.dueMs[b] as number;
    return dueA < dueB || (dueA === dueB && a < b);
  }
}
