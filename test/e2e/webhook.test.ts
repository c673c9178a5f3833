import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Webhook } from 'standardwebhooks';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { makeCertificate } from '../support/certificate.ts';
import { Endpoint, answering } from '../support/endpoint.ts';
import { eventually } from '../support/eventually.ts';

const cli = fileURLToPath(new URL('../../packages/server/dist/cli/main.js', import.meta.url));

let directory: string;
let service: ChildProcess;
let url: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmpulse-webhook-'));
});

afterEach(async () => {
  service.kill('SIGKILL');
  await rm(directory, { recursive: true, force: true, maxRetries: 5 });
});

/** The whole service as a process of its own. */
async function serve(...flags: string[]): Promise<void> {
  service = spawn(
    process.execPath,
    [cli, 'serve', '--data', directory, '--listen', '127.0.0.1:0', ...flags],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  for await (const line of createInterface({ input: service.stdout ?? process.stdin })) {
    url = /http:\/\/127\.0\.0\.1:\d+/u.exec(line)?.[0] ?? url;
    if (line.includes('"ready"')) break;
  }
}

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** The command line as a process of its own. */
function run(...words: string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(process.execPath, [cli, ...words, '--data', directory], (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

test('a webhook is created, tested and told by the command line; kill -9 in an attempt has it told again', async () => {
  const { certificate: cert, key } = makeCertificate();
  const endpoint = await Endpoint.start(answering(204, {}, ''), { cert, key });
  const caFile = join(directory, 'ca.pem');
  await writeFile(caFile, cert);
  await serve();
  const created = await run('webhook', 'create', 'pager', endpoint.url, '--ca-file', caFile);
  const secret = /^secret: (whsec_\S+)$/mu.exec(created.out)?.[1] ?? '';
  const tested = await run('webhook', 'test', 'pager');
  expect([tested.code, tested.err]).toEqual([0, '']);
  expect(tested.out).toMatch(/^accepted with 204 in /u);
  expect((await run('webhook', 'test', 'nobody')).code).toBe(3);
  const [letter] = endpoint.received;
  expect(
    new Webhook(secret).verify(letter?.body ?? '', letter?.headers as Record<string, string>),
  ).toMatchObject({
    type: 'io.vmpulse.webhookTest',
  });

  endpoint.script = () => undefined;
  const before = endpoint.received.length;
  await run('vm', 'create', 'web-1');
  await eventually('an attempt', () => endpoint.received.length > before);
  const gone = once(service, 'exit');
  service.kill('SIGKILL');
  await gone;
  endpoint.script = answering(204, {}, '');
  await serve();
  const first = endpoint.received[before];
  const again = (): unknown[] =>
    endpoint.received
      .slice(before)
      .filter(({ headers }) => headers['webhook-id'] === first?.headers['webhook-id']);
  await eventually('the event again', () => again().length >= 2);
  for (const { body, headers } of endpoint.received.slice(before)) {
    new Webhook(secret).verify(body, headers as Record<string, string>);
  }
  const token = (await readFile(join(directory, 'token'), 'utf8')).trim();
  const metrics = async (): Promise<string> =>
    (await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${token}` } })).text();
  // The service knows a moment after the endpoint that it was accepted.
  await expect
    .poll(metrics)
    .toMatch(/^vmpulse_webhook_attempts_total\{webhook="pager",outcome="accepted"\} [1-9]/mu);
  await endpoint.stop();
});

test('a service that tells public addresses only refuses a private one, and one by name', async () => {
  const endpoint = await Endpoint.start();
  await serve('--webhooks-public-only');
  const literal = await run('webhook', 'create', 'pager', endpoint.url);
  expect(literal.code).not.toBe(0);
  expect(literal.err).toContain('private address');
  await run('webhook', 'create', 'pager', `http://localhost:${endpoint.port}/`);
  const tested = await run('webhook', 'test', 'pager');
  expect([tested.code, endpoint.connections]).toEqual([1, 0]);
  expect(tested.err).toContain('private address');
  await endpoint.stop();
});
