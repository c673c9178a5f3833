/** Webhooks (Standard Webhooks specification) as they are asked for and answered, with their JSON Schemas. */
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

/** A verdict that events carry: those of heartbeatStopped, and of visibilityLost. */
export type ToldVerdict = StopVerdict | 'unknown' | 'starved';

/** Every verdict that events carry. */
export const toldVerdictNames: readonly ToldVerdict[] = [...stopVerdictNames, 'unknown', 'starved'];

/** Which events a webhook is told; what is left out lets all through. An event must pass each part. */
export interface WebhookFilter {
  readonly types?: readonly EventType[];
  /** Names (any case) or UUIDs; events of the server itself do not pass. */
  readonly machines?: readonly string[];
  /** Events that carry no verdict pass only where `types` names their type. */
  readonly verdicts?: readonly ToldVerdict[];
}

/** POST /v1/webhooks. */
export interface WebhookRequest extends WebhookFilter {
  readonly name: string;
  /** http or https, without user and password. */
  readonly url: string;
  /** Deadline of one attempt, 1,000 to 30,000 ms; default 15,000. */
  readonly timeoutMs?: number;
  /** `whsec_` and 24 to 64 bytes in base64; one is made where none is given. */
  readonly secret?: string;
  /** Tells events with a greater seq; default: those from now on. */
  readonly after?: number;
  /** PEM: checks the endpoint's certificate against these authorities, not those the system trusts. */
  readonly caCertificate?: string;
}

/** PATCH /v1/webhooks/{name}. Null takes a part of the filter away. */
export interface WebhookChange {
  readonly url?: string;
  readonly types?: readonly EventType[] | null;
  readonly machines?: readonly string[] | null;
  readonly verdicts?: readonly ToldVerdict[] | null;
  readonly timeoutMs?: number;
  /** True goes on from the cursor, and tries what waits at once; false stops every attempt. */
  readonly enabled?: boolean;
  /** As in WebhookRequest; null: those the system trusts. */
  readonly caCertificate?: string | null;
}

/** POST /v1/webhooks/{name}/rotate. */
export interface WebhookRotation {
  /** As in WebhookRequest. */
  readonly secret?: string;
  /** For so long the old secret signs too, 0 to 604,800 s; default 86,400. */
  readonly keepOldSeconds?: number;
}

/** The answer to a creation and to a rotation: the only times a secret is told. */
export interface WebhookSecret {
  readonly secret: string;
}

/** Why a webhook is disabled: its endpoint answered 410, or an operator did it. */
export type WebhookDisabledReason = 'gone' | 'operator';

/** How one attempt went. */
export interface WebhookAttempt {
  readonly at: string;
  /** HTTP status; null where none came. */
  readonly status: number | null;
  readonly tookMs: number;
  /** Why it failed, for a person; null where it was accepted. */
  readonly error: string | null;
}

/** A webhook. Its secret is never part of it. */
export interface WebhookInfo {
  readonly name: string;
  readonly url: string;
  readonly filter: WebhookFilter;
  readonly timeoutMs: number;
  readonly enabled: boolean;
  readonly disabledReason: WebhookDisabledReason | null;
  readonly createdAt: string;
  /** Every event up to this seq was accepted, did not pass the filter, or waits in one of the two lists. */
  readonly cursor: number;
  /** Events of the log after the cursor, whatever the filter lets through. */
  readonly lag: number;
  /** Events that failed three times and are tried again, beside the line. */
  readonly retrying: number;
  /** Events given up, until they are replayed or dropped. */
  readonly deadLetters: number;
  /** Dead letters that were lost because there were too many. */
  readonly deadLettersLost: number;
  /** `open`: too many attempts failed in a row; single ones are made at growing intervals. */
  readonly circuit: 'closed' | 'open';
  readonly failuresInARow: number;
  readonly lastAttempt: WebhookAttempt | null;
  /** When the next attempt is made; null where nothing waits. */
  readonly nextAttemptAt: string | null;
  /** Until when a former secret signs too; null where none does. */
  readonly oldSecretUntil: string | null;
  /** SHA-256 of each certificate of its own authorities; none: those the system trusts. */
  readonly caFingerprints: readonly string[];
}

/** How a test went. */
export interface WebhookTest extends WebhookAttempt {
  readonly accepted: boolean;
  /** The beginning of the answer's body. */
  readonly answer: string;
}

/** An event whose attempts are used up. */
export interface WebhookDeadLetter {
  readonly seq: number;
  readonly attempts: number;
  readonly since: string;
  /** Why the last attempt failed. */
  readonly error: string;
  readonly event: VmEvent;
}

