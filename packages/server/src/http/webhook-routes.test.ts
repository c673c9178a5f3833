import { VirtualServer } from '@vmpulse/client';
import type { WebhookInfo, WebhookSecret } from '@vmpulse/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Endpoint, answering } from '../../../../test/support/endpoint.ts';
import { eventually } from '../../../../test/support/eventually.ts';
import {
  type Answer,
  type HttpFixture,
  ask,
  startHttp,
  testToken,
} from '../../../../test/support/http-fixture.ts';

let http: HttpFixture;
let endpoint: Endpoint;

beforeEach(async () => {
  [http, endpoint] = [await startHttp(), await Endpoint.start()];
});

afterEach(async () => {
  await http.webhooks.close();
  await http.server.close();
  await endpoint.stop();
});

const post = (path: string, body?: unknown): Promise<Answer> => ask(http, 'POST', path, { body });
const create = (more: object = {}): Promise<Answer> =>
  post('/v1/webhooks', { name: 'pager', url: endpoint.url, ...more });

describe('webhooks over HTTP', () => {
  it('are created, listed, changed, tested, rotated and deleted; the secret is told once', async () => {
    const created = await create({ types: ['heartbeatStopped'] });
    expect([created.status, created.headers.location]).toEqual([201, '/v1/webhooks/pager']);
    const { secret, ...info } = created.json as unknown as WebhookInfo & WebhookSecret;
    expect(secret).toMatch(/^whsec_/u);
    const listed = await ask(http, 'GET', '/v1/webhooks');
    expect(listed.json).toEqual({ webhooks: [info] });
    expect(listed.text).not.toContain('whsec_');
    const changed = await ask(http, 'PATCH', '/v1/webhooks/PAGER', {
      body: { types: null, timeoutMs: 2_000 },
    });
    expect([changed.status, changed.json]).toMatchObject([200, { filter: {}, timeoutMs: 2_000 }]);
    const test = await post('/v1/webhooks/pager/test');
    expect([test.status, test.json]).toMatchObject([200, { accepted: true, status: 204, error: null }]);
    expect(JSON.parse(endpoint.received[0]?.body ?? '')).toMatchObject({ type: 'io.vmpulse.webhookTest' });
    const rotated = await post('/v1/webhooks/pager/rotate');
    expect(rotated.status).toBe(200);
    expect(rotated.json['secret']).not.toBe(secret);
    expect(rotated.json['oldSecretUntil']).not.toBeNull();
    const deleted = await ask(http, 'DELETE', '/v1/webhooks/pager');
    expect([deleted.status, deleted.text]).toEqual([204, '']);
    expect((await ask(http, 'GET', '/v1/webhooks/pager')).json['code']).toBe('VMPULSE_E_NOT_FOUND');
  });

  it.each<[object, string | undefined]>([
    [{ name: '' }, '/name'],
    [{ name: 'a/b' }, '/name'],
    [{ url: undefined }, '/url'],
    [{ url: 'ftp://example.org/' }, '/url'],
    [{ url: 'https://user:pass@example.org/' }, '/url'],
    [{ url: `https://example.org/${'x'.repeat(2_048)}` }, '/url'],
    [{ types: ['heartbeatStoped'] }, '/types/0'],
    [{ types: [] }, '/types'],
    [{ machines: 'web-1' }, '/machines'],
    [{ verdicts: ['hung', 'dead'] }, '/verdicts/1'],
    [{ timeoutMs: 30_001 }, '/timeoutMs'],
    [{ secret: 'whsec_c2hvcnQ=' }, '/secret'],
    [{ secret: 'secret' }, '/secret'],
    [{ after: 1 }, '/after'],
    [{ caCertificate: '-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----' }, '/caCertificate'],
    [{ caCertificate: 7 }, '/caCertificate'],
    [{ type: ['heartbeatStopped'] }, '/type'],
  ])('refuse %j', async (more, field) => {
    const { status, json } = await create(more);
    expect([status, json['code'], json['field']]).toEqual([400, 'VMPULSE_E_REQUEST_INVALID', field]);
    expect(http.webhooks.list()).toEqual([]);
  });

  it('have names of their own, in any case, and others are not found', async () => {
    await create();
    const again = await create({ name: 'PAGER' });
    expect([again.status, again.json['code'], again.json['field']]).toEqual([
      409,
      'E_ALREADY_EXISTS',
      '/name',
    ]);
    for (const [method, path] of [
      ['GET', '/v1/webhooks/nobody'],
      ['DELETE', '/v1/webhooks/nobody'],
      ['POST', '/v1/webhooks/nobody/test'],
      ['GET', '/v1/webhooks/nobody/dead-letters'],
      ['POST', '/v1/webhooks/pager/dead-letters/7/replay'],
      ['DELETE', '/v1/webhooks/pager/dead-letters/7'],
    ] as const) {
      const { status, json } = await ask(http, method, path);
      expect([path, status, json['code']]).toEqual([path, 404, 'VMPULSE_E_NOT_FOUND']);
    }
    expect((await ask(http, 'DELETE', '/v1/webhooks/pager/dead-letters/x')).status).toBe(400);
    expect((await ask(http, 'DELETE', '/v1/webhooks/pager/dead-letters')).json).toEqual({ count: 0 });
  });

  it('are not there when nothing can be written', async () => {
    http.log.failWrites('disk full');
    const { status, json } = await create();
    expect([status, json['code']]).toEqual([503, 'VMPULSE_E_LOG_UNAVAILABLE']);
    expect(http.webhooks.list()).toEqual([]);
    http.log.mendWrites();
    expect((await create()).status).toBe(201);
  });
});

describe('the client', () => {
  it('manages webhooks', async () => {
    const server = await VirtualServer.connect(`http://127.0.0.1:${http.port}`, { token: testToken });
    const { webhooks } = server;
    const created = await webhooks.create({ name: 'pager', url: endpoint.url, verdicts: ['hung'] });
    expect(created).toMatchObject({ name: 'pager', filter: { verdicts: ['hung'] } });
    expect((await webhooks.list()).map(({ name }) => name)).toEqual(['pager']);
    expect((await webhooks.change('pager', { verdicts: null })).filter).toEqual({});
    expect(await webhooks.test('pager')).toMatchObject({ accepted: true, status: 204 });
    endpoint.script = answering(302, { location: '/there' });
    expect((await webhooks.test('pager')).error).toContain('a redirect to /there');
    expect((await webhooks.rotate('pager', { keepOldSeconds: 0 })).oldSecretUntil).toBeNull();
    endpoint.script = answering(410);
    await http.log.append({ type: 'vmDeleted', timeMs: 0, data: {} });
    await eventually('its end', () => !http.webhooks.get('pager').enabled);
    expect((await webhooks.get('pager')).disabledReason).toBe('gone');
    expect(await webhooks.deadLetters('pager')).toEqual([]);
    expect([await webhooks.replay('pager'), await webhooks.drop('pager')]).toEqual([0, 0]);
    await webhooks.delete('pager');
    await expect(webhooks.get('pager')).rejects.toMatchObject({ code: 'VMPULSE_E_NOT_FOUND' });
    await expect(webhooks.get('..')).rejects.toMatchObject({ code: 'VMPULSE_E_NOT_FOUND' });
    await server.close();
  });
});
