/**
 * How fast durable subscriptions are: `npm run build`, then
 * `node bench/delivery.ts lag [SECONDS]`: from an event's being durable to its being received by a client, and to the
 * durable cursor behind it, with 1, 10 and 100 subscriptions at 1,000 events/s; with 100 that have machines of their
 * own, and with one of these stuck;
 * `node bench/delivery.ts drain [EVENTS]`: how long one subscription takes for a backlog, all of it and one in a
 * hundred, with the service's memory meanwhile. Store, HTTP and clients are real; the service and all clients are a
 * process each. `--cpu-prof` writes profiles of both into the working directory.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Connection, VirtualServer } from '@vmpulse/client';
import { type ServiceAnswer, type ServiceCommand, benchToken, sharedMs } from './delivery-service.ts';
import { quantile, say, sayWhere } from './figures.ts';

type ClientCommand =
  | {
      readonly do: 'connect';
      readonly port: number;
      readonly names: readonly string[];
      readonly stuck: string[];
    }
  | { readonly do: 'wait'; readonly events: number }
  | { readonly do: 'disconnect' };

interface ClientAnswer {
  /** Of each subscription that is not stuck: pairs of ms and seq. */
  readonly received: ReadonlyMap<string, number[]>;
  readonly cpuMs: number;
}

const profiling = process.argv.includes('--cpu-prof');
const numbers = process.argv.slice(3).map(Number).filter(Number.isFinite);

/** A process that obeys one order after the other. */
class Helper<Command extends object, Answer> {
  readonly child: ChildProcess;
  /** Whoever waits for a process that has ended waits in vain. */
  readonly #gone = new AbortController();

