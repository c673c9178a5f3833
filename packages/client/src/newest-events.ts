/** The newest events of a log that is read from old to new. */
import { type EventType, VmError, type VmEvent } from '@vmpulse/wire';
import { eventPageSize } from './limits.ts';
import type { Link } from './link.ts';

/** Which events. */
export interface NewestQuery {
  /** At most this many. */
  readonly last: number;
  /** Only those with a greater seq. */
  readonly after: number;
  readonly vm: string | undefined;
  readonly types: readonly EventType[] | undefined;
  /** Newest and oldest seq of the log. */
  readonly newest: number;
  readonly oldest: number;
}

/**
 * The newest events that fit, in order of seq. Without a filter they are where they must be; with one the log is
 * searched from its end, in stretches that double: what is near the end is found without reading the rest, and
 * what is rare costs no more than twice the reading of all.
 */
export async function newestEvents(link: Link, query: NewestQuery): Promise<VmEvent[]> {
  const { last, newest } = query;
  const isFiltered = query.vm !== undefined || query.types !== undefined;
  let found: VmEvent[] = [];
  let floor = Math.max(query.after, query.oldest - 1);
  let width = isFiltered ? Math.max(last, eventPageSize) : last;
  let upTo = newest;
  while (upTo > floor && found.length < last) {
    const from = Math.max(floor, upTo - width);
    try {
      found = [...(await stretch(link, query, from, upTo)), ...found].slice(-last);
    } catch (error) {
      if (!(error instanceof VmError) || error.code !== 'VMPULSE_E_CURSOR_EXPIRED') throw error;
      // Deleted meanwhile: what is left of the stretch is still to be had.
      const { oldestSeq } = await link.info();
      if (oldestSeq - 1 <= floor) throw error;
      floor = oldestSeq - 1;
      continue;
    }
    upTo = from;
    width *= 2;
  }
  return found;
}

/** The newest of the events after `from` up to `upTo`. */
async function stretch(link: Link, query: NewestQuery, from: number, upTo: number): Promise<VmEvent[]> {
  const { vm, types, last } = query;
  let found: VmEvent[] = [];
  let after = from;
  while (after < upTo) {
    const limit = Math.min(eventPageSize, upTo - after);
    const page = await link.page({ after, limit, vm, types });
    found = [...found, ...page.events.filter(({ seq }) => seq <= upTo)].slice(-last);
    if (page.next <= after) break;
    after = page.next;
  }
  return found;
}
