/** Webhooks as they are found in the store. */
import type { WebhookDeadLetter } from '@vmpulse/wire';
import type { DocumentStore } from '../machine-record.ts';
import type { StoredCursor, StoredRetry, StoredWebhook } from './webhook-book.ts';
import { kinds } from './webhook-ledger.ts';
import type { WebhookRecord } from './webhook-record.ts';

/** Every webhook with its cursor and its lists. */
export async function loadWebhooks(store: DocumentStore): Promise<StoredWebhook[]> {
  const [webhooks, cursors, retries, deadLetters] = await Promise.all(
    [kinds.webhook, kinds.cursor, kinds.retry, kinds.deadLetter].map((kind) => store.loadDocuments(kind)),
  );
  const positions = new Map(cursors?.map(({ key, value }) => [key, value as StoredCursor]));
  const of = <T>(documents: typeof retries, id: string): T[] =>
    (documents ?? []).filter(({ key }) => key.startsWith(`${id}/`)).map(({ value }) => value as T);
  return (webhooks ?? []).map(({ key, value }) => ({
    record: value as WebhookRecord,
    cursor: positions.get(key) ?? { cursor: 0, head: null },
    retries: of<StoredRetry>(retries, key),
    deadLetters: of<WebhookDeadLetter>(deadLetters, key),
  }));
}
