/** What is sent to an endpoint: an event, or a test, signed at the time of the attempt. */
import { randomUUID } from 'node:crypto';
import type { VmEvent } from '@vmpulse/wire';
import type { Clock } from '../clock.ts';
import { webhookTestTimeoutMs } from '../limits.ts';
import type { WebhookBook } from './webhook-book.ts';
import type { Letter } from './webhook-sender.ts';
import { signedHeaders } from './webhook-signature.ts';

/** What every letter is made with. */
export interface LetterPorts {
  readonly clock: Clock;
  readonly userAgent: string;
}

/** An event as CloudEvent. */
export function eventLetter(
  ports: LetterPorts,
  book: WebhookBook,
  event: VmEvent,
  signal: AbortSignal,
): Letter {
  return compose(ports, book, event.id, JSON.stringify(event), book.record.timeoutMs, signal);
}

/** A CloudEvent that is in no log: `io.vmpulse.webhookTest`, without seq. */
export function testLetter(ports: LetterPorts, book: WebhookBook, serverId: string): Letter {
  const id = `test-${randomUUID()}`;
  const body = JSON.stringify({
    specversion: '1.0',
    id,
    source: `/v1/server/${serverId}`,
    type: 'io.vmpulse.webhookTest',
    time: new Date(ports.clock.wallMs()).toISOString(),
    datacontenttype: 'application/json',
    data: { webhook: book.record.name },
  });
  const timeoutMs = Math.min(book.record.timeoutMs, webhookTestTimeoutMs);
  return compose(ports, book, id, body, timeoutMs, new AbortController().signal);
}

function compose(
  { clock, userAgent }: LetterPorts,
  book: WebhookBook,
  id: string,
  body: string,
  timeoutMs: number,
  signal: AbortSignal,
): Letter {
  const seconds = Math.floor(clock.wallMs() / 1_000);
  const headers = { 'user-agent': userAgent, ...signedHeaders(book.secrets(), id, seconds, body) };
  return { url: book.record.url, headers, body, timeoutMs, signal };
}
