/**
 * Guests of the fake hypervisor under the real monitor, event log and outbox, in real time: some of many fall silent,
 * then all of them do. Part of mass-stop.ts, which runs it in a process of its own with a heap that is large enough.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type EventDraft, eventTypeOf, type VmEvent } from '@vmpulse/wire';
import { SystemClock } from '../packages/server/src/clock.ts';
import type { EventLog } from '../packages/server/src/event/log.ts';
import { openStream } from '../packages/server/src/event/outbox.ts';
import { FakeHypervisor } from '../packages/server/src/hypervisor/fake.ts';
import { Monitor } from '../packages/server/src/monitor/monitor.ts';
import type { Watch } from '../packages/server/src/monitor/watch.ts';
import { SqliteStore } from '../packages/server/src/store/sqlite-store.ts';
import { machineReference } from '../test/support/machines.ts';
import { plainConfiguration } from '../test/support/plain-configuration.ts';
import { distribution, ownCpuUs, say } from './figures.ts';

const intervalMs = 6_000;
const sliceMs = 10;
/** Ticks that make a guest's lateness known: its margin is then the least, 50 ms. */
const warmTicks = 25;
/** Processes that end in one turn of the event loop. */
const killedPerTurn = 1_000;
/** How long the events of all are waited for. */
const patienceMs = 240_000;

const clock = new SystemClock();

/** When what was told of each guest; monotonic ms, NaN: not yet. */
class Course {
  readonly deadline: Float64Array;
  readonly suspected: Float64Array;
  readonly told: Float64Array;
  readonly durable: Float64Array;
  readonly delivered: Float64Array;
  /** Stalls of this process that were forgiven to the guest, ms: its deadline is so much later. */
  readonly forgiven: Float64Array;

  constructor(guests: number) {
    const times = (): Float64Array => new Float64Array(guests).fill(Number.NaN);
    this.deadline = times();
    this.suspected = times();
    this.told = times();
    this.durable = times();
    this.delivered = times();
    this.forgiven = times();
  }
}

function guestOf(id: string): number {
  return Number(id.slice(24));
}

/** The monitor of many guests, and what it told. */
class Fleet {
  readonly guests: number;
  readonly course: Course;
  readonly watches: Watch[] = [];
  readonly silent: Uint8Array;
  private readonly store: SqliteStore;
  private readonly monitor: Monitor;
  private readonly hypervisor = new FakeHypervisor({ clock });
  /** Guests in the order of their ticks, which has nothing to do with that of their slots, as in life. */
  private readonly order: Int32Array;
  private ticksDone = 0;
  /** The guest that is being looked at. */
  private looked = -1;
  ticks = 0;
  suspicions = 0;
  falseAlarms = 0;
  stalls = 0;
  stalledMs = 0;
  rejected = 0;
  failures: unknown[] = [];

  constructor(guests: number, store: SqliteStore) {
    this.guests = guests;
    this.store = store;
    this.course = new Course(guests);
    this.silent = new Uint8Array(guests).fill(1);
    this.order = Int32Array.from({ length: guests }, (_none, index) => index);
    for (let index = guests - 1; index > 0; index -= 1) {
      const other = Math.floor(Math.random() * (index + 1));
      const swapped = this.order[index] as number;
      this.order[index] = this.order[other] as number;
      this.order[other] = swapped;
    }
    this.monitor = new Monitor({
      clock,
      log: { append: (draft: EventDraft) => this.append(draft) } as unknown as EventLog,
      observer: {
        stopped: () => undefined,
        suspected: () => this.suspect(),
        resumed: () => undefined,
        laneLag: () => undefined,
        stalled: (lengthMs) => {
          this.stalls += 1;
          this.stalledMs += lengthMs;
        },
        rejected: () => undefined,
        failed: (error) => this.failures.push(error),
      },
    });
  }

  /** Makes every guest, alive and ticking, with the lateness of one that has run for a while. */
  async begin(): Promise<void> {
    const configuration = plainConfiguration({ heartbeat: { intervalMs } });
    const memory = { armed: true, intervalMs, lastTickWallMs: null, bootMs: [] };
    const { signal } = new AbortController();
    this.ticksDone = this.due();
    const request = { configuration, restore: false, signal, onSpawned: () => undefined };
    for (let guest = 0; guest < this.guests; guest += 1) {
      const vm = machineReference(guest);
      const machine = await this.hypervisor.start({ ...request, vmId: vm.id });
      const watch = this.monitor.watch({ vm, configuration, memory, conditions: [] });
      this.watches.push(watch);
      watch.setBacklogProbe(() => {
        this.looked = guest;
        return false;
      });
      machine.setListener((event) => watch.hypervisorEvent(event));
      watch.begin(machine, 'adopted', 'running', null);
      watch.listener.onConnection(true);
      for (let tick = 0; tick < warmTicks; tick += 1) watch.listener.onTick(tick, tick);
      this.silent[guest] = 0;
      if (guest % 250 === 0) {
        this.tickDue();
        await clock.sleep(1);
      }
    }
  }

