import { VirtualServer } from '@vmpulse/client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type Answer,
  type HttpFixture,
  ask,
  startHttp,
  testToken,
} from '../../../../test/support/http-fixture.ts';
import { ScriptedTerminal } from '../../../../test/support/scripted-terminal.ts';
import { runProgram } from '../cli/program.ts';

let http: HttpFixture;

beforeEach(async () => {
  http = await startHttp();
});

afterEach(async () => {
  await http.server.close();
});

const put = (path: string, body?: unknown): Promise<Answer> => ask(http, 'PUT', path, { body });
const request = { command: ['/usr/local/bin/page-me', '--loud'], timeoutSeconds: 5 };

describe('scripts over HTTP', () => {
  it('are attached, fetched, listed and removed, of the server and of a machine', async () => {
    const [machine] = http.service.machines;
    const ofServer = await put('/v1/scripts/8', request);
    expect([ofServer.status, ofServer.json]).toEqual([
      200,
      {
        ...request,
        scope: 'server',
        trigger: 'heartbeatStopped',
        eventType: 8,
        attachedAt: expect.stringMatching(/^20.*Z$/u) as string,
        enabled: false,
        pending: 0,
      },
    ]);
    const ofVm = await put('/v1/vms/WEB-1/scripts/heartbeatStopped', { command: ['/bin/true'] });
    expect(ofVm.json).toMatchObject({
      scope: 'vm',
      vm: { id: machine?.id, name: 'web-1' },
      timeoutSeconds: 60,
    });
    const again = await put('/v1/scripts/heartbeatStopped', request);
    expect([again.status, again.json['code'], again.json['hresult']]).toEqual([
      409,
      'VM_E_SCRIPT_ALREADY_EXISTS',
      '0xA004020A',
    ]);
    expect((await ask(http, 'GET', '/v1/scripts')).json).toEqual({ scripts: [ofServer.json, ofVm.json] });
    expect((await ask(http, 'GET', '/v1/vms/web-1/scripts')).json).toEqual({ scripts: [ofVm.json] });
    for (const path of ['/v1/scripts/8', '/v1/vms/web-1/scripts/8']) {
      expect((await ask(http, 'GET', path)).status).toBe(200);
      const gone = await ask(http, 'DELETE', path);
      expect([gone.status, gone.text]).toEqual([204, '']);
      for (const method of ['GET', 'DELETE']) {
        const nothing = await ask(http, method, path);
        expect([nothing.status, nothing.json['code']]).toEqual([404, 'VMPULSE_E_NOT_FOUND']);
      }
    }
  });

  it('are off until they are switched on', async () => {
    const off = { vsScriptsEnabled: false, vmScriptsEnabled: false };
    expect((await ask(http, 'GET', '/v1/script-settings')).json).toEqual(off);
    const changed = await ask(http, 'PATCH', '/v1/script-settings', { body: { vmScriptsEnabled: true } });
    expect([changed.status, changed.json]).toEqual([200, { ...off, vmScriptsEnabled: true }]);
    for (const body of [{ vmScriptsEnabled: 1 }, { scriptsEnabled: true }]) {
      const { status, json } = await ask(http, 'PATCH', '/v1/script-settings', { body });
      expect([status, json['code'], json['field']]).toEqual([
        400,
        'VMPULSE_E_REQUEST_INVALID',
        `/${Object.keys(body)[0]}`,
      ]);
    }
  });

  it('say what is wrong with a request', async () => {
    for (const [path, body, status, code, field] of [
      ['/v1/scripts/nothing', request, 400, 'E_INVALIDARG', undefined],
      ['/v1/scripts/8', undefined, 400, 'VMPULSE_E_REQUEST_INVALID', undefined],
      ['/v1/scripts/8', { command: ['true'] }, 400, 'VMPULSE_E_REQUEST_INVALID', '/command/0'],
      ['/v1/vms/nobody/scripts/8', request, 404, 'VM_E_VM_UNKNOWN', undefined],
    ] as const) {
      const given = await put(path, body);
      expect([path, given.status, given.json['code'], given.json['field']]).toEqual([
        path,
        status,
        code,
        field,
      ]);
    }
    expect((await ask(http, 'DELETE', '/v1/scripts/8', { body: request })).status).toBe(400);
    expect((await ask(http, 'POST', '/v1/scripts/8', { body: request })).headers.allow).toBe(
      'DELETE, GET, HEAD, PUT',
    );
  });
});

