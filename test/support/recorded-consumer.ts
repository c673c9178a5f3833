/** A consumer of a durable subscription that writes down what it is told, for tests on the simulated clock. */
import type { SubscriptionLoss, SubscriptionRewind, VmEvent } from '@vmpulse/wire';
import type { Consumer } from '../../packages/server/src/delivery/consumer.ts';

export class RecordedConsumer implements Consumer {
  lease: string | null = null;
  cursor = 0;
  readonly events: VmEvent[] = [];
  readonly attempts: number[] = [];
  readonly rewinds: number[] = [];
  readonly losses: SubscriptionLoss[] = [];
  ended: string | null = null;

  get seqs(): number[] {
    return this.events.map(({ seq }) => seq);
  }

  served({ lease, cursor }: { lease: string; cursor: number }): void {
    this.lease = lease;
    this.cursor = cursor;
  }

  deliver(event: VmEvent, attempt: number): void {
    this.events.push(event);
    this.attempts.push(attempt);
  }

  rewind({ seq }: SubscriptionRewind): void {
    this.rewinds.push(seq);
  }

  lostPlace(loss: SubscriptionLoss): void {
    this.losses.push(loss);
  }

  end(remark: string): void {
    this.ended = remark;
  }
}
