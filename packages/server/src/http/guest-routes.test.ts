import { VmError } from '@vmpulse/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type HttpFixture, ask, startHttp } from '../../../../test/support/http-fixture.ts';

let http: HttpFixture;

beforeEach(async () => {
  http = await startHttp();
});

afterEach(async () => {
  await http.server.close();
});

/** Calls that reached the service, but for the look for the machine. */
const calls = (): string[] => http.service.calls.filter((call) => !call.startsWith('get '));

describe('a guest over HTTP', () => {
  it('runs a program', async () => {
    const body = { path: '/bin/df', args: ['-h'], input: 'x', timeoutMs: 1_000 };
    const { status, json } = await ask(http, 'POST', '/v1/vms/web-1/guest/execute', { body });
    expect([status, json]).toEqual([
      200,
      {
        exitCode: 3,
        signal: null,
        stdout: { text: 'out\n', base64: null },
        stderr: { text: '\ufffd', base64: '/w==' },
        truncated: false,
        durationMs: 12.5,
      },
    ]);
    expect(calls()).toEqual([`execute ${JSON.stringify(body)}`]);
  });

  it('answers a program that is late with 504, and what became of it', async () => {
    http.service.failure = undefined;
    http.service.guests.execute = () =>
      Promise.reject(
        new VmError('VM_E_TIMED_OUT', 'sleep did not end within 500 ms and goes on in the guest.'),
      );
    const { status, json } = await ask(http, 'POST', '/v1/vms/web-1/guest/execute', {
      body: { path: 'sleep' },
    });
    expect([status, json['code']]).toEqual([504, 'VM_E_TIMED_OUT']);
    expect(json['detail']).toContain('goes on in the guest');
  });

  it('has parameters, with any name that a path can hold', async () => {
    const path = `/v1/vms/web-1/guest/parameters/${encodeURIComponent('a/b ü')}`;
    const set = await ask(http, 'PUT', path, { body: { value: 'v' } });
    expect([set.status, set.json]).toEqual([200, { name: 'a/b ü', value: 'v' }]);
    const got = await ask(http, 'GET', path);
    expect([got.status, got.json]).toEqual([200, { name: 'a/b ü', value: 'v' }]);
    expect(calls()).toEqual(['setParameter a/b ü {"value":"v"}', 'parameter a/b ü']);
    const longest = `/v1/vms/web-1/guest/parameters/${encodeURIComponent('ü'.repeat(255))}`;
    expect((await ask(http, 'GET', longest)).status).toBe(200);
  });

  it('is frozen, with or without a time, and thawed', async () => {
    for (const body of [undefined, {}, { timeoutMs: 5_000 }]) {
      const { status, json } = await ask(http, 'POST', '/v1/vms/web-1/guest/freeze', { body });
      expect([status, json]).toEqual([200, { fileSystems: 2 }]);
    }
    const thawed = await ask(http, 'POST', '/v1/vms/web-1/guest/thaw');
    expect([thawed.status, thawed.json]).toEqual([200, { fileSystems: 2 }]);
    expect(calls()).toEqual(['freeze {}', 'freeze {}', 'freeze {"timeoutMs":5000}', 'thaw']);
  });

  it.each([
    ['POST', 'execute', undefined],
    ['POST', 'execute', '[]'],
    ['POST', 'execute', '{"path":'],
    ['PUT', 'parameters/a', undefined],
    ['PUT', 'parameters/a', '"v"'],
    ['POST', 'freeze', '[]'],
    ['POST', 'thaw', '{"a":1}'],
  ])('%s %s refuses the body %s', async (method, path, body) => {
    const headers = { 'content-type': 'application/json' };
    const { status, json } = await ask(http, method, `/v1/vms/web-1/guest/${path}`, { body, headers });
    expect([status, json['code']]).toEqual([400, 'VMPULSE_E_REQUEST_INVALID']);
    expect(calls()).toEqual([]);
  });

  it.each([
    ['VM_E_VM_NOT_RUNNING', 409],
    ['VM_E_VM_PAUSED', 409],
    ['VM_E_ADDITIONS_NOT_AVAIL', 409],
    ['VM_E_ADDITIONS_FEATURE_NOT_AVAIL', 409],
    ['E_INVALIDARG', 400],
    ['E_FILE_NOT_FOUND', 422],
    ['E_BUFFER_OVERFLOW', 409],
    ['VM_E_OUT_OF_RESOURCE', 503],
  ] as const)('tells %s with %i', async (code, status) => {
    http.service.guests.execute = () => Promise.reject(new VmError(code, 'so it is'));
    const told = await ask(http, 'POST', '/v1/vms/web-1/guest/execute', { body: { path: 'x' } });
    expect([told.status, told.json['code']]).toEqual([status, code]);
  });

  it('of a machine that is not there is 404, other methods are 405', async () => {
    expect((await ask(http, 'POST', '/v1/vms/web-2/guest/thaw')).status).toBe(404);
    const refused = await ask(http, 'GET', '/v1/vms/web-1/guest/execute');
    expect([refused.status, refused.headers['allow']]).toEqual([405, 'POST']);
  });
});