describe('the client', () => {
  it('has the methods of the original, on the server and on a machine', async () => {
    const server = await VirtualServer.connect(`http://127.0.0.1:${http.port}`, { token: testToken });
    const vm = await server.findVirtualMachine('web-1');
    for (const where of [server, vm]) {
      const script = await where.attachScriptToEvent(8, ['/bin/true', 'a'], { timeoutSeconds: 1 });
      expect(script).toMatchObject({ command: ['/bin/true', 'a'], timeoutSeconds: 1 });
      await expect(where.attachScriptToEvent('heartbeatStopped', ['/bin/true'])).rejects.toMatchObject({
        code: 'VM_E_SCRIPT_ALREADY_EXISTS',
      });
      expect(await where.fetchScriptByEvent('heartbeatStopped')).toEqual(script);
    }
    expect((await server.scripts()).map(({ scope }) => scope)).toEqual(['server', 'vm']);
    expect(await vm.scripts()).toMatchObject([{ vm: { name: 'web-1' } }]);
    for (const where of [server, vm]) {
      await where.removeScriptFromEvent('heartbeatStopped');
      await expect(where.fetchScriptByEvent(8)).rejects.toMatchObject({ code: 'VMPULSE_E_NOT_FOUND' });
    }
    expect(await server.changeScriptSettings({ vsScriptsEnabled: true })).toEqual(
      await server.scriptSettings(),
    );
    await server.close();
  });
});

describe('vmpulse script', () => {
  async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
    const env = { VMPULSE_URL: `http://127.0.0.1:${http.port}`, VMPULSE_TOKEN: testToken };
    const terminal = new ScriptedTerminal(env, '/');
    const code = await runProgram(['script', ...args], terminal, '1.2.3', () => Promise.resolve([]));
    return { code, out: terminal.output, err: terminal.errors };
  }

  it('attaches, shows, lists, switches and removes', async () => {
    expect(await run('attach', '8', '--timeout', '5', '--', '/bin/echo', '-n', 'a b')).toEqual({
      code: 0,
      out:
        '/bin/echo -n "a b" runs for heartbeatStopped of machines, or the server, from now on; ' +
        'such scripts are disabled, see `vmpulse script enable`',
      err: '',
    });
    expect((await run('enable', 'machines')).out).toBe(
      'scripts of the server are disabled, scripts of machines enabled',
    );
    expect((await run('attach', 'vmLaunched', '--vm', 'web-1', '--', '/bin/true')).out).toBe(
      "/bin/true runs for vmLaunched of 'web-1' from now on",
    );
    const { out } = await run('list');
    expect(out).toMatch(/^\(server\) +heartbeatStopped \(8\) +disabled +0 +5 s +\/bin\/echo -n "a b"$/mu);
    expect(out).toMatch(/^web-1 +vmLaunched \(2\) +yes +0 +60 s +\/bin\/true$/mu);
    expect(JSON.parse((await run('list', '--vm', 'web-1', '--json')).out)).toMatchObject({
      vmScriptsEnabled: true,
      scripts: [{ trigger: 'vmLaunched' }],
    });
    expect(JSON.parse((await run('show', '8', '--json')).out)).toMatchObject({ eventType: 8 });
    expect((await run('remove', '8')).out).toBe('the script on heartbeatStopped is removed');
    expect((await run('disable')).out).toBe(
      'scripts of the server are disabled, scripts of machines disabled',
    );
    expect((await run('remove', '2', '--vm', 'web-1')).code).toBe(0);
    expect((await run('list')).out).toContain('No scripts.');
  });

  it('says what is wrong', async () => {
    const misspelt = await run('attach', 'heartbeatStoped', '--', '/bin/true');
    expect([misspelt.code, misspelt.err]).toEqual([
      2,
      expect.stringContaining("Did you mean 'heartbeatStopped'?"),
    ]);
    expect((await run('attach', '8', '--timeout', '0', '--', '/bin/true')).code).toBe(2);
    expect((await run('attach', '8', '--', 'true')).err).toContain('not an absolute path');
    expect((await run('show', '8')).code).not.toBe(0);
    expect((await run('enable', 'everything')).code).toBe(2);
  });
});
