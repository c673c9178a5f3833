import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Answer, type HttpFixture, ask, startHttp } from '../../../../test/support/http-fixture.ts';

let http: HttpFixture;

beforeEach(async () => {
  http = await startHttp();
});

afterEach(async () => {
  await http.server.close();
});

const put = (path: string, body?: unknown): Promise<Answer> => ask(http, 'PUT', path, { body });
const request = { seconds: 60, reason: 'kernel upgrade' };

describe('holds over HTTP', () => {
  it('are begun, listed, replaced and ended, of one machine and of all', async () => {
    const one = await put('/v1/vms/WEB-1/hold', request);
    const [machine] = http.service.machines;
    expect([one.status, one.json]).toEqual([
      200,
      {
        scope: 'vm',
        vm: { id: machine?.id, name: 'web-1' },
        reason: 'kernel upgrade',
        since: '2026-01-01T00:00:00.000Z',
        until: '2026-01-01T00:01:00.000Z',
      },
    ]);
    const all = await put('/v1/holds', { seconds: 1.5, reason: 'storage move' });
    expect(all.json).toMatchObject({ scope: 'all', until: '2026-01-01T00:00:01.500Z' });
    expect((await ask(http, 'GET', '/v1/holds')).json).toEqual({ holds: [one.json, all.json] });
    for (const path of ['/v1/vms/web-1/hold', '/v1/holds']) {
      const gone = await ask(http, 'DELETE', path);
      expect([gone.status, gone.text]).toEqual([204, '']);
      const nothing = await ask(http, 'DELETE', path);
      expect([nothing.status, nothing.json['code']]).toEqual([404, 'VMPULSE_E_NOT_FOUND']);
    }
    expect((await ask(http, 'GET', '/v1/holds')).json).toEqual({ holds: [] });
  });

  it.each<[unknown, string | undefined]>([
    [undefined, undefined],
    ['[]', undefined],
    ['{"seconds":60', undefined],
    [{}, '/seconds'],
    [{ seconds: 60 }, '/reason'],
    [{ seconds: '60', reason: 'r' }, '/seconds'],
    [{ seconds: 604_801, reason: 'r' }, '/seconds'],
    [{ seconds: 60, reason: '\n' }, '/reason'],
    [{ ...request, minutes: 1 }, '/minutes'],
    [{ ...request, 'a/b': 1 }, '/a~1b'],
  ])('refuse the body %j', async (body, field) => {
    for (const path of ['/v1/holds', '/v1/vms/web-1/hold']) {
      const { status, json, headers } = await put(path, body);
      expect([status, json['code'], json['field']]).toEqual([400, 'VMPULSE_E_REQUEST_INVALID', field]);
      expect(headers['content-type']).toContain('application/problem+json');
    }
    expect((await ask(http, 'GET', '/v1/holds')).json).toEqual({ holds: [] });
  });

  it('of a machine that is not there are not found, and other methods are not allowed', async () => {
    const unknown = await put('/v1/vms/nobody/hold', request);
    expect([unknown.status, unknown.json['code']]).toEqual([404, 'VM_E_VM_UNKNOWN']);
    const wrong = await ask(http, 'POST', '/v1/holds', { body: request });
    expect([wrong.status, wrong.headers.allow]).toEqual([405, 'DELETE, GET, HEAD, PUT']);
    const got = await ask(http, 'GET', '/v1/vms/web-1/hold');
    expect([got.status, got.headers.allow]).toEqual([405, 'DELETE, PUT']);
    const said = await ask(http, 'DELETE', '/v1/holds', { body: { seconds: 1 } });
    expect(said.status).toBe(400);
  });

  it('are answered only once they are durable', async () => {
    let go = (): void => undefined;
    http.service.pending = new Promise((resolve) => {
      go = resolve;
    });
    let answered = false;
    const asking = put('/v1/holds', request).then((given) => {
      answered = true;
      return given;
    });
    await ask(http, 'GET', '/v1/holds');
    expect(answered).toBe(false);
    go();
    expect((await asking).status).toBe(200);
  });
});
