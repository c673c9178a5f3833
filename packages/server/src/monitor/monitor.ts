/** Watches every guest of one host: gives each a slot, and judges them in one lane (see lane.ts). */
import { type EventDataByType, messageIds } from '@vmpulse/wire';
import type { Clock } from '../clock.ts';
import type { EventLog } from '../event/log.ts';
import { Cohort } from './cohort.ts';
import { coldMarginMs } from './deadline.ts';
import { GuestWatch } from './guest-watch.ts';
import type { WatchHost } from './guest.ts';
import { HostSleep } from './host-sleep.ts';
import { Lane } from './lane.ts';
import type { MonitorObserver } from './observer.ts';
import { Pacer } from './pacer.ts';
import { awaited, ownTimes, Registry } from './registry.ts';
import type { Stall } from './stall.ts';
import type { Watch, WatchKeeper, WatchRequest } from './watch.ts';

/** Room made at the start; it doubles as needed. */
const initialSlots = 256;
/** A guest whose look failed, which is a defect, is looked at again after this: no defect ends a guest's watch. */
const failedLookMs = 1_000;

/** What the monitor tells of the host, rather than of one guest. */
type HostEvent = 'cohortSilent' | 'hostSuspended';

/** How the monitor is made. */
export interface MonitorOptions {
  readonly clock: Clock;
  readonly log: EventLog;
  readonly observer: MonitorObserver;
  /** How the host is, for people; quick. */
  readonly hostState?: () => string;
  /** How long the host has slept since it booted, ms. */
  readonly hostSleptMs?: () => number;
}

/** Watches every guest of one host. */
export class Monitor implements WatchKeeper {
  private readonly observer: MonitorObserver;
  private readonly registry = new Registry(initialSlots);
  private readonly lane: Lane;
  private readonly watches: (GuestWatch | undefined)[] = [];
  private readonly host: WatchHost;
  /** After a long stall no guest's silence is judged before: it needs time to get going. */
  private graceMs = Number.NEGATIVE_INFINITY;
  private readonly hostSleep: HostSleep;

  constructor(options: MonitorOptions) {
    const { clock, log, observer } = options;
    const { registry } = this;
    this.observer = observer;
    const lane = new Lane({
      clock,
      registry,
      visit: (slot, upToMs) => this.visit(slot, upToMs),
      stalled: (stall) => this.forgive(stall),
      drained: (lagMs) => {
        observer.laneLag(lagMs);
        this.lookAtHost();
      },
    });
    this.lane = lane;
    this.hostSleep = new HostSleep(clock, options.hostSleptMs ?? ((): number => 0));
    this.host = {
      clock,
      log,
      observer,
      registry,
      pacer: new Pacer(clock),
      cohort: new Cohort({
        clock,
        watched: () => registry.slotsWith(awaited),
        hostState: options.hostState ?? ((): string => 'not looked at'),
        tell: (notice) =>
          this.tell({ type: 'cohortSilent', data: { messageId: messageIds.cohortSilent, ...notice } }),
      }),
      schedule: (slot, dueMs) => lane.schedule(slot, dueMs),
      unschedule: (slot) => lane.unschedule(slot),
      overdue: (nowMs) => lane.overdue(nowMs),
      release: (slot, generation) => {
        lane.unschedule(slot);
        this.watches[slot] = undefined;
        registry.release(slot, generation);
      },
    };
  }

  /** Ticks recorded since the start. */
  get totalTicks(): number {
    return this.registry.totalTicks;
  }

  /** A watch for one machine. */
  watch(request: WatchRequest): Watch {
    const slot = this.registry.allocate();
    this.lane.grow();
    const watch = new GuestWatch(this.host, slot, request);
    this.watches[slot] = watch;
    return watch;
  }

  /** Judges nobody any more. */
  close(): void {
    this.lane.close();
    for (const watch of this.watches) watch?.abandon();
  }

  private visit(slot: number, upToMs: number): number {
    if (upToMs < this.graceMs && !this.registry.has(slot, ownTimes)) return this.graceMs;
    try {
      return this.watches[slot]?.visit(upToMs) ?? -1;
    } catch (error) {
      this.observer.failed(error);
      return upToMs + failedLookMs;
    }
  }

  /** Before anyone is visited: after the host slept every guest has a moment to get going. */
  private lookAtHost(): void {
    const slept = this.hostSleep.look();
    if (slept === null) return;
    const data = { messageId: messageIds.hostSuspended, suspendedMs: Math.round(slept.sleptMs) };
    this.tell({ type: 'hostSuspended', data });
    this.forgive(slept.stall);
  }

  private tell(statement: { [T in HostEvent]: { type: T; data: EventDataByType[T] } }[HostEvent]): void {
    const { log, clock, observer } = this.host;
    log.append({ ...statement, timeMs: clock.wallMs() }).catch((error: unknown) => observer.failed(error));
  }

  private forgive(stall: Stall): void {
    if (stall.long) this.observer.stalled(stall.endedMs - stall.startedMs);
    if (stall.long) this.graceMs = Math.max(this.graceMs, stall.endedMs + coldMarginMs);
    this.registry.forgiveAll(stall, (slot) => this.watches[slot]?.forgive(stall));
  }
}
