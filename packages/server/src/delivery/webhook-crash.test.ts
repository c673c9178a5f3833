import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Endpoint } from '../../../../test/support/endpoint.ts';
import { eventually } from '../../../../test/support/eventually.ts';
import { SystemClock } from '../clock.ts';
import { SqliteStore } from '../store/sqlite-store.ts';
import { Webhooks } from './webhooks.ts';

const child = fileURLToPath(new URL('../../../../test/support/append-until-killed.ts', import.meta.url));
let directory: string;
let endpoint: Endpoint;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmpulse-webhook-'));
  endpoint = await Endpoint.start();
});

afterEach(async () => {
  await endpoint.stop();
  await rm(directory, { recursive: true });
});

it('kill -9 between attempt and acknowledgement loses no event and no order, whenever it comes', async () => {
  let durable = 0;
  for (let round = 0; round < 5; round += 1) {
    const before = endpoint.received.length;
    const running = spawn(process.execPath, [child, 'webhooks', directory, endpoint.url], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    running.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    await eventually('some deliveries', () => endpoint.received.length >= before + 25 + 7 * round);
    running.kill('SIGKILL');
    await once(running, 'close');
    for (const [, seq] of text.matchAll(/^(\d+) /gmu)) durable = Math.max(durable, Number(seq));
  }
  expect(durable).toBeGreaterThan(100);
  const clock = new SystemClock();
  const store = await SqliteStore.open(directory, { clock });
  const webhooks = await Webhooks.open({ clock, log: store, store, version: '1', warn: () => undefined });
  webhooks.start();
  await eventually('the rest', () => webhooks.get('pager').lag === 0);
  const { lastSeq } = store.state();
  await webhooks.close();
  await store.close();
  expect(lastSeq).toBeGreaterThanOrEqual(durable);
  const firsts = [...new Set(endpoint.seqs)];
  expect(firsts).toEqual(Array.from({ length: lastSeq }, (_, index) => index + 1));
  // Again only what was under way: at most the few whose acknowledgement was not on disk yet.
  expect(endpoint.received.length - lastSeq).toBeLessThan(5 * 30);
});
