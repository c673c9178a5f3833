/**
 * What delivers, as a process of its own that benchmarks start (`fork`) and command over IPC: the real store, durable
 * subscriptions, webhooks and HTTP face, without machines and their monitor. Argument: its directory.
 * Times are those of the machine's monotonic clock, ms: they compare between processes.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { EventType, WebhookRequest } from '@vmpulse/wire';
import { SystemClock } from '../packages/server/dist/clock.js';
import { Scripts } from '../packages/server/dist/delivery/script.js';
import { Subscriptions } from '../packages/server/dist/delivery/subscriptions.js';
import { Webhooks } from '../packages/server/dist/delivery/webhooks.js';
import { Metrics } from '../packages/server/dist/http/metrics.js';
import { createHttpServer } from '../packages/server/dist/http/server.js';
import type { DocumentStore } from '../packages/server/dist/machine-record.js';
import { Incidents } from '../packages/server/dist/recovery/evidence.js';
import { SqliteStore } from '../packages/server/dist/store/sqlite-store.js';
import { machineReference, resumedDraft, stoppedDraft } from '../test/support/machines.ts';
import { ScriptedMachineService } from '../test/support/scripted-machine-service.ts';
import { ScriptedRecovery } from '../test/support/scripted-recovery.ts';

/** What a benchmark asks of it. */
export type ServiceCommand =
  | { readonly do: 'fill'; readonly count: number; readonly rareEvery: number }
  | {
      readonly do: 'subscribe';
      readonly names: readonly string[];
      readonly from: number;
      readonly types: readonly EventType[] | null;
      /** Each wants its own of the 1,000 machines, and all of them are somebody's. */
      readonly parted: boolean;
    }
  | { readonly do: 'append'; readonly perSecond: number; readonly seconds: number }
  | { readonly do: 'settled' }
  | { readonly do: 'webhooks'; readonly requests: readonly WebhookRequest[] }
  | { readonly do: 'standing' };

/** What it did and has. */
export interface ServiceAnswer {
  readonly port: number;
  readonly lastSeq: number;
  /** When event `seq` was durable: index seq - 1. */
  readonly durableMs: Float64Array;
  /** When each subscription's cursor was durable, and where it stood: pairs of ms and seq. */
  readonly cursors: ReadonlyMap<string, number[]>;
  readonly rssBytes: number;
  readonly heapBytes: number;
  readonly cpuMs: number;
  readonly sockets: number;
}

/** Monotonic and the same in every process, ms. */
export function sharedMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** The token of the service. */
export const benchToken = 'bench-token-0123456789-0123456789-abcdefg';

function openSockets(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
    } catch {
      return false;
    }
  }).length;
}

/** Notes when cursors are durable. */
function watched(store: SqliteStore, cursors: Map<string, number[]>): DocumentStore {
  return {
    loadDocuments: (kind) => store.loadDocuments(kind),
    putDocuments: async (documents) => {
      await store.putDocuments(documents);
      const nowMs = sharedMs();
      for (const { kind, key, value } of documents) {
        if (kind === 'subscription')
          cursors.get(key)?.push(nowMs, (value as { cursor: number } | null)?.cursor ?? 0);
      }
    },
  };
}

async function serve(directory: string): Promise<void> {
  const clock = new SystemClock();
  const log = await SqliteStore.open(directory, { clock });
  const cursors = new Map<string, number[]>();
  const warn = (message: string, error: unknown): void => console.error(message, error);
  const ports = { clock, log, store: watched(log, cursors), warn };
  const logger = { info: () => undefined, warn: console.error, error: console.error } as never;
  const service = new ScriptedMachineService();
  const subscriptions = new Subscriptions(ports);
  await subscriptions.load();
  const webhooks = await Webhooks.open({ ...ports, version: '1' });
  webhooks.start();
  const http = await createHttpServer({
    service,
    webhooks,
    subscriptions,
    scripts: new Scripts({
      ...ports,
      logger,
      directory: join(directory, 'scripts'),
      findVm: () => service.get(''),
    }),
    recovery: new ScriptedRecovery(service),
    incidents: new Incidents({
      clock,
      directory,
      machines: { recoverable: () => ({ process: null }) },
      memoryDumpMiB: () => null,
    }),
    log,
    metrics: new Metrics(),
    logger,
    clock,
    token: benchToken,
    version: '1',
    ready: () => ({ ready: true, reasons: [] }),
  });
  const port = (await http.listen({ port: 0 })).port ?? 0;
  let durable = new Float64Array(0);

  const appendOne = async (n: number): Promise<void> => {
    const { seq } = await log.append(stoppedDraft(n % 1_000, Date.now()));
    durable[seq - 1] = sharedMs();
  };
  const append = async (perSecond: number, seconds: number): Promise<void> => {
    const first = log.state().lastSeq;
    durable = new Float64Array(first + perSecond * seconds);
    const beganMs = sharedMs();
    const all: Promise<void>[] = [];
    while (all.length < perSecond * seconds) {
      const due = Math.min(perSecond * seconds, ((sharedMs() - beganMs) * perSecond) / 1_000);
      while (all.length < due) {
        all.push(appendOne(all.length));
      }
      await delay(1);
    }
    await Promise.all(all);
  };
  const fill = async (count: number, rareEvery: number): Promise<void> => {
    for (let done = 0; done < count;) {
      const batch = Math.min(2_000, count - done);
      const draft = (n: number): Parameters<typeof log.append>[0] =>
        n % rareEvery === rareEvery - 1
          ? resumedDraft(n % 1_000, Date.now())
          : stoppedDraft(n % 1_000, Date.now());
      await Promise.all(Array.from({ length: batch }, (_none, index) => log.append(draft(done + index))));
      done += batch;
    }
  };
  const obey = async (command: ServiceCommand): Promise<void> => {
    if (command.do === 'fill') await fill(command.count, command.rareEvery);
    if (command.do === 'append') await append(command.perSecond, command.seconds);
    if (command.do === 'settled') await delay(1_000);
    if (command.do === 'subscribe') {
      const { names, from, types, parted } = command;
      for (const { name } of subscriptions.counts()) await subscriptions.delete(name);
      cursors.clear();
      for (const [index, name] of names.entries()) {
        cursors.set(name, []);
        const own = Array.from(
          { length: 1_000 / names.length },
          (_none, nth) => machineReference(index + nth * names.length).id,
        );
        const filter = { types: types === null ? null : [...types], machines: parted ? own : null };
        await subscriptions.put(name, { from, ...filter });
      }
    }
    if (command.do === 'webhooks') for (const request of command.requests) await webhooks.create(request);
  };
  const report = (): void => {
    const { rss, heapUsed } = process.memoryUsage();
    const { user, system } = process.cpuUsage();
    process.send?.({
      port,
      lastSeq: log.state().lastSeq,
      durableMs: durable,
      cursors,
      rssBytes: rss,
      heapBytes: heapUsed,
      cpuMs: (user + system) / 1_000,
      sockets: openSockets(),
    } satisfies ServiceAnswer);
  };
  process.on('message', (command: ServiceCommand) => void obey(command).then(report));
  // In order, so that a profile is written.
  process.on('disconnect', () => process.exit(0));
}

const [, , directory] = process.argv;
if (import.meta.main && directory !== undefined) await serve(directory);
