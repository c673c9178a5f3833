import { expect, it } from 'vitest';
import { makeCertificate } from '../../../../test/support/certificate.ts';
import { checkCaCertificate } from './webhook-authority.ts';

const refusal = (value: unknown): unknown => {
  try {
    return checkCaCertificate(value);
  } catch (error) {
    return error;
  }
};

it('certificates are taken out of what stands around them, and told by their fingerprints', () => {
  const [one, two] = [makeCertificate().certificate, makeCertificate().certificate];
  const authority = checkCaCertificate(`subject=CN = ours\r\n${one}\n# and\n${two.replaceAll('\n', '\r\n')}`);
  expect(authority?.pem).toBe(one + two);
  expect(authority?.fingerprints).toHaveLength(2);
  for (const print of authority?.fingerprints ?? [])
    expect(print).toMatch(/^(?:[0-9A-F]{2}:){31}[0-9A-F]{2}$/u);
  expect(checkCaCertificate(null)).toBeNull();
});

it('what is no certificate is refused, a private key above all, and nothing of it is repeated', () => {
  const { certificate, key } = makeCertificate();
  // Its outermost length is wrong, whatever is in it.
  const broken = certificate.replace('-----\nMII', '-----\nAAA');
  for (const [value, why] of [
    [certificate + key, 'has a PRIVATE KEY'],
    [broken, 'cannot be read, number 1'],
    [certificate + broken, 'cannot be read, number 2'],
    ['', '1 to 16 certificates'],
    ['MIIB', '1 to 16 certificates'],
    [certificate.repeat(17), '1 to 16 certificates'],
    ['x'.repeat(32 * 1024 + 1), 'at most 32768 characters'],
    [[certificate], 'PEM text'],
  ] as const) {
    const error = refusal(value);
    expect(error).toMatchObject({ code: 'VMPULSE_E_REQUEST_INVALID', field: '/caCertificate' });
    expect(String(error)).toContain(why);
    expect(String(error)).not.toContain(key.split('\n')[1]);
  }
});
