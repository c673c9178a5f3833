/** The certificate authority of one webhook: whom its endpoint's certificate is checked against. */
import { X509Certificate } from 'node:crypto';
import { VmError } from '@vmpulse/wire';
import { maxWebhookCaCertificates, maxWebhookCaLength } from '../limits.ts';

const block = /-----BEGIN ([A-Z0-9 ]+)-----[\s\S]*?-----END \1-----/gu;

/** Authorities of one webhook: PEM, and SHA-256 of each certificate in hexadecimal with colons. */
export interface WebhookAuthority {
  readonly pem: string;
  readonly fingerprints: readonly string[];
}

/** The certificates of a PEM text and nothing else of it; null stays. Errors: VMPULSE_E_REQUEST_INVALID. */
export function checkCaCertificate(value: unknown): WebhookAuthority | null {
  if (value === null) return null;
  if (typeof value !== 'string' || value.length > maxWebhookCaLength) {
    throw invalid(`must be certificates as PEM text of at most ${maxWebhookCaLength} characters`);
  }
  const blocks = [...value.matchAll(block)];
  if (blocks.length === 0 || blocks.length > maxWebhookCaCertificates) {
    const wanted = `must be 1 to ${maxWebhookCaCertificates} certificates as PEM text`;
    throw invalid(`${wanted}: -----BEGIN CERTIFICATE-----, base64, -----END CERTIFICATE-----`);
  }
  const certificates = blocks.map(([pem, label = ''], index) => checkBlock(pem, label, index));
  return {
    pem: certificates.map((certificate) => certificate.toString()).join(''),
    fingerprints: certificates.map(({ fingerprint256 }) => fingerprint256),
  };
}

function checkBlock(pem: string, label: string, index: number): X509Certificate {
  if (label !== 'CERTIFICATE') {
    throw invalid(`must hold certificates only, but has a ${label.slice(0, 40)}; leave that out`);
  }
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw invalid(`has a certificate that cannot be read, number ${index + 1}`, cause);
  }
}

function invalid(what: string, cause?: unknown): VmError {
  const field = '/caCertificate';
  return new VmError('VMPULSE_E_REQUEST_INVALID', `caCertificate ${what}.`, { field, cause });
}