  constructor(file: string, args: readonly string[]) {
    this.child = fork(file, args, {
      serialization: 'advanced',
      execArgv: profiling ? ['--cpu-prof'] : [],
    });
    this.child.once('exit', () => this.#gone.abort());
  }

  async obey(command: Command): Promise<Answer> {
    const answered = once(this.child, 'message', { signal: this.#gone.signal }) as Promise<[Answer]>;
    this.child.send(command);
    return (await answered)[0];
  }

  async end(): Promise<void> {
    const ended = once(this.child, 'exit');
    this.child.disconnect();
    await ended;
  }
}

function neverTaken(): Promise<void> {
  return new Promise(() => {
    // Neither taken nor refused.
  });
}

/** The clients' process. */
function serveClients(): void {
  let received = new Map<string, number[]>();
  let servers: VirtualServer[] = [];
  let connections: Connection[] = [];
  const connect = async ({
    port,
    names,
    stuck,
  }: Extract<ClientCommand, { do: 'connect' }>): Promise<void> => {
    received = new Map();
    const url = `http://127.0.0.1:${port}`;
    for (const name of names) {
      const server = await VirtualServer.connect(url, { token: benchToken });
      const got: number[] = [];
      const isStuck = stuck.includes(name);
      if (!isStuck) received.set(name, got);
      const sink = {
        onEvent: ({ seq }: { seq: number }): Promise<void> | undefined => {
          got.push(sharedMs(), seq);
          return isStuck ? neverTaken() : undefined;
        },
      };
      const connection = server.advise(sink, {
        name,
        onError: (error) => console.error(name, error.message),
      });
      servers.push(server);
      connections.push(connection);
      await connection.ready;
    }
  };
  const obey = async (command: ClientCommand): Promise<void> => {
    if (command.do === 'connect') await connect(command);
    if (command.do === 'wait') {
      while ([...received.values()].some(({ length }) => length < 2 * command.events)) await delay(5);
    }
    if (command.do === 'disconnect') {
      for (const connection of connections) void connection.unadvise();
      await delay(200);
      for (const server of servers) await server.close();
      [servers, connections] = [[], []];
    }
  };
  const report = (): void => {
    const { user, system } = process.cpuUsage();
    process.send?.({ received, cpuMs: (user + system) / 1_000 } satisfies ClientAnswer);
  };
  process.on('message', (command: ClientCommand) => void obey(command).then(report));
  process.on('disconnect', () => process.exit(0));
}

interface Bench {
  readonly service: Helper<ServiceCommand, ServiceAnswer>;
  readonly clients: Helper<ClientCommand, ClientAnswer>;
}

/** When the newest pair at or after each event came: `pairs` of ms and seq, both rising. */
function lags(
  durableMs: Float64Array,
  first: number,
  pairs: readonly number[],
  isOwn: (seq: number) => boolean,
): number[] {
  const result: number[] = [];
  let at = 0;
  for (let seq = first; seq <= durableMs.length; seq += 1) {
    if (!isOwn(seq)) continue;
    while (at < pairs.length && (pairs[at + 1] ?? 0) < seq) at += 2;
    if (at < pairs.length) result.push((pairs[at] ?? 0) - (durableMs[seq - 1] ?? 0));
  }
  return result;
}

async function measureLag(
  { service, clients }: Bench,
  count: number,
  seconds: number,
  stuck: string[],
  parted: boolean,
): Promise<void> {
  const names = Array.from({ length: count }, (_none, index) => `pager-${index}`);
  const { port, lastSeq } = await service.obey({ do: 'standing' });
  const began = await service.obey({ do: 'subscribe', names, from: lastSeq + 1, types: null, parted });
  const connected = await clients.obey({ do: 'connect', port, names, stuck });
  const perSecond = 1_000;
  const beganMs = sharedMs();
  await service.obey({ do: 'append', perSecond, seconds });
  const events = (perSecond * seconds) / (parted ? count : 1);
  const { received, cpuMs } = await clients.obey({ do: 'wait', events });
  const tookMs = sharedMs() - beganMs;
  const ended = await service.obey({ do: 'settled' });
  await clients.obey({ do: 'disconnect' });
  const isOwn = (name: string, seq: number): boolean =>
    !parted || (seq - lastSeq - 1) % count === names.indexOf(name);
  const lagsOf = (all: ReadonlyMap<string, number[]>): number[] =>
    [...all]
      .filter(([name]) => !stuck.includes(name))
      .flatMap(([name, pairs]) => lags(ended.durableMs, lastSeq + 1, pairs, (seq) => isOwn(name, seq)));
  const heard = lagsOf(received);
  const acknowledged = lagsOf(ended.cursors);
  const cell = (values: number[], share: number): string => quantile(values, share).toFixed(1);
  const both = (values: number[]): string =>
    `${cell(values, 0.5)} / ${cell(values, 0.99)} / ${cell(values, 1)} ms`;
  const share = parted ? `, each wants 1 event of ${count}` : '';
  const what = `${count}${share}${stuck.length === 0 ? '' : `, ${stuck.length} stuck`}`;
  const percent = (ms: number): string => `${((ms / tookMs) * 100).toFixed(0)} %`;
  const load = `${percent(ended.cpuMs - began.cpuMs)}, ${percent(cpuMs - connected.cpuMs)}`;
  console.log(`| ${what} | ${both(heard)} | ${both(acknowledged)} | ${load} |`);
}

async function drain({ service, clients }: Bench, events: number, types: 'all' | 'rare'): Promise<void> {
  const rare = 100;
  const { port, lastSeq, rssBytes, cpuMs } = await service.obey({ do: 'standing' });
  const wanted = types === 'all' ? lastSeq : Math.floor(events / rare);
  const only = types === 'all' ? null : (['heartbeatResumed'] as const);
  await service.obey({ do: 'subscribe', names: ['pager'], from: 1, types: only, parted: false });
  const beganMs = sharedMs();
  let highest = rssBytes;
  await clients.obey({ do: 'connect', port, names: ['pager'], stuck: [] });
  const drained = clients.obey({ do: 'wait', events: wanted });
  const isDone = drained.then(() => true);
  do {
    highest = Math.max(highest, (await service.obey({ do: 'standing' })).rssBytes);
  } while (!(await Promise.race([isDone, delay(250, false)])));
  const pairs = (await drained).received.get('pager') ?? [];
  const tookMs = sharedMs() - beganMs;
  const seqs = pairs.filter((_value, index) => index % 2 === 1);
  const gaps = pairs
    .filter((_value, index) => index % 2 === 0)
    .map((ms, index, all) => ms - (all[index - 1] ?? ms));
  const ended = await service.obey({ do: 'settled' });
  await clients.obey({ do: 'disconnect' });
  const name = types === 'all' ? 'all of it' : `one in ${rare}`;
  const inOrder = seqs.every((seq, index) => index === 0 || seq > (seqs[index - 1] ?? 0));
  say(`${name}: backlog passed`, events / (tookMs / 1_000), 'events/s');
  say(`${name}: took`, tookMs / 1_000, 's');
  say(`${name}: delivered, each once and in order: ${inOrder}`, seqs.length);
  say(`${name}: between two events, p99`, quantile(gaps, 0.99), 'ms');
  say(`${name}: longest without an event`, quantile(gaps, 1), 'ms');
  say(
    `${name}: service resident before, highest, after`,
    [rssBytes, highest, ended.rssBytes].map((b) => (b / 2 ** 20).toFixed(0)).join(' / '),
    'MiB',
  );
  say(`${name}: processor time of the service`, (ended.cpuMs - cpuMs) / 1_000, 's');
}

async function run(): Promise<void> {
  const [, , mode = 'lag'] = process.argv;
  const directory = mkdtempSync(join(tmpdir(), 'vmpulse-delivery-'));
  const here = fileURLToPath(import.meta.url);
  const service = new Helper<ServiceCommand, ServiceAnswer>(join(here, '../delivery-service.ts'), [
    directory,
  ]);
  const clients = new Helper<ClientCommand, ClientAnswer>(here, ['clients']);
  const bench = { service, clients };
  sayWhere();
  try {
    if (mode === 'lag') {
      const [seconds = 10] = numbers;
      console.log(
        '| subscriptions | durable -> received, p50 / p99 / max | durable -> cursor durable | service, clients |',
      );
      console.log('| --- | --- | --- | --- |');
      for (const count of [1, 10, 100]) await measureLag(bench, count, seconds, [], false);
      for (const stuck of [[], ['pager-50']]) await measureLag(bench, 100, seconds, stuck, true);
    } else {
      const [events = 1_000_000] = numbers;
      const beganMs = sharedMs();
      await service.obey({ do: 'fill', count: events, rareEvery: 100 });
      say(`backlog of ${events} written at`, events / ((sharedMs() - beganMs) / 1_000), 'events/s');
      await drain(bench, events, 'all');
      await drain(bench, events, 'rare');
    }
  } finally {
    await Promise.all([service.end(), clients.end()]);
    rmSync(directory, { recursive: true, force: true });
  }
  sayWhere();
}

if (process.argv[2] === 'clients') serveClients();
else await run();
