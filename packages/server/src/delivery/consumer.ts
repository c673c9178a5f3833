/** Whoever takes a subscription's events, as a port: an HTTP stream is one. */
import type { SubscriptionLease, SubscriptionLoss, SubscriptionRewind, VmEvent } from '@vmpulse/wire';

/** Whoever takes a subscription's events. Nothing here waits for it: what is in flight is bounded. */
export interface Consumer {
  /** It is its turn; before this nothing else is called but `end`. */
  served(lease: SubscriptionLease): void;
  /** `attempt` counts from 1. */
  deliver(event: VmEvent, attempt: number): void;
  rewind(rewind: SubscriptionRewind): void;
  lostPlace(loss: SubscriptionLoss): void;
  /** Nothing more will come. */
  end(remark: string): void;
}
