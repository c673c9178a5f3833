import * as fc from 'fast-check';
import type { VmError, VmEvent } from '@vmpulse/wire';
import { expect, test, vi } from 'vitest';
import { machineReference, resumedDraft, stoppedDraft } from '../../../../test/support/machines.ts';
import { MemoryEventLog } from '../../../../test/support/memory-event-log.ts';
import type { EventLog, EventQuery, EventSlice } from './log.ts';
import { type EventStream, type StreamFilter, openStream } from './outbox.ts';

const seqs = (events: readonly VmEvent[]): number[] => events.map(({ seq }) => seq);
const count = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index);
const append = (log: EventLog, from: number, to: number): Promise<VmEvent[]> =>
  Promise.all(count(from, to).map((n) => log.append(stoppedDraft(n % 3))));
const turns = async (n = 20): Promise<void> => {
  for (let turn = 0; turn < n; turn += 1) await Promise.resolve();
};

/** Takes events until it has `n`. */
async function take(stream: EventStream, n: number): Promise<VmEvent[]> {
  const events: VmEvent[] = [];
  while (events.length < n) {
    const page = await stream.next();
    if (page.length === 0) break;
    events.push(...page);
  }
  return events;
}

test('a stream gives what was there, then what comes, each once and in order', async () => {
  const log = new MemoryEventLog();
  await append(log, 1, 25);
  const stream = openStream(log, { after: 3, maxBuffered: 10 });
  expect(stream.phase).toBe('backfill');
  expect(seqs(await take(stream, 22))).toEqual(count(4, 25));
  expect(stream.cursor).toBe(25);
  const next = stream.next();
  await turns();
  expect(stream.phase).toBe('live');
  await append(log, 26, 27);
  expect(seqs(await next)).toEqual([26, 27]);
  stream.close();
});

test('what is committed between the last page and the wait is not missed', async () => {
  const log = new MemoryEventLog();
  await append(log, 1, 5);
  const read = log.read.bind(log);
  // The page is taken, then an event is committed, and only then the stream gets the page.
  vi.spyOn(log, 'read').mockImplementationOnce(async (query) => {
    const page = await read(query);
    await append(log, 6, 6);
    return page;
  });
  const stream = openStream(log, { after: 0 });
  expect(seqs(await stream.next())).toEqual(count(1, 5));
  expect(seqs(await stream.next())).toEqual([6]);
});

test('pages that overlap double nothing', async () => {
  const log = new MemoryEventLog();
  await append(log, 1, 9);
  const read = log.read.bind(log);
  const overlapping = vi.spyOn(log, 'read');
  overlapping.mockImplementation(({ after, ...rest }) => read({ ...rest, after: Math.max(0, after - 2) }));
  const stream = openStream(log, { after: 0, maxBuffered: 4 });
  expect(seqs(await take(stream, 9))).toEqual(count(1, 9));
});

test('a filter lets through what it names, and the cursor goes on all the same', async () => {
  const log = new MemoryEventLog();
  await append(log, 1, 9);
  await log.append(resumedDraft(1));
  const vmId = machineReference(1).id;
  const stream = openStream(log, { after: 0, filter: { vmId, types: ['heartbeatResumed'] }, maxBuffered: 2 });
  expect(seqs(await stream.next())).toEqual([10]);
  const next = stream.next();
  await append(log, 11, 20);
  await turns();
  expect(stream.cursor).toBe(20);
  await log.append(resumedDraft(1));
  expect(seqs(await next)).toEqual([21]);
});

test('an abort ends a stream that waits for events, at once and without error', async () => {
  const log = new MemoryEventLog();
  const abort = new AbortController();
  const stream = openStream(log, { after: 0, signal: abort.signal });
  const next = stream.next();
  await turns();
  abort.abort();
  expect(await next).toEqual([]);
  expect(stream.phase).toBe('ended');
  expect(await stream.next()).toEqual([]);
});

test('an abort ends a stream that waits for a page; the page that comes too late is given to nobody', async () => {
  const log = new MemoryEventLog();
  const [event] = await append(log, 1, 1);
  let answer: (page: EventSlice) => void = () => undefined;
  vi.spyOn(log, 'read').mockReturnValue(
    new Promise((resolve) => {
      answer = resolve;
    }),
  );
  const abort = new AbortController();
  const stream = openStream(log, { after: 0, signal: abort.signal });
  const next = stream.next();
  await turns();
  abort.abort();
  expect(await next).toEqual([]);
  answer({ events: event === undefined ? [] : [event], next: 1 });
  expect(await stream.next()).toEqual([]);
  expect(stream.cursor).toBe(0);
});

test('a signal aborted before gives nothing; nobody listens any more after any end', async () => {
  const log = new MemoryEventLog();
  await append(log, 1, 2);
  let listeners = 0;
  const onCommit = log.onCommit.bind(log);
  vi.spyOn(log, 'onCommit').mockImplementation((listener) => {
    const stop = onCommit(listener);
    let isOn = true;
    listeners += 1;
    return () => {
      if (isOn) listeners -= 1;
      isOn = false;
      stop();
    };
  });
  const stream = openStream(log, { after: 0, signal: AbortSignal.abort() });
  expect(await stream.next()).toEqual([]);
  const closed = openStream(log, { after: 0 });
  closed.close();
  const broken = openStream(log, { after: 99 });
  await expect(broken.next()).rejects.toThrow();
  for await (const event of openStream(log, { after: 0 })) if (event.seq === 2) break;
  expect(listeners).toBe(0);
});

