/**
 * What the service counts, for Prometheus. Those who know push (stops, streams, ...) or are asked at scrape time
 * (`MetricSources`). Labels come from closed lists only: no name of a machine and nothing a guest or client said; the
 * names of subscriptions and webhooks, which the service bounds in form and number, and the host's mounts are the
 * exceptions.
 */
import {
  type StopCause,
  type StopVerdict,
  type Verdict,
  type VmState,
  verdictNames,
  vmStates,
} from '@vmpulse/wire';
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import type { SubscriptionCount } from '../delivery/subscription-record.ts';
import type { EventLogState } from '../event/log.ts';
import type { DiskSpaceCount } from '../vm/disk-space.ts';
import { HookMetrics, type HookSources } from './hook-metrics.ts';

/** What is asked when Prometheus asks. Each is cheap and does not throw. */
export interface MetricSources extends HookSources {
  /** Machines by state. */
  readonly machines?: () => Partial<Record<VmState, number>>;
  /** Guests by verdict. */
  readonly guests?: () => Partial<Record<Verdict, number>>;
  /** Machines whose watch an operator holds. */
  readonly held?: () => number;
  readonly log?: () => EventLogState;
  /** Durable subscriptions: their number is bounded, and so are the labels. */
  readonly subscriptions?: () => readonly SubscriptionCount[];
  /** File systems that machines and the service write to, by where they are mounted. */
  readonly diskSpace?: () => readonly DiskSpaceCount[];
  /** Heartbeats received from guests since the start. */
  readonly ticks?: () => number;
  /** How far the watermark of the slowest lane is behind the clock, ms. */
  readonly laneLagMs?: () => number;
}

const latencySeconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 1.6, 2.5, 5, 10, 15, 30, 60, 120];
const appendSeconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30];
const requestSeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** The service's metrics. One for a server. */
export class Metrics {
  readonly registry: Registry = new Registry();
  #sources: MetricSources = {};
  /** Those of webhooks and scripts. */
  readonly hooks: HookMetrics = new HookMetrics(this.registry, () => this.#sources);
  readonly #rejected = this.#counter(
    'tick_bytes_rejected_total',
    'Bytes from tick ports that were no protocol.',
  );
  readonly #stopped = this.#counter('heartbeats_stopped_total', 'Stops told.', ['verdict', 'cause']);
  readonly #resumed = this.#counter('heartbeats_resumed_total', 'Stops that ended with ticks again.');
  readonly #suspicions = this.#counter('suspicions_total', 'Guests suspected; most tick again.');
  readonly #detection = this.#histogram(
    'detection_latency_seconds',
    'From when a stop could first be told (deadline, patience, exit, panic) to its durable event.',
    latencySeconds,
    ['verdict'],
  );
  readonly #append = this.#histogram('event_log_append_seconds', 'From append to durable.', appendSeconds);
  readonly #streamEvents = this.#counter('stream_events_total', 'Events written to streams.');
  readonly #streamBytes = this.#counter('stream_bytes_total', 'Bytes written to streams.');
  readonly #slowReaders = this.#counter(
    'stream_slow_readers_total',
    'Streams cut off because nothing was read.',
  );
  readonly #refused = this.#counter('streams_refused_total', 'Streams refused at the bound.');
  readonly #streams = this.#gauge('streams_open', 'Event streams open.');
  readonly #requests = this.#histogram(
    'http_request_duration_seconds',
    'Requests answered, streams left out.',
    requestSeconds,
    ['method', 'route', 'status'],
  );

  /** `processMetrics`: also those of the process and its event loop (`vmpulse_process_*`, `vmpulse_nodejs_*`). */
  constructor(options: { readonly processMetrics?: boolean } = {}) {
    if (options.processMetrics ?? true)
      collectDefaultMetrics({ register: this.registry, prefix: 'vmpulse_' });
    this.#gaugesAtScrape();
  }

  /** Adds to, or replaces, what is asked at scrape time. */
  observe(sources: MetricSources): void {
    this.#sources = { ...this.#sources, ...sources };
  }

  tickBytesRejected(bytes: number): void {
    this.#rejected.inc(bytes);
  }

  suspected(): void {
    this.#suspicions.inc();
  }

  /** A heartbeatStopped was told `latencyMs` after the last tick, or after its cause. */
  stopped(verdict: StopVerdict, cause: StopCause, latencyMs: number): void {
    this.#stopped.inc({ verdict, cause });
    this.#detection.observe({ verdict }, latencyMs / 1_000);
  }

  resumed(): void {
    this.#resumed.inc();
  }

  /** An event was durable `tookMs` after it was handed to the log. */
  appended(tookMs: number): void {
    this.#append.observe(tookMs / 1_000);
  }

  streamOpened(): void {
    this.#streams.inc();
  }

  streamClosed(): void {
    this.#streams.dec();
  }

  streamRefused(): void {
    this.#refused.inc();
  }

  streamWrote(events: number, bytes: number): void {
    this.#streamEvents.inc(events);
    this.#streamBytes.inc(bytes);
  }

  slowReaderCut(): void {
    this.#slowReaders.inc();
  }

  /** `route` is the route's pattern, never the path. */
  requestServed(method: string, route: string, status: number, tookMs: number): void {
    this.#requests.observe({ method, route, status: `${Math.floor(status / 100)}xx` }, tookMs / 1_000);
  }

  /** The text format of Prometheus. */
  async text(): Promise<string> {
    return this.registry.metrics();
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  #gaugesAtScrape(): void {
    this.#total('ticks_total', 'Heartbeats received from guests.', () => this.#sources.ticks?.() ?? 0);
    this.#perLabel('machines', 'Machines by state.', 'state', vmStates, () => this.#sources.machines?.());
    this.#perLabel('guests', 'Guests by verdict.', 'verdict', verdictNames, () => this.#sources.guests?.());
    this.#value('machines_held', 'Machines whose watch an operator holds.', () => this.#sources.held?.());
    this.#value('lane_lag_seconds', 'How far the slowest lane is behind.', () => {
      const lagMs = this.#sources.laneLagMs?.();
      return lagMs === undefined ? undefined : lagMs / 1_000;
    });
    this.#perSubscription('lag', 'Events after the cursor of a subscription.', ({ lag }) => lag);
    this.#perSubscription(
      'oldest_unacknowledged_seconds',
      'Age of the oldest event that is wanted and not acknowledged; 0 where there is none.',
      ({ oldestMs }) => oldestMs / 1_000,
    );
    this.#perSubscription('in_flight', 'Events sent and not acknowledged.', ({ inFlight }) => inFlight);
    this.#perSubscription(
      'redeliveries',
      'Deliveries after the first of an event, since the service started.',
      ({ redeliveries }) => redeliveries,
    );
    this.#perSubscription('dead_letters', 'Events set aside.', ({ deadLetters }) => deadLetters);
    this.#diskSpace();
    const ofLog = (name: string, help: string, read: (state: EventLogState) => number): void => {
      this.#value(`event_log_${name}`, help, () => {
        const state = this.#sources.log?.();
        return state === undefined ? undefined : read(state);
      });
    };
    ofLog('writable', '0 while the log cannot be written.', (state) => Number(state.writable));
    ofLog('pending', 'Events not yet on disk.', (state) => state.pending);
    ofLog('lost', 'Events dropped at the bound since the start.', (state) => state.lost);
    ofLog('last_seq', 'Number of the newest event.', (state) => state.lastSeq);
    ofLog('oldest_seq', 'Number of the oldest event kept.', (state) => state.oldestSeq);
  }

  #counter<L extends string = never>(name: string, help: string, labelNames: L[] = []): Counter<L> {
    return new Counter({ name: `vmpulse_${name}`, help, labelNames, registers: [this.registry] });
  }

  #histogram<L extends string = never>(
    name: string,
    help: string,
    buckets: number[],
    labelNames: L[] = [],
  ): Histogram<L> {
    return new Histogram({ name: `vmpulse_${name}`, help, buckets, labelNames, registers: [this.registry] });
  }

  #gauge(name: string, help: string): Gauge {
    return new Gauge({ name: `vmpulse_${name}`, help, registers: [this.registry] });
  }

  /** A counter that somebody else counts. */
  #total(name: string, help: string, read: () => number): void {
    const collect = function collect(this: Counter): void {
      this.reset();
      this.inc(read());
    };
    const counter = new Counter({ name: `vmpulse_${name}`, help, registers: [], collect });
    this.registry.registerMetric(counter);
  }

  /** A gauge that is there only while its source is. */
  #value(name: string, help: string, read: () => number | undefined): void {
    const collect = function collect(this: Gauge): void {
      const value = read();
      if (value === undefined) this.remove();
      else this.set(value);
    };
    const gauge = new Gauge({ name: `vmpulse_${name}`, help, registers: [this.registry], collect });
    gauge.remove();
  }

  #diskSpace(): void {
    const counts = (): readonly DiskSpaceCount[] => this.#sources.diskSpace?.() ?? [];
    const collect = function collect(this: Gauge): void {
      // One that does not answer, or is not written to any more, is not told.
      this.reset();
      for (const { path, freeBytes } of counts()) this.set({ path }, freeBytes);
    };
    const help = 'Free bytes of a file system that is written to.';
    const gauge = new Gauge({
      name: 'vmpulse_disk_free_bytes',
      help,
      labelNames: ['path'],
      collect,
      registers: [],
    });
    this.registry.registerMetric(gauge);
  }

  #perSubscription(name: string, help: string, read: (count: SubscriptionCount) => number): void {
    const subscriptions = (): readonly SubscriptionCount[] => this.#sources.subscriptions?.() ?? [];
    const collect = function collect(this: Gauge): void {
      // One that was deleted is no longer told.
      this.reset();
      for (const count of subscriptions()) this.set({ subscription: count.name }, read(count));
    };
    const labelNames = ['subscription'];
    const gauge = new Gauge({
      name: `vmpulse_subscription_${name}`,
      help,
      labelNames,
      collect,
      registers: [],
    });
    this.registry.registerMetric(gauge);
  }

  #perLabel<L extends string>(
    name: string,
    help: string,
    label: string,
    labels: readonly L[],
    read: () => Partial<Record<L, number>> | undefined,
  ): void {
    const collect = function collect(this: Gauge): void {
      const values = read();
      if (values === undefined) return;
      for (const one of labels) this.set({ [label]: one }, values[one] ?? 0);
    };
    const gauge = new Gauge({ name: `vmpulse_${name}`, help, labelNames: [label], collect, registers: [] });
    this.registry.registerMetric(gauge);
  }
}
