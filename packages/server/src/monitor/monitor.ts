/** Watches every guest of one host: gives each a slot, and judges them in one lane (see lane.ts). */
import type { Clock } from '../clock.ts';
import type { EventLog } from '../event/log.ts';
import { GuestWatch } from './guest-watch.ts';
import type { WatchHost } from './guest.ts';
import { Lane } from './lane.ts';
import type { MonitorObserver } from './observer.ts';
import { Pacer } from './pacer.ts';
import { Registry } from './registry.ts';
import type { Stall } from './stall.ts';
import type { Watch, WatchKeeper, WatchRequest } from './watch.ts';

/** Room made at the start; it doubles as needed. */
const initialSlots = 256;
/** A guest whose look failed, which is a defect, is looked at again after this: no defect ends a guest's watch. */
const failedLookMs = 1_000;

/** How the monitor is made. */
export interface MonitorOptions {
  readonly clock: Clock;
  readonly log: EventLog;
  readonly observer: MonitorObserver;
}

/** Watches every guest of one host. */
export class Monitor implements WatchKeeper {
  private readonly observer: MonitorObserver;
  private readonly registry = new Registry(initialSlots);
  private readonly lane: Lane;
  private readonly watches: (GuestWatch | undefined)[] = [];
  private readonly host: WatchHost;

  constructor(options: MonitorOptions) {
    const { clock, log, observer } = options;
    const { registry } = this;
    this.observer = observer;
    const lane = new Lane({
      clock,
      registry,
      visit: (slot, upToMs) => this.visit(slot, upToMs),
      stalled: (stall) => this.forgive(stall),
      drained: (lagMs) => observer.laneLag(lagMs),
    });
    this.lane = lane;
    this.host = {
      clock,
      log,
      observer,
      registry,
      pacer: new Pacer(clock),
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
    try {
      return this.watches[slot]?.visit(upToMs) ?? -1;
    } catch (error) {
      this.observer.failed(error);
      return upToMs + failedLookMs;
    }
  }

  private forgive(stall: Stall): void {
    if (stall.long) this.observer.stalled(stall.endedMs - stall.startedMs);
    for (const watch of this.watches) watch?.forgive(stall);
  }
}
