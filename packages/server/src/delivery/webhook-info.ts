/** A webhook as it is told. */
import type { WebhookInfo } from '@vmpulse/wire';
import type { Clock } from '../clock.ts';
import type { EventLog } from '../event/log.ts';
import type { WebhookBook } from './webhook-book.ts';
import type { WebhookCourier } from './webhook-courier.ts';

const iso = (wallMs: number): string => new Date(Math.trunc(wallMs)).toISOString();

/** Without a courier it is disabled, or the service does not run (any more). */
export function describeWebhook(
  clock: Clock,
  log: EventLog,
  book: WebhookBook,
  courier: WebhookCourier | undefined,
): WebhookInfo {
  const { name, url, filter, timeoutMs, disabled, createdMs, secrets, deadLettersLost } = book.record;
  const cursor = courier?.cursor ?? book.cursor;
  const nextMs = courier?.nextAttemptMs ?? null;
  const waitMs = nextMs === null ? null : Math.max(0, nextMs - clock.monotonicMs());
  const untilMs = Math.max(...secrets.map((one) => one.untilMs ?? 0));
  return {
    name,
    url,
    filter,
    timeoutMs,
    enabled: disabled === null,
    disabledReason: disabled,
    createdAt: iso(createdMs),
    cursor,
    lag: Math.max(0, log.state().lastSeq - cursor),
    retrying: book.retries.size,
    deadLetters: book.deadLetters.size,
    deadLettersLost,
    circuit: book.circuit.isOpen ? 'open' : 'closed',
    failuresInARow: book.circuit.failures,
    lastAttempt: book.lastAttempt,
    nextAttemptAt: waitMs === null ? null : iso(clock.wallMs() + waitMs),
    caFingerprints: book.record.authority?.fingerprints ?? [],
    oldSecretUntil: untilMs > clock.wallMs() ? iso(untilMs) : null,
  };
}
