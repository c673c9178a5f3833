/** Durable subscriptions: what is asked of them and what they answer. A subscription's cursor stays on the server. */
import { type EventType, type VmEvent, eventTypeNames } from './event.ts';
import { stopVerdictNames } from './event-schema.ts';
import {
  type JsonSchema,
  type NamedSchema,
  flag,
  listOf,
  milliseconds,
  named,
  number,
  objectOf,
  oneOf,
  orNull,
  refer,
  text,
  timestamp,
} from './schema-builder.ts';
import type { StopVerdict } from './verdict.ts';

/** Bounds of subscriptions that clients meet. */
export const subscriptionBounds = {
  /** How often one event is tried until it is set aside. */
  attempts: { least: 1, most: 1_000, usual: 10 },
  /** How long a consumer may answer nothing while events are in flight, ms. */
  ackTimeoutMs: { least: 1_000, most: 3_600_000, usual: 60_000 },
  /** Machines that one filter names. */
  maxMachines: 256,
  /** Why an event was not taken, characters; what is longer is cut. */
  maxReasonLength: 500,
} as const;

/** A name: lower-case letters, digits, `.`, `_` and `-`, at most 64, beginning with a letter or digit. */
export const subscriptionNamePattern = '^[a-z0-9][a-z0-9._-]{0,63}$';

/** A verdict that an event can carry: of heartbeatStopped and of visibilityLost. */
export type EventVerdict = StopVerdict | 'unknown' | 'starved';

/** Every verdict that an event can carry. */
export const eventVerdictNames: readonly EventVerdict[] = [...stopVerdictNames, 'unknown', 'starved'];

/** Which events a subscription takes; what is not said, or null, lets everything through. */
export interface SubscriptionFilter {
  types?: EventType[] | null;
  /** Names (any case) or ids; events of no machine are then left out. */
  machines?: string[] | null;
  /** Of the events that carry a verdict only those with one of these; events without one are not concerned. */
  verdicts?: EventVerdict[] | null;
}

/** PUT /v1/subscriptions/{name}. */
export interface SubscriptionRequest extends SubscriptionFilter {
  /** First seq wanted, or what is told from now on (default). Counts only when the subscription is made. */
  from?: 'now' | number;
  /** How often an event that is not taken is tried before it is set aside; default 10. */
  maxAttempts?: number;
  /**
   * How long a consumer may answer nothing while events are in flight, ms; default 60,000; null: as long as it likes.
   * Then the event it holds up counts as not taken, and the next consumer is served. Each answer begins it anew.
   */
  ackTimeoutMs?: number | null;
}

/** A subscription, and how it stands. */
export interface SubscriptionInfo {
  name: string;
  types: EventType[] | null;
  machines: string[] | null;
  verdicts: EventVerdict[] | null;
  maxAttempts: number;
  /** How long a consumer may answer nothing while events are in flight, ms; null: as long as it likes. */
  ackTimeoutMs: number | null;
  /** Whether a consumer is connected and served, or one is waited for. */
  state: 'waiting' | 'served';
  /** Further consumers, of which the first takes over when the one that is served leaves. */
  standby: number;
  /** All up to this seq was acknowledged, was not wanted (also while no consumer is there), or was set aside. */
  cursor: number;
  /** Events of the log after the cursor. The first of them is wanted; 0 where none is. */
  lag: number;
  /** Sent and not acknowledged. */
  inFlight: number;
  /** Deliveries after the first of an event, since the service started. */
  redeliveries: number;
  deadLetters: number;
  /** Age of the oldest event after the cursor; null when there is none. */
  oldestUnacknowledgedMs: number | null;
  createdAt: string;
}

/** An event that was set aside after the last attempt. */
export interface DeadLetter {
  seq: number;
  event: VmEvent;
  attempts: number;
  /** What the consumer said last. */
  reason: string;
  setAsideAt: string;
  /** It is being delivered once more; taken, it is gone from here. */
  replaying: boolean;
}

/** POST /v1/subscriptions/{name}/ack. */
export interface SubscriptionAck {
  /** All up to this one was taken; of a replayed dead letter, only it. */
  seq: number;
  /** As the stream's `lease` message said it. */
  lease: string;
}

