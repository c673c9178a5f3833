/** A webhook as stored, and how it begins and changes. */
import { randomUUID } from 'node:crypto';
import type { WebhookDisabledReason, WebhookFilter } from '@vmpulse/wire';
import { maxWebhookOldSecrets } from '../limits.ts';
import type { WebhookAuthority } from './webhook-authority.ts';
import type { CheckedWebhook } from './webhook-request.ts';

/** A webhook as stored. */
export interface WebhookRecord {
  readonly id: string;
  readonly name: string;
  readonly url: string;
  readonly filter: WebhookFilter;
  readonly timeoutMs: number;
  readonly disabled: WebhookDisabledReason | null;
  readonly createdMs: number;
  /** The first is the one of now; the others sign until their time (wall, ms). */
  readonly secrets: readonly { readonly secret: string; readonly untilMs: number | null }[];
  readonly deadLettersLost: number;
  /** Whom its endpoint's certificate is checked against; null or missing: those the system trusts. */
  readonly authority?: WebhookAuthority | null;
}

/** A new one. */
export function newRecord(checked: CheckedWebhook, nowMs: number): WebhookRecord {
  const { name, url, filter, timeoutMs, secret, authority } = checked;
  return {
    id: randomUUID(),
    name,
    url,
    filter,
    timeoutMs,
    disabled: null,
    createdMs: nowMs,
    secrets: [{ secret, untilMs: null }],
    deadLettersLost: 0,
    authority,
  };
}

/** With a new secret; the former ones sign for `keepMs` at most. */
export function rotated(record: WebhookRecord, secret: string, keepMs: number, nowMs: number): WebhookRecord {
  const old = record.secrets
    .map((one) => ({ secret: one.secret, untilMs: Math.min(one.untilMs ?? Infinity, nowMs + keepMs) }))
    .filter(({ untilMs }) => untilMs > nowMs)
    .slice(0, maxWebhookOldSecrets);
  return { ...record, secrets: [{ secret, untilMs: null }, ...old] };
}