  /** Ticks as they come due, for so long. */
  async tickFor(lengthMs: number): Promise<void> {
    const endMs = clock.monotonicMs() + lengthMs;
    while (clock.monotonicMs() < endMs) {
      this.tickDue();
      await clock.sleep(sliceMs);
    }
  }

  /** What the outbox gives, until closed. */
  read(): { readonly close: () => void } {
    const stream = openStream(this.store, { after: this.store.state().lastSeq });
    const reading = async (): Promise<void> => {
      for (;;) {
        const events = await stream.next();
        if (events.length === 0) return;
        const nowMs = clock.monotonicMs();
        for (const event of events) this.deliver(event, nowMs);
      }
    };
    reading().catch((error: unknown) => this.failures.push(error));
    return { close: () => stream.close() };
  }

  /** Waits until `count` guests were told of at the reader, or for too long. Answers how many were. */
  async untilDelivered(chosen: readonly number[]): Promise<number> {
    const endMs = clock.monotonicMs() + patienceMs;
    const missing = (): number =>
      chosen.reduce((sum, guest) => sum + (Number.isNaN(this.course.delivered[guest]) ? 1 : 0), 0);
    while (clock.monotonicMs() < endMs && missing() > this.rejected) {
      await clock.sleep(100);
    }
    return chosen.length - missing();
  }

  /** Ends the processes of all of `chosen`, as fast as the loop takes it; answers when the last of them ended. */
  async kill(chosen: readonly number[]): Promise<number> {
    for (const [nth, guest] of chosen.entries()) {
      this.hypervisor.machine(machineReference(guest).id).kill();
      this.course.deadline[guest] = this.course.told[guest] as number;
      if (nth % killedPerTurn === killedPerTurn - 1) await clock.sleep(0);
    }
    return clock.monotonicMs();
  }

  close(): void {
    this.monitor.close();
  }

  private due(): number {
    return Math.floor((clock.monotonicMs() * this.guests) / intervalMs);
  }

  private tickDue(): void {
    const due = this.due();
    for (; this.ticksDone < due; this.ticksDone += 1) {
      const guest = this.order[this.ticksDone % this.guests] as number;
      if (this.silent[guest] === 1) continue;
      this.watches[guest]?.listener.onTick(this.ticksDone, this.ticksDone);
      this.ticks += 1;
    }
  }

  private suspect(): void {
    this.suspicions += 1;
    if (this.silent[this.looked] === 0) this.falseAlarms += 1;
    else if (Number.isNaN(this.course.suspected[this.looked]))
      this.course.suspected[this.looked] = clock.monotonicMs();
  }

  private append(draft: EventDraft): Promise<VmEvent> {
    const appended = this.store.append(draft);
    const guest = guestOf(draft.vm?.id ?? '');
    if (draft.type !== 'heartbeatStopped' || Number.isNaN(guest)) return appended;
    const nowMs = clock.monotonicMs();
    const { course } = this;
    const { sinceLastTickMs, intervalMs: paceMs, marginMs, subtracted } = draft.data.evidence;
    course.told[guest] = nowMs;
    course.forgiven[guest] = subtracted.suspendedMs;
    course.deadline[guest] = nowMs - (sinceLastTickMs ?? 0) + (paceMs ?? 0) + (marginMs ?? 0);
    if (this.silent[guest] === 0) this.falseAlarms += 1;
    appended.then(
      () => (course.durable[guest] = clock.monotonicMs()),
      () => (this.rejected += 1),
    );
    return appended;
  }

  private deliver(event: VmEvent, nowMs: number): void {
    if (eventTypeOf(event) !== 'heartbeatStopped') return;
    const guest = guestOf(event.data.vm?.id ?? '');
    if (Number.isNaN(this.course.delivered[guest])) this.course.delivered[guest] = nowMs;
  }
}

function chooseAny(count: number, guests: number): number[] {
  const chosen = new Set<number>();
  while (chosen.size < Math.min(count, guests)) chosen.add(Math.floor(Math.random() * guests));
  return [...chosen];
}

