import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type HttpFixture,
  ask,
  askRaw,
  startHttp,
  testToken,
} from '../../../../test/support/http-fixture.ts';

describe('authentication', () => {
  let http: HttpFixture;
  let directory: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'vmpulse-http-'));
    http = await startHttp({
      listen: { port: 0, socketPath: join(directory, 'vmpulse.sock'), hostNames: ['Console.Example'] },
    });
  });

  afterEach(async () => {
    await http.server.close();
    await rm(directory, { recursive: true });
  });

  const paths = [
    '/v1/vms',
    '/v1/events',
    '/metrics',
    '/openapi.json',
    '/nothing',
    '/healthz/',
    '/%68ealthz',
    '/v1/vms?/healthz',
  ];
  it.each(paths)('requires the token on TCP for %s', async (path) => {
    const { status, headers, json } = await ask(http, 'GET', path, { token: null });
    expect([status, json['code']]).toEqual([401, 'VMPULSE_E_UNAUTHENTICATED']);
    expect(headers['www-authenticate']).toBe('Bearer realm="vmpulse"');
    expect(http.service.calls).toEqual([]);
  });

  it.each(['', 'x', `${testToken}x`, testToken.slice(1), testToken.toUpperCase()])(
    'refuses the token "%s"',
    async (token) => {
      const { status, text } = await ask(http, 'GET', '/v1/vms', { token });
      expect(status).toBe(401);
      expect(text).not.toContain(testToken);
    },
  );

  it.each([`Basic ${testToken}`, testToken, `Bearer ${testToken} x`])(
    'refuses the header "%s"',
    async (authorization) => {
      expect((await ask(http, 'GET', '/v1/vms', { token: null, headers: { authorization } })).status).toBe(
        401,
      );
    },
  );

  it('takes the scheme in any case, and no token in the query', async () => {
    const headers = { authorization: `bearer ${testToken}` };
    expect((await ask(http, 'GET', '/v1/vms', { token: null, headers })).status).toBe(200);
    expect((await ask(http, 'GET', `/v1/vms?token=${testToken}`, { token: null })).status).toBe(401);
  });

  it('asks before it reads a body or says what is allowed', async () => {
    const body = 'x'.repeat(2 * 1024 * 1024);
    const refused = await ask(http, 'PUT', '/v1/vms', { token: null, body }).catch((error: unknown) => error);
    expect(refused).toMatchObject({ status: 401 });
  });

  it('needs no token on the Unix socket', async () => {
    const socketPath = join(directory, 'vmpulse.sock');
    expect((await ask({ socketPath }, 'GET', '/v1/vms')).status).toBe(200);
    expect((await ask({ socketPath }, 'GET', '/v1/vms', { headers: { host: 'evil.example' } })).status).toBe(
      200,
    );
  });

  it.each(['localhost', 'LOCALHOST:7410', '127.0.0.1:1', '[::1]:7410', 'console.example', 'localhost.'])(
    'answers to the name %s',
    async (host) => {
      expect((await ask(http, 'GET', '/v1/vms', { headers: { host } })).status).toBe(200);
    },
  );

  it.each([
    'evil.example',
    'localhost.evil.example',
    '127.0.0.1.evil.example:7410',
    '0.0.0.0',
    'localhost:80@evil',
  ])('answers no page that re-bound the name "%s", whatever it presents', async (host) => {
    for (const path of ['/v1/vms', '/healthz']) {
      expect(await ask(http, 'GET', path, { headers: { host } })).toMatchObject({
        status: 403,
        json: { code: 'E_ACCESSDENIED' },
      });
    }
    expect(http.service.calls).toEqual([]);
  });

  it('lets a probe of HTTP/1.0 leave the name out, and nobody else', async () => {
    expect(await askRaw(http.port, 'GET /healthz HTTP/1.0\r\n\r\n')).toMatch(/^HTTP\/1\.1 200/);
    expect(await askRaw(http.port, 'GET /healthz HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n')).toMatch(
      /^HTTP\/1\.1 403/,
    );
    expect(await askRaw(http.port, 'GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n')).toMatch(
      /^HTTP\/1\.1 400/,
    );
  });
});
