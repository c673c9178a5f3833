/** Durable subscriptions over a log in memory and a simulated clock, and those who make, take and restart them. */
import { type EventType, type SubscriptionRequest, type VmEvent, eventTypeOf } from '@vmpulse/wire';
import type { Subscription } from '../../packages/server/src/delivery/subscription.ts';
import { Subscriptions } from '../../packages/server/src/delivery/subscriptions.ts';
import { MemoryEventLog } from './memory-event-log.ts';
import { RecordedConsumer } from './recorded-consumer.ts';
import { SimulatedClock } from './simulated-clock.ts';

const web = { id: '11111111-1111-4111-8111-111111111111', name: 'web-1' };

/** See above. */
export class SubscriptionsOnTrial {
  readonly clock = new SimulatedClock();
  readonly log = new MemoryEventLog();
  readonly warnings: string[] = [];
  subscriptions: Subscriptions = this.#open();

  /** Begins as after a kill: what was not written is forgotten, and the former process does nothing more. */
  async restart(): Promise<void> {
    this.subscriptions = this.#open();
    await this.subscriptions.load();
    await this.settle();
  }

  #open(): Subscriptions {
    const { clock, log } = this;
    const warn = (message: string): void => void this.warnings.push(message);
    return new Subscriptions({ clock, log, store: log, warn, random: () => 0 });
  }

  get pager(): Subscription {
    return this.subscriptions.find('pager');
  }

  /** Time is passed in turns, so that what is read on the way is handled too. */
  async settle(ms = 0): Promise<void> {
    await this.clock.advanceAsync(ms);
    for (let turn = 0; turn < 5; turn += 1) await this.clock.settle();
  }

  async make(request: SubscriptionRequest = {}, name = 'pager'): Promise<void> {
    await this.subscriptions.put(name, request);
    await this.settle();
  }

  async consume(name = 'pager'): Promise<RecordedConsumer & { leave: () => void }> {
    const consumer = new RecordedConsumer();
    const leave = this.subscriptions.find(name).connect(consumer);
    await this.settle();
    return Object.assign(consumer, { leave });
  }

  /** Events of a type that the subscriptions of these tests want, or of one that they do not. */
  async tell(count = 1, isWanted = true): Promise<void> {
    const timeMs = this.clock.wallMs();
    for (let n = 0; n < count; n += 1) {
      const data = { key: 'notes', value: n, effective: 'now' as const };
      void (isWanted
        ? this.log.append({ type: 'configurationChanged', vm: web, timeMs, data })
        : this.log.append({ type: 'vmCreated', vm: web, timeMs, data: { hypervisor: 'fake' } }));
    }
    await this.settle();
  }

  ack(consumer: RecordedConsumer, seq: number): Promise<void> {
    return this.pager.acknowledge({ seq, lease: consumer.lease ?? '' });
  }

  nack(consumer: RecordedConsumer, seq: number): void {
    this.pager.refuse({ seq, lease: consumer.lease ?? '', reason: 'no' });
  }

  async told(type: EventType): Promise<VmEvent['data'][]> {
    const after = this.log.state().oldestSeq - 1;
    const { events } = await this.log.read({ after, limit: 1_000 });
    return events.filter((event) => eventTypeOf(event) === type).map(({ data }) => data);
  }
}