function sayOvershoot(what: string, fleet: Fleet, chosen: readonly number[]): void {
  const { course } = fleet;
  for (const name of ['suspected', 'told', 'durable', 'delivered'] as const) {
    const past = chosen
      .map((guest) => (course[name][guest] as number) - (course.deadline[guest] as number))
      .filter((ms) => !Number.isNaN(ms));
    say(`${what}: deadline -> ${name} (of ${past.length})`, distribution(past), 'ms');
  }
  const forgiven = chosen.map((guest) => course.forgiven[guest] as number).filter((ms) => !Number.isNaN(ms));
  say(`${what}: stalls of this process in that, forgiven`, distribution(forgiven), 'ms');
}

/** Times from one moment to the last of `chosen`. */
function sayLast(what: string, fleet: Fleet, chosen: readonly number[], fromMs: number): void {
  for (const name of ['suspected', 'told', 'durable', 'delivered'] as const) {
    let last = Number.NEGATIVE_INFINITY;
    for (const guest of chosen) last = Math.max(last, fleet.course[name][guest] || last);
    say(`${what} -> last of them ${name}`, last - fromMs, 'ms');
  }
}

/** All of it: `some` of `guests` fall silent, then all the others do, or their processes end. */
async function massStop(
  guests: number,
  some: number,
  watchMs: number,
  how: 'silent' | 'killed',
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'vmpulse-bench-'));
  // The bound of what waits for the log is one of 10,000 machines; here it must not be what is measured.
  const store = await SqliteStore.open(directory, { clock, maxPending: 2 * guests });
  const fleet = new Fleet(guests, store);
  try {
    const beganMs = clock.monotonicMs();
    await fleet.begin();
    say(`${guests} guests made`, (clock.monotonicMs() - beganMs) / 1_000, 's');
    await fleet.tickFor(intervalMs + 4_000);
    const [stalls, falseAlarms] = [fleet.stalls, fleet.falseAlarms];
    const before = { cpuUs: ownCpuUs(), atMs: clock.monotonicMs(), ticks: fleet.ticks };
    await fleet.tickFor(watchMs);
    const elapsedMs = clock.monotonicMs() - before.atMs;
    say('watching, generator of ticks included', (ownCpuUs() - before.cpuUs) / elapsedMs / 10, '% of a core');
    say('ticks', ((fleet.ticks - before.ticks) * 1_000) / elapsedMs, '/s');
    say('resident set', process.memoryUsage.rss() / 2 ** 20, 'MiB');

    const reader = fleet.read();
    const chosen = chooseAny(some, guests);
    for (const guest of chosen) fleet.silent[guest] = 1;
    await fleet.tickFor(intervalMs + 4_000);
    say(`${chosen.length} of ${guests} die: delivered`, await fleet.untilDelivered(chosen), 'guests');
    sayOvershoot(`${chosen.length} die`, fleet, chosen);
    say('long stalls of this process meanwhile', fleet.stalls - stalls);

    const others = fleet.watches.map((_watch, guest) => guest).filter((guest) => fleet.silent[guest] === 0);
    const cpuUs = ownCpuUs();
    const beginMs = clock.monotonicMs();
    fleet.silent.fill(1);
    const what = `all ${others.length} others ${how === 'killed' ? 'are killed' : 'fall silent'}`;
    const killedMs = how === 'killed' ? await fleet.kill(others) : null;
    if (killedMs !== null) say(`${what} within`, killedMs - beginMs, 'ms');
    else await clock.sleep(intervalMs);
    say(`${what}: delivered`, await fleet.untilDelivered(others), 'guests');
    say('processor time a stop, all threads', (ownCpuUs() - cpuUs) / others.length, 'us');
    if (killedMs !== null) sayLast('all killed: first kill', fleet, others, beginMs);
    else {
      let lastDeadlineMs = 0;
      for (const guest of others)
        lastDeadlineMs = Math.max(lastDeadlineMs, fleet.course.deadline[guest] || 0);
      sayLast('all silent: last deadline', fleet, others, lastDeadlineMs);
      sayOvershoot('all silent', fleet, others);
    }
    say('events refused by the log at its bound', fleet.rejected);
    say('guests suspected or told that ticked', fleet.falseAlarms - falseAlarms);
    say('failures', fleet.failures.length);
    if (fleet.failures.length > 0) console.log(fleet.failures[0]);
    reader.close();
  } finally {
    fleet.close();
    await store.close();
    await rm(directory, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  const [guests, some, watchMs] = process.argv.slice(2, 5).map(Number);
  const how = process.argv[5] === 'killed' ? 'killed' : 'silent';
  await massStop(guests ?? 1_000_000, some ?? 1_000, watchMs ?? 10_000, how);
}
