import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type HttpFixture, ask, startHttp } from '../../../../test/support/http-fixture.ts';

let http: HttpFixture;

beforeEach(async () => {
  http = await startHttp();
});

afterEach(async () => {
  await http.server.close();
});

describe('recovery over HTTP', () => {
  it('shows a machine and takes up again what was given up', async () => {
    const shown = await ask(http, 'GET', '/v1/vms/WEB-1/recovery');
    expect([shown.status, shown.json['state'], shown.json['verdict']]).toEqual([200, 'gaveUp', 'hung']);
    const rearmed = await ask(http, 'POST', '/v1/vms/web-1/recovery/rearm');
    expect([rearmed.status, rearmed.json['state']]).toEqual([200, 'idle']);
    const unknown = await ask(http, 'GET', '/v1/vms/nobody/recovery');
    expect([unknown.status, unknown.json['code']]).toEqual([404, 'VM_E_VM_UNKNOWN']);
    const said = await ask(http, 'POST', '/v1/vms/web-1/recovery/rearm', { body: { now: true } });
    expect(said.status).toBe(400);
  });

  it('sets the default as a whole, with everything filled in', async () => {
    const body = { action: 'staged', attempts: 5, atOnce: 4 };
    const set = await ask(http, 'PUT', '/v1/recovery', { body });
    expect([set.status, set.json]).toMatchObject([200, { ...body, windowMs: 3_600_000, dryRun: false }]);
    expect((await ask(http, 'GET', '/v1/recovery')).json).toEqual(set.json);
  });

  it.each<[unknown, string | undefined]>([
    [{}, '/action'],
    [{ action: 'default' }, '/action'],
    [{ action: 'reset', attempts: 0 }, '/attempts'],
    [{ action: 'reset', settleMs: '1' }, '/settleMs'],
    [{ action: 'reset', tries: 1 }, '/tries'],
    ['[]', undefined],
  ])('refuses the default %j', async (body, field) => {
    const { status, json } = await ask(http, 'PUT', '/v1/recovery', { body });
    expect([status, json['field']]).toEqual([400, field]);
    expect((await ask(http, 'GET', '/v1/recovery')).json['action']).toBe('none');
  });
});
