import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Webhook } from 'standardwebhooks';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeCertificate } from '../../../../test/support/certificate.ts';
import { Endpoint, answering } from '../../../../test/support/endpoint.ts';
import { eventually } from '../../../../test/support/eventually.ts';
import { type HttpFixture, startHttp, testToken } from '../../../../test/support/http-fixture.ts';
import { ScriptedTerminal } from '../../../../test/support/scripted-terminal.ts';
import { runProgram } from './program.ts';

let directory: string;
let http: HttpFixture;
let endpoint: Endpoint;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmpulse-cli-'));
  await writeFile(join(directory, 'token'), testToken);
  [http, endpoint] = [await startHttp(), await Endpoint.start()];
});

afterEach(async () => {
  await http.webhooks.close();
  await http.server.close();
  await endpoint.stop();
  await rm(directory, { recursive: true });
});

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const env = { VMPULSE_URL: `http://127.0.0.1:${http.port}`, VMPULSE_TOKEN: testToken };
  const terminal = new ScriptedTerminal(env, directory);
  const code = await runProgram(['webhook', ...args], terminal, '1.2.3', () => Promise.resolve([]));
  return { code, out: terminal.output, err: terminal.errors };
}

describe('vmpulse webhook', () => {
  it('creates one, tells its secret once, and then shows how it is', async () => {
    const types = ['--type', 'vmDeleted,vmCreated', '--type', 'guestReset', 'configurationChanged'];
    const { code, out, err } = await run('create', 'pager', endpoint.url, ...types);
    expect(err).toBe('');
    expect(code).toBe(0);
    const secret = /^secret: (whsec_\S+)$/mu.exec(out)?.[1] ?? '';
    await http.log.append({ type: 'vmDeleted', timeMs: 0, data: {} });
    await eventually('a delivery', () => http.webhooks.get('pager').lastAttempt !== null);
    const [received] = endpoint.received;
    new Webhook(secret).verify(received?.body ?? '', received?.headers as Record<string, string>);
    const list = (await run('list')).out;
    expect(list).toMatch(/^NAME +STATE +LAG +RETRYING +DEAD +URL$/mu);
    expect(list).toMatch(/^pager +enabled +0 +0 +0 +http:/mu);
    const shown = (await run('show', 'PAGER')).out;
    expect(shown).toMatch(/^types +vmDeleted, vmCreated, guestReset, configurationChanged$/mu);
    expect(shown).toMatch(/^cursor +#1, 0 behind$/mu);
    expect(shown).toMatch(/^last attempt +.*: accepted \(204\)$/mu);
    expect(list + shown).not.toContain('whsec_');
    expect(JSON.parse((await run('list', '--json')).out)).toMatchObject([{ name: 'pager' }]);
  });

  it('takes a secret from a file, so that no command line shows it', async () => {
    const secret = `whsec_${Buffer.alloc(24, 'a').toString('base64')}`;
    await writeFile(join(directory, 'secret'), `${secret}\n`);
    const { out } = await run('create', 'pager', endpoint.url, '--secret-file', 'secret');
    expect(out).toContain(`secret: ${secret}\n`);
    const other = `whsec_${Buffer.alloc(24, 'b').toString('base64')}`;
    await writeFile(join(directory, 'secret'), other);
    expect((await run('rotate', 'pager', '--secret-file', 'secret')).out).toContain(`secret: ${other}\n`);
    const missing = await run('rotate', 'pager', '--secret-file', 'nowhere');
    expect(missing.err).toMatch(/nowhere cannot be read/u);
    expect(missing.code).not.toBe(0);
    const both = await run('rotate', 'pager', '--secret-file', 'secret', '--secret', other);
    expect(both.err).toMatch(/--secret-file.* cannot be used with .*--secret/u);
    expect(both.code).not.toBe(0);
  });

  it('tests one now, and fails with what came back', async () => {
    await run('create', 'pager', endpoint.url);
    expect((await run('test', 'pager')).out).toMatch(/^accepted with 204 in \d+ ms$/u);
    endpoint.script = answering(503, {}, 'down \u{1b}[2J for maintenance');
    const { code, out, err } = await run('test', 'pager');
    expect([code, out]).toEqual([1, 'down \\u{1b}[2J for maintenance']);
    expect(err).toMatch(/^vmpulse: not accepted after \d+ ms: answered 503$/u);
    const json = await run('test', 'pager', '--json');
    expect([json.code, JSON.parse(json.out)]).toMatchObject([1, { accepted: false, status: 503 }]);
  });

  it('checks certificates against authorities of its own', async () => {
    const { certificate: cert, key } = makeCertificate();
    const secure = await Endpoint.start(answering(204, {}, ''), { cert, key });
    const [file, bad] = [join(directory, 'ca.pem'), join(directory, 'bad.pem')];
    await writeFile(file, cert);
    await writeFile(bad, key);
    try {
      await run('create', 'pager', secure.url);
      expect((await run('test', 'pager')).err).toContain('its certificate is not trusted');
      expect((await run('trust', 'pager', '--ca-file', file)).out).toContain(`those of ${file}`);
      expect((await run('test', 'pager')).code).toBe(0);
      expect((await run('show', 'pager')).out).toMatch(/^authority +SHA-256 [0-9A-F:]{95}$/mu);
      expect((await run('trust', 'pager', '--ca-file', bad)).err).toContain('has a PRIVATE KEY');
      expect((await run('trust', 'pager', '--ca-file', 'nowhere')).err).toContain('cannot be read');
      expect((await run('test', 'pager')).code).toBe(0);
      expect((await run('trust', 'pager')).code).toBe(0);
      expect((await run('test', 'pager')).code).toBe(1);
      await run('create', 'other', secure.url, '--ca-file', file);
      expect((await run('test', 'other')).code).toBe(0);
    } finally {
      await secure.stop();
    }
  });

  it('disables, enables, rotates and deletes', async () => {
    await run('create', 'pager', endpoint.url);
    expect((await run('disable', 'pager')).out).toMatch(/^'pager' is disabled/u);
    expect((await run('list')).out).toMatch(/^pager +disabled /mu);
    expect((await run('enable', 'pager')).out).toMatch(/^'pager' is enabled/u);
    const rotated = await run('rotate', 'pager', '--keep-old', '2d');
    expect(rotated.out).toMatch(/^secret: whsec_\S+$/mu);
    expect(rotated.out).toMatch(/^The old one signs too until .*Z\.$/mu);
    expect((await run('delete', 'pager')).out).toBe("'pager' is deleted");
    expect((await run('list')).out).toBe('No webhooks.');
    expect((await run('show', 'pager')).code).toBe(3);
  });

  it('lists, replays and drops dead letters', async () => {
    await run('create', 'pager', endpoint.url);
    expect((await run('dead-letters', 'pager')).out).toBe('No dead letters.');
    expect((await run('replay', 'pager', '--all')).out).toBe('0 dead letters tried again');
    expect((await run('drop', 'pager', '--all')).out).toBe('0 dead letters dropped');
    expect((await run('drop', 'pager', '7')).code).toBe(3);
    for (const verb of ['replay', 'drop']) {
      expect((await run(verb, 'pager')).code).toBe(2);
      expect((await run(verb, 'pager', '7', '--all')).code).toBe(2);
      expect((await run(verb, 'pager', 'x')).code).toBe(2);
    }
  });

  it.each([
    [['create', 'pager'], 2, 'url'],
    [['create', 'pager', 'example.org'], 2, '/url'],
    [['create', 'pager', 'http://example.org/', '--type', 'nothing'], 2, '/types/0'],
    [['create', 'pager', 'http://example.org/', '--timeout', '15'], 2, 'with its unit'],
    [['test', 'nobody'], 3, 'no webhook'],
  ])('%j ends with exit code %i and says why', async (args, code, why) => {
    const result = await run(...args);
    expect(result.code).toBe(code);
    expect(result.err).toContain(why);
  });
});