/** POST /v1/subscriptions/{name}/nack. */
export interface SubscriptionNack extends SubscriptionAck {
  /** Why it was not taken, for whoever finds it set aside. */
  reason?: string;
}

/** The stream's message `lease`: this consumer is served from here on. */
export interface SubscriptionLease {
  lease: string;
  cursor: number;
}

/** The stream's message `rewind`: what was sent from here on is sent again, in order. */
export interface SubscriptionRewind {
  /** The event that was not taken. */
  seq: number;
}

/** The stream's message `lostPlace`: these were not acknowledged and are no longer kept. */
export interface SubscriptionLoss {
  from: number;
  to: number;
}

const seq = number('seq of an event.', { minimum: 1 });
const lease = text('As the stream said it when it began to serve.');
const types = orNull(listOf(oneOf(eventTypeNames)));
const machines = orNull(listOf(text('Name (any case) or id.'), subscriptionBounds.maxMachines));
const verdicts: JsonSchema = {
  ...orNull(listOf(oneOf(eventVerdictNames))),
  description: 'Of the events that carry a verdict only those with one of these.',
};
const maxAttempts = number('Until an event that is not taken is set aside; default 10.', {
  minimum: subscriptionBounds.attempts.least,
  maximum: subscriptionBounds.attempts.most,
});
const ackTimeoutMs = orNull(
  number(
    'How long a consumer may answer nothing while events are in flight, ms; default 60000; null: no deadline.',
    {
      minimum: subscriptionBounds.ackTimeoutMs.least,
      maximum: subscriptionBounds.ackTimeoutMs.most,
    },
  ),
);

/** Every named schema of subscriptions. */
export const subscriptionSchemas: readonly NamedSchema[] = [
  named(
    'SubscriptionRequest',
    'A subscription to make, or to change.',
    objectOf<SubscriptionRequest>(
      {},
      {
        types,
        machines,
        verdicts,
        maxAttempts,
        ackTimeoutMs,
        from: {
          anyOf: [{ const: 'now' }, seq],
          description: 'First seq wanted, or now (default). Counts only when the subscription is made.',
        },
      },
    ),
  ),
  named(
    'SubscriptionInfo',
    'A subscription, and how it stands.',
    objectOf<SubscriptionInfo>(
      {
        name: { ...text(), pattern: subscriptionNamePattern },
        types,
        machines,
        verdicts,
        maxAttempts,
        ackTimeoutMs,
        state: oneOf(['waiting', 'served'], 'Whether a consumer is served, or one is waited for.'),
        standby: number('Further consumers.'),
        cursor: number('All up to this seq is done with.'),
        lag: number('Events of the log after the cursor.'),
        inFlight: number('Sent and not acknowledged.'),
        redeliveries: number('Deliveries after the first of an event, since the service started.'),
        deadLetters: number(),
        oldestUnacknowledgedMs: orNull(milliseconds('Age of the oldest event after the cursor.')),
        createdAt: timestamp,
      },
      {},
    ),
  ),
  named(
    'SubscriptionList',
    'Every subscription.',
    objectOf<{ subscriptions: SubscriptionInfo[] }>({ subscriptions: listOf(refer('SubscriptionInfo')) }, {}),
  ),
  named(
    'DeadLetter',
    'An event that was set aside after the last attempt.',
    objectOf<DeadLetter>(
      {
        seq,
        event: refer('VmEvent'),
        attempts: number(),
        reason: text('What the consumer said last.'),
        setAsideAt: timestamp,
        replaying: { ...flag, description: 'It is being delivered once more.' },
      },
      {},
    ),
  ),
  named(
    'DeadLetterList',
    'Dead letters of a subscription, the oldest first.',
    objectOf<{ deadLetters: DeadLetter[] }>({ deadLetters: listOf(refer('DeadLetter')) }, {}),
  ),
  named('SubscriptionAck', 'All up to `seq` was taken.', objectOf<SubscriptionAck>({ seq, lease }, {})),
  named(
    'SubscriptionNack',
    '`seq` was not taken.',
    objectOf<SubscriptionNack>({ seq, lease }, { reason: text('Why, for a person.') }),
  ),
];
