/** Clients that read the real outbox, leave and come back where they were. The first never leaves for long. */
import { type EventType, VmError, type VmEvent } from '@vmpulse/wire';
import { type EventStream, openStream } from '../../packages/server/src/event/outbox.ts';
import type { Oracle } from './oracle.ts';
import type { Random } from './random.ts';
import type { Service } from './service.ts';
import type { World } from './world.ts';

/** One client. */
class Sink {
  cursor = 0;
  readonly got: number[] = [];
  stream: EventStream | null = null;
  readonly types: readonly EventType[] | undefined;
  readonly maxBuffered: number;

  constructor(types: readonly EventType[] | undefined, maxBuffered: number) {
    this.types = types;
    this.maxBuffered = maxBuffered;
  }
}

/** All clients of one run. */
export class Sinks {
  private readonly world: World;
  private readonly oracle: Oracle;
  private readonly random: Random;
  private readonly sinks: readonly Sink[];
  private readonly types = new Map<number, string>();
  private service: Service | null = null;
  private staying = false;

  constructor(world: World, oracle: Oracle, random: Random) {
    this.world = world;
    this.oracle = oracle;
    this.random = random;
    this.sinks = [
      new Sink(undefined, 1_000),
      new Sink(undefined, 7),
      new Sink(['heartbeatStopped', 'heartbeatResumed'], 1_000),
    ];
  }

  /** A service is there: all connect. */
  connect(service: Service): void {
    this.service = service;
    for (const [index, sink] of this.sinks.entries()) this.open(index, sink, service);
  }

  /** The service is gone. */
  disconnect(): void {
    this.service = null;
    for (const sink of this.sinks) sink.stream = null;
  }

  /** The run is about to end: who is away comes back, and nobody leaves any more. */
  stay(): void {
    this.staying = true;
    const { service } = this;
    if (service === null) return;
    for (const [index, sink] of this.sinks.entries()) {
      if (sink.stream === null) this.open(index, sink, service);
    }
  }

  /** At the end of a run: everyone has everything. */
  check(): void {
    for (const [index, sink] of this.sinks.entries()) {
      const { types } = sink;
      const wanted = [...this.types]
        .filter(([, type]) => types === undefined || types.includes(type as EventType))
        .map(([seq]) => seq);
      const at = wanted.findIndex((seq, place) => sink.got[place] !== seq);
      if (at !== -1) {
        const text = `client ${index} got ${sink.got[at] ?? 'nothing'} for seq ${wanted[at]} (${wanted.length} in all)`;
        this.oracle.fail('order', undefined, text);
      } else if (sink.got.length > wanted.length) {
        this.oracle.fail(
          'order',
          undefined,
          `client ${index} got ${sink.got.length} of ${wanted.length} events`,
        );
      }
    }
  }

  private open(index: number, sink: Sink, service: Service): void {
    if (service.loop.killed || this.service !== service) return;
    service.loop.input(900_000 + index, () => {
      if (this.service !== service) return;
      service.loop.dirty = true;
      const stream = openStream(service.log, {
        after: sink.cursor,
        maxBuffered: sink.maxBuffered,
        ...(sink.types === undefined ? {} : { filter: { types: sink.types } }),
      });
      sink.stream = stream;
      void this.follow(index, sink, service, stream);
    });
  }

  private async follow(index: number, sink: Sink, service: Service, stream: EventStream): Promise<void> {
    // The first is the oracle's own: what it reads is when a client knew.
    const stayMs = index === 0 ? Number.POSITIVE_INFINITY : this.random.exponential(20_000);
    const leaveMs = this.world.nowMs + stayMs;
    try {
      while (sink.stream === stream) {
        const events = await stream.next();
        if (sink.stream !== stream || events.length === 0) return;
        for (const event of events) this.take(index, sink, event);
        if (index > 0 && !this.staying && this.world.nowMs > leaveMs) {
          stream.close();
          sink.stream = null;
          this.world.after(this.random.exponential(5_000), () => {
            if (!this.staying) this.open(index, sink, service);
          });
          return;
        }
      }
    } catch (error) {
      // A service that ends cuts off who reads; the next one is asked for the rest.
      if (VmError.from(error).code === 'VMPULSE_E_LOG_UNAVAILABLE' && service.closing) return;
      this.oracle.fail('order', undefined, `client ${index} was refused: ${String(error)}`);
    }
  }

  private take(index: number, sink: Sink, event: VmEvent): void {
    sink.cursor = event.seq;
    sink.got.push(event.seq);
    if (index > 0) return;
    this.types.set(event.seq, event.type.slice('io.vmpulse.'.length));
    this.oracle.saw(event);
  }
}
