/** Signatures and secrets of the Standard Webhooks specification: `v1`, HMAC-SHA256, secrets as `whsec_` and base64. */
import { createHmac, randomBytes } from 'node:crypto';

const prefix = 'whsec_';
/** Shortest and longest key, bytes: the specification's. */
const keyBytes = { min: 24, made: 32, max: 64 } as const;

/** A new secret. */
export function makeSecret(): string {
  return prefix + randomBytes(keyBytes.made).toString('base64');
}

/** Is `text` a secret: prefix, canonical base64, a key of 24 to 64 bytes? */
export function isSecret(text: string): boolean {
  if (!text.startsWith(prefix)) return false;
  const key = keyOf(text);
  const isCanonical = prefix + key.toString('base64') === text;
  return isCanonical && key.length >= keyBytes.min && key.length <= keyBytes.max;
}

function keyOf(secret: string): Buffer {
  return Buffer.from(secret.slice(prefix.length), 'base64');
}

/** The three headers of one attempt, signed with every secret. `timestampSeconds` is the attempt's, not the event's. */
export function signedHeaders(
  secrets: readonly string[],
  id: string,
  timestampSeconds: number,
  body: string,
): Record<string, string> {
  const content = `${id}.${timestampSeconds}.${body}`;
  const signatures = secrets.map(
    (secret) => `v1,${createHmac('sha256', keyOf(secret)).update(content).digest('base64')}`,
  );
  return {
    'webhook-id': id,
    'webhook-timestamp': String(timestampSeconds),
    'webhook-signature': signatures.join(' '),
  };
}
