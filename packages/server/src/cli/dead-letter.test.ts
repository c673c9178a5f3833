/** A dead letter's whole way: a sink that fails, the real store, restarts of the service, and an operator. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { VirtualServer } from '@vmpulse/client';
import { connectToDataDirectory } from '@vmpulse/client/node';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { BriskClock } from '../../../../test/support/brisk-clock.ts';
import { type HttpFixture, draft, startHttp } from '../../../../test/support/http-fixture.ts';
import type { MemoryEventLog } from '../../../../test/support/memory-event-log.ts';
import { ScriptedTerminal } from '../../../../test/support/scripted-terminal.ts';
import { SqliteStore } from '../store/sqlite-store.ts';
import { runProgram } from './program.ts';

const clock = new BriskClock(5).hurry();
let directory: string;
let store: SqliteStore;
let http: HttpFixture;
let server: VirtualServer | undefined;

async function start(): Promise<void> {
  store = await SqliteStore.open(directory, { clock });
  // What the service needs of a log, the real one does as well.
  const log = store as unknown as MemoryEventLog;
  http = await startHttp({ clock, log, listen: { socketPath: join(directory, 'vmpulse.sock') } });
}

async function stop(): Promise<void> {
  await http.server.close();
  await http.webhooks.close();
  await http.subscriptions.close();
  await store.close();
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmpulse-cli-'));
  await start();
});

afterEach(async () => {
  await server?.close();
  await stop();
  await rm(directory, { recursive: true });
});

async function run(...args: string[]): Promise<string> {
  const terminal = new ScriptedTerminal({ VMPULSE_DATA: directory }, directory);
  const code = await runProgram(['subscription', ...args], terminal, '1.2.3', () => Promise.resolve([]));
  expect([code, terminal.errors]).toEqual([0, '']);
  return terminal.output;
}

const vm = { id: '11111111-1111-4111-8111-111111111111', name: 'web-1' };
const eventually = (read: () => unknown): ReturnType<typeof expect.poll> =>
  expect.poll(read, { timeout: 120_000, interval: 10 });

it('a dead letter outlives the service, is replayed to the sink that failed, and is dropped for good', async () => {
  await run('create', 'pager', '--type', 'configurationChanged', '--max-attempts', '2');
  const told: number[] = [];
  let isBroken = true;
  const sink = {
    onEvent: ({ seq }: { seq: number }) => {
      told.push(seq);
      if (isBroken) throw new Error('no one there');
    },
  };
  server = await connectToDataDirectory(directory);
  const options = { name: 'pager', onError: () => undefined };
  // What sinks want is asked of them; an operator's filter stays.
  await server.advise(sink, options).ready;
  for (let n = 0; n < 2; n += 1) await store.append(draft(vm));
  await eventually(() => http.subscriptions.find('pager').deadLetters.size).toBe(2);
  const letters = http.subscriptions.find('pager').deadLetters.list();
  const [first = 0, second = 0] = letters.map(({ seq }) => seq);
  expect(told).toEqual([first, first, second, second]);
  expect(await run('dead-letters', 'pager')).toMatch(
    /^ *\d+ +web-1 +configurationChanged +2 +\S+Z .*no one there$/mu,
  );
  expect(await run('list')).toMatch(/^pager +served +\d+ +0 +- +2$/mu);

  await stop();
  await start();
  expect(http.subscriptions.find('pager').deadLetters.list()).toEqual(letters);
  isBroken = false;
  expect(await run('replay', 'pager', String(first))).toBe(`#${first} is delivered again`);
  await eventually(() => told.slice(4)).toEqual([first]);
  await eventually(() => http.subscriptions.find('pager').deadLetters.size).toBe(1);
  expect(await run('drop', 'pager', String(second))).toBe(`#${second} is dropped`);
  expect(await run('dead-letters', 'pager')).toBe('None.');

  await stop();
  await start();
  await eventually(() => http.subscriptions.find('pager').count().lag).toBe(0);
  await store.append(draft(vm));
  const { lastSeq } = store.state();
  await eventually(() => told.at(-1)).toBe(lastSeq);
  expect(told.slice(4)).toEqual([first, lastSeq]);
  expect(await run('dead-letters', 'pager')).toBe('None.');
});