/** How many dead letters a replay or a drop took. */
export interface WebhookDeadLetterCount {
  readonly count: number;
}

const filter = {
  types: listOf(oneOf(eventTypeNames), 64),
  machines: listOf(text('Name (any case) or UUID.'), 1_000),
  verdicts: listOf(oneOf(toldVerdictNames), 64),
};
const timeout: JsonSchema = {
  ...milliseconds('Deadline of one attempt; default 15,000.'),
  minimum: 1_000,
  maximum: 30_000,
};
const name = text('1 to 64 of letters, digits, . _ and -, the first a letter or a digit; any case finds it.');
const url = text('http or https, without user and password.');
const secret = text('whsec_ and 24 to 64 bytes in base64.');
const caCertificate = text('PEM: authorities of its own, instead of those the system trusts.');
const attempt = {
  at: timestamp,
  status: orNull(number('HTTP status; null where none came.')),
  tookMs: milliseconds(),
  error: orNull(text('Why it failed.')),
};

/** The schemas of all that is asked and answered of webhooks, those that others refer to first. */
export const webhookSchemas: readonly NamedSchema[] = [
  named(
    'WebhookRequest',
    'A webhook to create. Types, machines and verdicts are the filter.',
    objectOf<WebhookRequest>(
      { name, url },
      {
        ...filter,
        timeoutMs: timeout,
        secret,
        caCertificate,
        after: number('Events with a greater seq; default: those from now on.', { minimum: 0 }),
      },
    ),
  ),
  named(
    'WebhookChange',
    'What changes of a webhook. Null takes a part of the filter away.',
    objectOf<WebhookChange>(
      {},
      {
        url,
        types: orNull(filter.types),
        machines: orNull(filter.machines),
        verdicts: orNull(filter.verdicts),
        timeoutMs: timeout,
        caCertificate: orNull(caCertificate),
        enabled: { ...flag, description: 'True goes on from the cursor; false stops every attempt.' },
      },
    ),
  ),
  named(
    'WebhookRotation',
    'A new secret.',
    objectOf<WebhookRotation>(
      {},
      {
        secret,
        keepOldSeconds: number('For so long the old one signs too; default 86,400.', {
          minimum: 0,
          maximum: 604_800,
        }),
      },
    ),
  ),
  named('WebhookSecret', 'Told once.', objectOf<WebhookSecret>({ secret }, {})),
  named('WebhookAttempt', 'How one attempt went.', objectOf<WebhookAttempt>(attempt, {})),
  named(
    'WebhookInfo',
    'A webhook.',
    objectOf<WebhookInfo>(
      {
        name,
        url,
        filter: objectOf<WebhookFilter>({}, filter),
        timeoutMs: timeout,
        enabled: flag,
        disabledReason: orNull(oneOf(['gone', 'operator'])),
        createdAt: timestamp,
        cursor: number('Every event up to this seq was accepted, filtered out, or waits in a list.'),
        lag: number('Events of the log after the cursor.'),
        retrying: number('Events tried again beside the line.'),
        deadLetters: number('Events given up.'),
        deadLettersLost: number('Dead letters lost at their bound.'),
        circuit: oneOf(['closed', 'open']),
        failuresInARow: number(),
        lastAttempt: orNull(refer('WebhookAttempt')),
        nextAttemptAt: orNull(timestamp),
        oldSecretUntil: orNull(timestamp),
        caFingerprints: listOf(text('SHA-256 of a certificate of its own authorities.')),
      },
      {},
    ),
  ),
  named(
    'WebhookList',
    'Every webhook.',
    objectOf<{ webhooks: WebhookInfo[] }>({ webhooks: listOf(refer('WebhookInfo')) }, {}),
  ),
  named(
    'WebhookTest',
    'How a test went.',
    objectOf<WebhookTest>({ ...attempt, accepted: flag, answer: text('The beginning of the answer.') }, {}),
  ),
  named(
    'WebhookDeadLetter',
    'An event whose attempts are used up.',
    objectOf<WebhookDeadLetter>(
      { seq: number(), attempts: number(), since: timestamp, error: text(), event: refer('VmEvent') },
      {},
    ),
  ),
  named(
    'WebhookDeadLetterList',
    'Dead letters, the oldest event first.',
    objectOf<{ deadLetters: WebhookDeadLetter[] }>({ deadLetters: listOf(refer('WebhookDeadLetter')) }, {}),
  ),
  named(
    'WebhookDeadLetterCount',
    'How many it took.',
    objectOf<WebhookDeadLetterCount>({ count: number() }, {}),
  ),
];