test('a cursor that is no longer kept, or not yet reached, ends the stream with an error at once', async () => {
  const log = new MemoryEventLog();
  await append(log, 1, 9);
  log.deleteThrough(4);
  for (const after of [0, 3, 10]) {
    const stream = openStream(log, { after });
    await expect(stream.next()).rejects.toMatchObject({ code: 'VMPULSE_E_CURSOR_EXPIRED' });
    expect(stream.phase).toBe('ended');
  }
});

test('a reader too slow for what is kept is told, not skipped ahead', async () => {
  const log = new MemoryEventLog();
  await append(log, 1, 9);
  const stream = openStream(log, { after: 0, maxBuffered: 2 });
  expect(seqs(await stream.next())).toEqual([1, 2]);
  log.deleteThrough(5);
  await expect(stream.next()).rejects.toMatchObject({ code: 'VMPULSE_E_CURSOR_EXPIRED' });
});

test('100 live streams each get an event, one read of the log each', async () => {
  const log = new MemoryEventLog();
  await append(log, 1, 3);
  const streams = count(1, 100).map(() => openStream(log, { after: 3 }));
  const waiting = streams.map((stream) => stream.next());
  await turns();
  const before = log.reads;
  await append(log, 4, 4);
  for (const events of await Promise.all(waiting)) expect(seqs(events)).toEqual([4]);
  expect(log.reads - before).toBe(100);
  for (const stream of streams) stream.close();
});

/** A log whose pages take as many turns as the script says. */
class SlowLog implements EventLog {
  readonly #log: MemoryEventLog;
  readonly #delay: () => number;

  constructor(log: MemoryEventLog, delay: () => number) {
    this.#log = log;
    this.#delay = delay;
  }

  get serverId(): string {
    return this.#log.serverId;
  }

  append: EventLog['append'] = (draft, effect) => this.#log.append(draft, effect);
  onCommit: EventLog['onCommit'] = (listener) => this.#log.onCommit(listener);
  state: EventLog['state'] = () => this.#log.state();
  close: EventLog['close'] = () => this.#log.close();

  async read(query: EventQuery): Promise<EventSlice> {
    await turns(this.#delay());
    const page = await this.#log.read(query);
    await turns(this.#delay());
    return page;
  }
}

test('however appends, retention and reads interleave, a stream has each matching event once, in order', async () => {
  const filter: fc.Arbitrary<StreamFilter> = fc.constantFrom(
    {},
    { vmId: machineReference(1).id },
    { types: ['heartbeatResumed'] as const },
    { vmId: machineReference(2).id, types: ['heartbeatStopped'] as const },
  );
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ append: fc.integer({ min: 1, max: 6 }), resumed: fc.boolean() }) },
    { weight: 2, arbitrary: fc.record({ turns: fc.integer({ min: 0, max: 12 }) }) },
    {
      weight: 2,
      arbitrary: fc.record({
        open: filter,
        back: fc.integer({ min: 0, max: 9 }),
        buffer: fc.integer({ min: 1, max: 5 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ keep: fc.integer({ min: 0, max: 30 }) }) },
    { weight: 1, arbitrary: fc.constant({ fail: true }) },
    { weight: 1, arbitrary: fc.constant({ fail: false }) },
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 40 }),
      fc.array(fc.nat(7), { minLength: 1 }),
      async (steps, delays) => {
        const memory = new MemoryEventLog();
        let delayed = 0;
        const log = new SlowLog(memory, () => delays[(delayed += 1) % delays.length] ?? 0);
        const abort = new AbortController();
        const all: VmEvent[] = [];
        const streams: {
          after: number;
          filter: StreamFilter;
          got: VmEvent[];
          error: VmError | null;
          done: Promise<void>;
        }[] = [];
        for (const action of steps) {
          if ('append' in action) {
            for (const n of count(1, action.append)) {
              const draft = action.resumed ? resumedDraft(n % 3) : stoppedDraft(n % 3);
              void memory.append(draft).then((event) => all.push(event));
            }
          } else if ('turns' in action) await turns(action.turns);
          else if ('keep' in action) memory.deleteThrough(memory.state().lastSeq - action.keep);
          else if ('fail' in action) {
            if (action.fail) memory.failWrites('full');
            else memory.mendWrites();
          } else {
            const { lastSeq, oldestSeq } = memory.state();
            const after = Math.max(oldestSeq - 1, lastSeq - action.back);
            const entry = {
              after,
              filter: action.open,
              got: [] as VmEvent[],
              error: null as VmError | null,
              done: Promise.resolve(),
            };
            const stream = openStream(log, {
              after,
              filter: action.open,
              signal: abort.signal,
              maxBuffered: action.buffer,
            });
            entry.done = (async () => {
              try {
                for await (const event of stream) entry.got.push(event);
              } catch (error) {
                entry.error = error as VmError;
              }
            })();
            streams.push(entry);
          }
        }
        memory.mendWrites();
        await turns(2_000);
        abort.abort();
        await Promise.all(streams.map(({ done }) => done));
        for (const { after, filter: wanted, got, error } of streams) {
          const matching = all.filter(
            (event) =>
              event.seq > after &&
              (wanted.vmId === undefined || event.data.vm?.id === wanted.vmId) &&
              (wanted.types === undefined || wanted.types.some((type) => event.type.endsWith(`.${type}`))),
          );
          // One that retention overtook ends there, told; what it got until then is without gap.
          if (error !== null) expect(error.code).toBe('VMPULSE_E_CURSOR_EXPIRED');
          expect(seqs(got)).toEqual(seqs(error === null ? matching : matching.slice(0, got.length)));
        }
      },
    ),
    { numRuns: 200 },
  );
});
