/** What is stored and told of a durable subscription. */
import { type SubscriptionLoss, type VmEvent, messageIds, subscriptionBounds } from '@vmpulse/wire';
import type { Clock } from '../clock.ts';
import type { EventLog } from '../event/log.ts';
import type { DocumentStore, StoredDocument } from '../machine-record.ts';
import type { SubscriptionDefinition } from './subscription-request.ts';

/** Kind of the stored documents. */
export const subscriptionKind = 'subscription';

/** What is stored of a subscription, under its name. */
export interface StoredSubscription extends SubscriptionDefinition {
  readonly createdMs: number;
  readonly cursor: number;
  /** Events that failed and are not over, and how often. */
  readonly failures: readonly (readonly [seq: number, failures: number])[];
}

/** What to store of one. */
export function subscriptionDocument(
  name: string,
  definition: SubscriptionDefinition,
  progress: Pick<StoredSubscription, 'createdMs' | 'cursor' | 'failures'>,
): StoredDocument {
  const { types, machines, verdicts, maxAttempts } = definition;
  const ackTimeoutMs = ackTimeoutOf(definition);
  const value: StoredSubscription = { types, machines, verdicts, maxAttempts, ackTimeoutMs, ...progress };
  return { kind: subscriptionKind, key: name, value };
}

/** How one stands, for metrics. */
export interface SubscriptionCount {
  readonly name: string;
  readonly lag: number;
  /** Age of the oldest event that is wanted and not acknowledged, ms. */
  readonly oldestMs: number;
  readonly inFlight: number;
  /** Since the service started. */
  readonly redeliveries: number;
  readonly deadLetters: number;
}

/** What a subscription works with. */
export interface SubscriptionPorts {
  readonly clock: Clock;
  readonly log: EventLog;
  readonly store: DocumentStore;
  readonly warn: (message: string, error: unknown) => void;
  /** In [0, 1); default Math.random. */
  readonly random?: () => number;
}

/** Of one that an earlier version stored, which says nothing of it, it is the usual one. */
export function ackTimeoutOf({ ackTimeoutMs }: SubscriptionDefinition): number | null {
  return ackTimeoutMs === undefined ? subscriptionBounds.ackTimeoutMs.usual : ackTimeoutMs;
}

/** By the wall clock, which may have been set: at least 0. Null where there is no event. */
export function ageMs(clock: Clock, event: VmEvent | undefined): number | null {
  return event === undefined ? null : Math.max(0, clock.wallMs() - Date.parse(event.time));
}

/** Age of the oldest event after the cursor: of the one in hand, else of the oldest that is kept. */
export async function oldestAgeMs(
  { clock, log }: SubscriptionPorts,
  cursor: number,
  inHand: VmEvent | undefined,
): Promise<number | null> {
  const { oldestSeq, lastSeq } = log.state();
  const after = Math.max(cursor, oldestSeq - 1);
  if (after >= lastSeq) return null;
  try {
    return ageMs(clock, inHand ?? (await log.read({ after, limit: 1 })).events[0]);
  } catch {
    // Retention overtook the question.
    return null;
  }
}

/** Logs that a subscription goes on behind what is no longer kept; `document` is what is stored of it then. */
export function tellLoss(
  { clock, log, warn }: SubscriptionPorts,
  subscription: string,
  loss: SubscriptionLoss,
  document: StoredDocument,
): void {
  const data = { messageId: messageIds.subscriptionLostPlace, subscription, ...loss };
  log
    .append(
      { type: 'subscriptionLostPlace', timeMs: Math.trunc(clock.wallMs()), data },
      { documents: [document] },
    )
    .catch((error: unknown) => warn(`the lost place of subscription ${subscription} was not told`, error));
}
