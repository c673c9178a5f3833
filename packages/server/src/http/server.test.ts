import { VmError, type VmInfo } from '@vmpulse/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import {
  type HttpFixture,
  ask,
  askRaw,
  startHttp,
  testToken,
} from '../../../../test/support/http-fixture.ts';
import { scriptedVm } from '../../../../test/support/scripted-machine-service.ts';

describe('the HTTP face', () => {
  let http: HttpFixture;
  const get = async (path: string) => ask(http, 'GET', path);
  const post = async (path: string, body?: unknown, headers: Record<string, string> = {}) =>
    ask(http, 'POST', path, { body, headers });

  beforeEach(async () => {
    http = await startHttp();
  });

  afterEach(async () => {
    await http.server.close();
  });

  describe('machines', () => {
    it('are answered whole: no field is dropped', async () => {
      const whole = JSON.parse(JSON.stringify(http.service.machines[0])) as VmInfo;
      expect((await get('/v1/vms/web-1')).json).toEqual(whole);
      expect((await get('/v1/vms')).json).toEqual({ vms: [whole] });
      Object.assign(http.service.machines[0] as object, { newerField: { deep: [1] } });
      expect((await get('/v1/vms/WEB-1')).json['newerField']).toEqual({ deep: [1] });
      expect((await get('/v1/vms/web-1/guest')).json).toEqual(whole.guest);
    });

    it('are created with 201 and their Location, under an id of the caller where there is one', async () => {
      const made = await post('/v1/vms', { name: 'db', memoryMiB: 64 });
      expect([made.status, made.headers.location]).toEqual([201, `/v1/vms/${String(made.json['id'])}`]);
      expect(http.service.calls.at(-1)).toBe('create {"name":"db","memoryMiB":64}');
      const id = 'CCCCCCCC-0000-4000-8000-000000000003';
      expect((await post('/v1/vms', { name: 'db2', id })).json['id']).toBe(id.toLowerCase());
      expect(http.service.calls.at(-1)).toBe('create {"name":"db2"}');
      expect((await post('/v1/vms', { name: 'db3', id: '../x' })).json).toMatchObject({
        field: '/id',
        status: 400,
      });
    });

    it("keep the service's own codes for what is wrong with a name", async () => {
      const codes = [];
      for (const name of [undefined, '', 7, 'a/b', 'a'.repeat(257)]) {
        const { status, json } = await post('/v1/vms', { name });
        codes.push([status, json['code'], json['field']]);
      }
      expect(codes).toEqual([
        [400, 'VM_E_CONFIG_NO_NAME', '/name'],
        [400, 'VM_E_CONFIG_NO_NAME', '/name'],
        [400, 'VM_E_CONFIG_NO_NAME', '/name'],
        [400, 'VM_E_CONFIG_NAME_INVALID_CHAR', '/name'],
        [400, 'VM_E_CONFIG_NAME_TOO_LONG', '/name'],
      ]);
    });

    it('are changed and deleted', async () => {
      const changed = await ask(http, 'PATCH', '/v1/vms/web-1', { body: { notes: 'new' } });
      expect([changed.status, changed.json['notes']]).toEqual([200, 'new']);
      const gone = await ask(http, 'DELETE', '/v1/vms/web-1');
      expect([gone.status, gone.text]).toEqual([204, '']);
      expect((await get('/v1/vms/web-1')).status).toBe(404);
    });

    it.each([
      ['an encoded slash', '/v1/vms/web%2F1', 'get web/1'],
      ['an encoded way up', '/v1/vms/..%2f..%2fetc%2fpasswd', 'get ../../etc/passwd'],
      ['a way up', '/v1/vms/..', 'get ..'],
      ['a snowman', '/v1/vms/%E2%98%83', 'get ☃'],
      ['the longest name', `/v1/vms/${'%F0%9F%92%A5'.repeat(256)}`, `get ${'💥'.repeat(256)}`],
      ['a NUL', '/v1/vms/%00', 'get \0'],
      ['a prototype', '/v1/vms/__proto__', 'get __proto__'],
    ])('take %s in the path as a name like any other', async (_what, path, call) => {
      const { status, json } = await get(path);
      expect([status, json['code']]).toEqual([404, 'VM_E_VM_UNKNOWN']);
      expect(http.service.calls).toEqual([call]);
    });
  });

  describe('operations', () => {
    const bodies: [string, unknown, Record<string, string>][] = [
      ['no body', undefined, {}],
      ['an empty object', {}, {}],
      ['an empty body of type JSON', '', { 'content-type': 'application/json' }],
      ['an empty form', '', { 'content-type': 'application/x-www-form-urlencoded' }],
      ['an empty object without a type', '{}', {}],
    ];
    it.each(bodies)('take %s', async (_what, body, headers) => {
      const { status, json, headers: answered } = await post('/v1/vms/web-1/turn-off', body, headers);
      expect([status, json['operation'], answered.location]).toEqual([202, 'turnOff', '/v1/tasks/1']);
    });

    it.each([
      ['startup', 409, 'VM_E_VM_RUNNING'],
      ['discard-saved-state', 409, 'VM_E_VM_RUNNING'],
      ['resume', 409, 'E_FAIL'],
      ['reset', 202, undefined],
      ['pause', 202, undefined],
      ['save', 202, undefined],
      ['shutdown', 202, undefined],
      ['inject-nmi', 202, undefined],
    ])('%s answers %i %s', async (path, status, code) => {
      const answer = await post(`/v1/vms/web-1/${path}`);
      expect([answer.status, answer.json['code']]).toEqual([status, code]);
    });

    it('refuse a body that says something', async () => {
      const { status, json } = await post('/v1/vms/web-1/reset', { force: true });
      expect([status, json['code']]).toEqual([400, 'VMPULSE_E_REQUEST_INVALID']);
      expect(http.service.calls).toEqual([]);
    });

    it('are followed as tasks', async () => {
      await post('/v1/vms/web-1/save');
      expect((await get('/v1/tasks')).json).toMatchObject({ tasks: [{ id: '1', operation: 'save' }] });
      expect((await get('/v1/tasks/1')).json).toMatchObject({ isComplete: false });
      expect(await post('/v1/tasks/1/cancel')).toMatchObject({ status: 202, json: { result: 'cancelled' } });
      expect(await get('/v1/tasks/2')).toMatchObject({ status: 404, json: { code: 'VMPULSE_E_NOT_FOUND' } });
    });
  });

  describe('errors', () => {
    it('are problem documents with code, HRESULT and what to do', async () => {
      const { status, headers, json } = await get('/v1/vms/nobody');
      expect(headers['content-type']).toMatch(/^application\/problem\+json/);
      expect(json).toEqual({
        type: 'urn:vmpulse:error:VM_E_VM_UNKNOWN',
        title: 'VM_E_VM_UNKNOWN',
        status,
        detail: 'There is no machine "nobody"; "vmpulse vm list" shows all.',
        code: 'VM_E_VM_UNKNOWN',
        hresult: '0xA0040207',
      });
    });

    it('tell nothing of the inside, which is logged', async () => {
      http.service.failure = new TypeError('secret of the inside');
      const { status, text, json } = await get('/v1/vms');
      expect([status, json['code']]).toEqual([500, 'E_UNEXPECTED']);
      expect(text).not.toContain('secret');
      expect(http.logged.join('')).toContain('secret of the inside');
    });

    it('name a path that does not exist, with or without a body', async () => {
      expect(await get('/v2')).toMatchObject({ status: 404, json: { code: 'VMPULSE_E_NOT_FOUND' } });
      expect(await post('/v1/vm', 'x', { 'content-type': 'text/plain' })).toMatchObject({ status: 404 });
    });

    it.each([
      ['PUT', '/v1/vms/web-1', 'DELETE, GET, HEAD, PATCH'],
      ['OPTIONS', '/v1/vms', 'GET, HEAD, POST'],
      ['GET', '/v1/vms/web-1/reset', 'POST'],
      ['POST', '/v1/events', 'GET, HEAD'],
      ['TRACE', '/healthz', 'GET, HEAD'],
    ])('%s %s is 405 and says what is allowed', async (method, path, allow) => {
      const { status, headers, json } = await ask(http, method, path);
      expect([status, headers.allow, json['status']]).toEqual([405, allow, 405]);
      expect(headers['access-control-allow-origin']).toBeUndefined();
    });

    it.each<[string, unknown, string, number]>([
      ['broken JSON', '{"name":', 'application/json', 400],
      ['no object', '[1]', 'application/json', 400],
      ['no body', '', 'application/json', 400],
      ['bytes that are not UTF-8', Buffer.from([0x22, 0xff, 0x22]), 'application/json', 400],
      ['a prototype', '{"name":"x","values":{"__proto__":{"a":1}}}', 'application/json', 400],
      ['nesting without end', '['.repeat(100_000), 'application/json', 400],
      ['deep nesting', `{"a":${'['.repeat(500)}${']'.repeat(500)}}`, 'application/json', 400],
      ['a form', 'name=x', 'application/x-www-form-urlencoded', 415],
      ['a type that is none', '{}', 'no type', 415],
      ['too much', `"${'x'.repeat(1024 * 1024)}"`, 'application/json', 413],
    ])('refuses a body with %s', async (_what, body, type, status) => {
      const answer = await post('/v1/vms', body, { 'content-type': type });
      expect([answer.status, answer.json['code']]).toEqual([status, 'VMPULSE_E_REQUEST_INVALID']);
      expect(http.service.calls).toEqual([]);
    });

    it.each([
      ['a path that is not UTF-8', 'GET /v1/vms/%ff HTTP/1.1', 400],
      ['a name too long for any machine', `GET /v1/vms/${'x'.repeat(4_000)} HTTP/1.1`, 414],
      ['an enormous query', `GET /v1/events?vm=${'x'.repeat(20_000)} HTTP/1.1`, 431],
      ['what is not HTTP', 'hello', 400],
      ['a method nobody knows', 'BREW /v1/vms HTTP/1.1', 400],
    ])('answers %s with a problem document', async (_what, line, status) => {
      const head = `Host: localhost\r\nAuthorization: Bearer ${testToken}\r\nConnection: close`;
      const text = await askRaw(http.port, `${line}\r\n${head}\r\n\r\n`);
      expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
      expect(text).toContain('application/problem+json');
      expect(JSON.parse(text.slice(text.indexOf('{')))).toMatchObject({ status });
    });

    it('tells a service that does not answer from one that is gone', async () => {
      await http.server.close();
      const clock = new SimulatedClock();
      http = await startHttp({ clock });
      http.service.pending = new Promise(() => {});
      const answer = get('/v1/server');
      while (http.service.calls.length === 0) await clock.settle();
      clock.advance(25_000);
      expect(await answer).toMatchObject({ status: 504, json: { code: 'VM_E_TIMED_OUT' } });
      expect((await get('/v1/vms')).status).toBe(200);
    });
  });

  describe('the server itself', () => {
    it('answers HEAD as GET without a body', async () => {
      const head = await ask(http, 'HEAD', '/v1/server');
      expect([head.status, head.text]).toEqual([200, '']);
      const events = await ask(http, 'HEAD', '/v1/events', { headers: { accept: 'text/event-stream' } });
      expect([events.status, events.text]).toEqual([200, '']);
    });

    it('is alive while it runs, and ready when it and its log are', async () => {
      expect(await ask(http, 'GET', '/healthz', { token: null })).toMatchObject({
        status: 200,
        text: 'ok\n',
      });
      expect(await ask(http, 'GET', '/readyz', { token: null })).toMatchObject({
        status: 200,
        text: 'ready\n',
      });
      http.log.failWrites('ENOSPC');
      const open = await ask(http, 'GET', '/readyz', { token: null });
      expect(open.status).toBe(503);
      expect(open.json).toMatchObject({
        code: 'VMPULSE_E_LOG_UNAVAILABLE',
        reasons: [{ reason: 'logUnavailable' }],
      });
      expect(open.text).not.toContain('ENOSPC');
      expect((await get('/readyz')).text).toContain('ENOSPC');
      expect((await get('/healthz')).status).toBe(200);
    });

    it('says that it is starting', async () => {
      await http.server.close();
      const reasons = [{ reason: 'starting' as const, detail: 'Looking for 3 machines.' }];
      http = await startHttp({ ready: () => ({ ready: false, reasons }) });
      expect(await get('/readyz')).toMatchObject({
        status: 503,
        json: { reasons, code: 'VM_E_OUT_OF_RESOURCE' },
      });
    });

    it('refuses what it threw, with the status of its code', async () => {
      http.service.failure = new VmError('VM_E_APP_SHUTTING_DOWN', 'Later.');
      expect(await get('/v1/vms')).toMatchObject({ status: 503, json: { detail: 'Later.' } });
    });

    it('closes with a request that hangs, and is gone then', async () => {
      await http.server.close();
      const clock = new SimulatedClock();
      http = await startHttp({ clock });
      http.service.machines.push(scriptedVm('x', 'dddddddd-0000-4000-8000-000000000004'));
      http.service.pending = new Promise(() => {});
      const hanging = get('/v1/server').catch((error: unknown) => (error as NodeJS.ErrnoException).code);
      while (http.service.calls.length === 0) await clock.settle();
      const closed = http.server.close();
      await clock.advanceAsync(3_000);
      await closed;
      expect(await hanging).toBe('ECONNRESET');
      await expect(get('/healthz')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
      await http.server.close();
    });
  });
});
