/**
 * The composition root: the only place that knows every adapter. It puts the service together in the order of the
 * way of the data, and takes it apart in the reverse.
 */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Logger } from 'pino';
import { type Clock, SystemClock } from './clock.ts';
import { type ScriptBookPorts, Scripts, findScriptUser } from './delivery/script.ts';
import { Subscriptions } from './delivery/subscriptions.ts';
import { Webhooks } from './delivery/webhooks.ts';
import type { EventLog } from './event/log.ts';
import { MeasuredLog } from './event/measured-log.ts';
import {
  createHttpServer,
  type HttpServer,
  type ListenAddress,
  type Readiness,
  type TlsFiles,
} from './http/server.ts';
import { Metrics } from './http/metrics.ts';
import { RecoveryMetrics } from './http/recovery-metrics.ts';
import { loadToken } from './http/token.ts';
import { DiskLooks } from './hypervisor/disk-looks.ts';
import { describeHost, loadTrouble } from './hypervisor/host-state.ts';
import { QemuHypervisor } from './hypervisor/qemu/hypervisor.ts';
import { diskSpaceErrorBytes, diskSpaceWarningBytes, maxHostLoad } from './limits.ts';
import type { DocumentStore } from './machine-record.ts';
import { Monitor } from './monitor/monitor.ts';
import { Incidents } from './recovery/evidence.ts';
import { Recovery, type RecoveryPorts } from './recovery/execute.ts';
import { Sight } from './recovery/sight.ts';
import { SqliteStore } from './store/sqlite-store.ts';
import { GuestAgent } from './tick/guest-agent.ts';
import { VirtioSerialSource } from './tick/virtio-serial.ts';
import type { DiskSpaceBounds } from './vm/disk-level.ts';
import { DiskSpace, type DiskSpacePorts } from './vm/disk-space.ts';
import { VirtualServer, type VirtualServerOptions } from './vm/server.ts';

/** How a service is started. */
export interface ServiceOptions {
  /** Data directory; made when it is not there. */
  readonly directory: string;
  /** TCP address; `port` 0 takes any free one. */
  readonly listen: { readonly host: string; readonly port: number };
  /** Needed beyond loopback. */
  readonly tls?: TlsFiles;
  /** Names under which a proxy reaches it. */
  readonly hostNames?: readonly string[];
  /** Webhooks reach public addresses only. */
  readonly webhooksPublicOnly?: boolean;
  /** The user that scripts on events run as; only a service of root's may choose. By default that of the service. */
  readonly scriptUser?: string;
  /** Free bytes of a file system below which it is told as low, and its machines are paused. */
  readonly diskSpace?: Partial<DiskSpaceBounds>;
  readonly logger: Logger;
}

/** A running service. */
export interface Service {
  readonly address: ListenAddress;
  /** How long it took from the call to ready, ms. */
  readonly startedInMs: number;
  /** Stops in order; see VirtualServer.stop. Idempotent. */
  stop(reason: string): Promise<void>;
}

/** What was started, to be taken apart in order. */
interface Parts {
  monitor?: Monitor;
  sight?: Sight;
  server?: VirtualServer;
  subscriptions?: Subscriptions;
  webhooks?: Webhooks;
  scripts?: Scripts;
  recovery?: Recovery;
  diskSpace?: DiskSpace;
  http?: HttpServer;
}

/** Version of vmpulse. */
const version = readVersion();

function readVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return String((JSON.parse(text) as { version: unknown }).version);
}

/**
 * Starts the service: store, monitor, hypervisor, HTTP, then the machines. It listens before the machines are found
 * again, and `/readyz` says "starting" until they are.
 * Errors: E_INVALIDARG and E_ACCESSDENIED (of `scriptUser`), VMPULSE_E_DATA_DIRECTORY,
 * VMPULSE_E_DATA_DIRECTORY_IN_USE, VMPULSE_E_DATABASE_NEWER, VMPULSE_E_DATABASE_UNREADABLE, VMPULSE_E_LISTEN.
 */
export async function startService(options: ServiceOptions): Promise<Service> {
  const { directory, logger } = options;
  const clock = new SystemClock();
  const beganMs = clock.monotonicMs();
  const warn = (message: string, error: unknown): void => logger.warn({ err: error }, message);
  const store = await SqliteStore.open(directory, { clock, warn });
  const parts: Parts = {};
  let readiness = notReady('starting', 'The machines are being found again.');
  let stopped: Promise<void> | undefined;
  const stop = async (reason: string): Promise<void> => {
    readiness = notReady('stopping', 'The service is stopping.');
    await takeApart(parts, reason);
    await store.close();
  };
  try {
    const metrics = new Metrics();
    const log = new MeasuredLog(store, clock, (tookMs) => metrics.appended(tookMs));
    const sight = new Sight(clock);
    sight.start();
    parts.sight = sight;
    parts.monitor = watchMetered(clock, log, metrics, logger, sight);
    const qemu = qemuOf(options, clock);
    const server = serverOf({ clock, log, store, hypervisors: [qemu], watches: parts.monitor, logger });
    // Before anyone can ask, so that a machine that is known is never answered with "unknown".
    await server.load();
    const findVm = (vm: string): ReturnType<typeof server.reference> => server.reference(vm);
    const observe = metrics.hooks.scriptEnded.bind(metrics.hooks);
    const delivery = await openDelivery(options, { clock, log, store, warn, findVm, observe });
    const { subscriptions, webhooks, scripts } = delivery;
    Object.assign(parts, { subscriptions, webhooks });
    const dumpMiB = (vm: string): number | null => recovery.info(vm).policy.memoryDumpMiB;
    const incidents = incidentsOf(server, clock, directory, dumpMiB);
    const recovered = { server, metrics, sight, evidence: incidents };
    const recovery: Recovery = await loadRecovery(recovered, { clock, log, store, logger });
    const diskSpace = await loadDiskSpace(options, { clock, log, store, logger, machines: server.machines });
    observeServer(metrics, server, store, diskSpace);
    const token = await loadToken(join(directory, 'token'));
    const face = {
      service: server,
      ...delivery,
      recovery,
      incidents,
      log,
      clock,
      metrics,
      token,
      logger,
      version,
      ready: (): Readiness => readiness,
    };
    parts.http = await createHttpServer(face);
    const address = await listen(parts.http, options);
    // From here on it tells that it starts, and so it tells how it ends.
    Object.assign(parts, { server, scripts });
    await server.start();
    webhooks.start();
    Object.assign(parts, { recovery, diskSpace });
    recovery.start();
    diskSpace.start();
    readiness = { ready: true, reasons: [] };
    void scripts.start();
    void sayHypervisor(qemu, (detail) => {
      if (stopped === undefined) readiness = notReady('hypervisorUnavailable', detail);
    });
    const startedInMs = clock.monotonicMs() - beganMs;
    return { address, startedInMs, stop: (reason) => (stopped ??= stop(reason)) };
  } catch (error) {
    await stop('the service could not start').catch((failure: unknown) => warn('clean-up failed', failure));
    throw error;
  }
}

async function takeApart(parts: Parts, reason: string): Promise<void> {
  parts.diskSpace?.close();
  await parts.recovery?.close();
  for (const part of [parts.server, parts.scripts]) await part?.stop(reason);
  parts.sight?.close();
  parts.monitor?.close();
  await parts.webhooks?.close();
  await parts.http?.close();
  await parts.subscriptions?.close();
}

interface DeliveryPorts {
  readonly clock: Clock;
  readonly log: EventLog;
  readonly store: DocumentStore;
  readonly warn: (message: string, error: unknown) => void;
  readonly findVm: ScriptBookPorts['findVm'];
  readonly observe: Metrics['hooks']['scriptEnded'];
}

interface Delivery {
  readonly subscriptions: Subscriptions;
  readonly webhooks: Webhooks;
  readonly scripts: Scripts;
}

/** What leads events out of the log besides streams: loaded, not started. */
async function openDelivery(options: ServiceOptions, ports: DeliveryPorts): Promise<Delivery> {
  const { directory, logger, scriptUser, webhooksPublicOnly: publicOnly = false } = options;
  const subscriptions = new Subscriptions(ports);
  const scripts = new Scripts({
    ...ports,
    logger,
    directory: join(directory, 'scripts'),
    ...(scriptUser === undefined ? {} : { user: await findScriptUser(scriptUser) }),
  });
  await scripts.load();
  const webhooks = await Webhooks.open({ ...ports, version, publicOnly });
  // Last: from then on they read the log, and are to be closed.
  await subscriptions.load();
  return { subscriptions, scripts, webhooks };
}

/** Errors: E_INVALIDARG. */
async function loadDiskSpace(
  { directory, diskSpace = {} }: ServiceOptions,
  ports: Omit<DiskSpacePorts, 'looks' | 'directory' | 'bounds'>,
): Promise<DiskSpace> {
  const usual = { warningBytes: diskSpaceWarningBytes, errorBytes: diskSpaceErrorBytes };
  const bounds = { ...usual, ...diskSpace };
  const watch = new DiskSpace({
    ...ports,
    looks: new DiskLooks(ports.clock),
    directory: resolve(directory),
    bounds,
  });
  await watch.load();
  return watch;
}

function observeServer(
  metrics: Metrics,
  server: VirtualServer,
  store: SqliteStore,
  diskSpace: DiskSpace,
): void {
  metrics.observe({
    machines: () => server.countStates(),
    guests: () => server.countVerdicts(),
    held: () => server.holds.countHeld(),
    log: () => store.state(),
    diskSpace: () => diskSpace.counts(),
  });
}

function incidentsOf(
  machines: VirtualServer,
  clock: SystemClock,
  directory: string,
  dumpMiB: (vm: string) => number | null,
): Incidents {
  const memoryDumpMiB = ({ id }: { readonly id: string }): number | null => dumpMiB(id);
  return new Incidents({ clock, machines, directory: resolve(directory, 'incidents'), memoryDumpMiB });
}

interface Recovered {
  readonly server: VirtualServer;
  readonly metrics: Metrics;
  readonly sight: Sight;
  readonly evidence: Incidents;
}

async function loadRecovery(
  { server, metrics, sight, evidence }: Recovered,
  ports: Pick<RecoveryPorts, 'clock' | 'log' | 'store' | 'logger'>,
): Promise<Recovery> {
  // As many guests that cannot be seen, or get no processor, as there are others: the host is the trouble.
  const guestTrouble = (): string | null => {
    const { unknown = 0, starved = 0, ...others } = server.countVerdicts();
    const seen = Object.values(others).reduce((sum, count) => sum + count, 0);
    return unknown + starved > seen ? `${unknown + starved} guests cannot be seen or are starved` : null;
  };
  const observer = new RecoveryMetrics(metrics.registry, () => recovery.counts());
  const recovery: Recovery = new Recovery({
    ...ports,
    evidence,
    observer,
    seeingSinceMs: () => sight.sinceMs,
    machines: server,
    hostTrouble: () => sight.trouble() ?? loadTrouble(maxHostLoad) ?? guestTrouble(),
    random: () => Math.random(),
  });
  await recovery.load();
  return recovery;
}

function watchMetered(
  clock: SystemClock,
  log: MeasuredLog,
  metrics: Metrics,
  logger: Logger,
  sight: Sight,
): Monitor {
  let laneLagMs = 0;
  const monitor = new Monitor({
    clock,
    log,
    hostState: () => describeHost(),
    hostSleptMs: () => clock.sleptMs(),
    observer: {
      suspected: () => metrics.suspected(),
      stopped: (verdict, cause, latencyMs) => metrics.stopped(verdict, cause, latencyMs),
      resumed: () => metrics.resumed(),
      laneLag: (lagMs) => {
        laneLagMs = lagMs;
      },
      stalled: (lengthMs) => {
        sight.stalled(lengthMs);
        logger.warn({ lengthMs: Math.round(lengthMs) }, 'the service stood still');
      },
      rejected: (bytes) => metrics.tickBytesRejected(bytes),
      failed: (error) => logger.error({ err: error }, 'the monitor could not do what it must'),
    },
  });
  metrics.observe({ ticks: () => monitor.totalTicks, laneLagMs: () => laneLagMs });
  return monitor;
}

function serverOf(
  ports: Omit<VirtualServerOptions, 'tickSource' | 'connectAgent' | 'version' | 'pid'>,
): VirtualServer {
  const { clock } = ports;
  return new VirtualServer({
    ...ports,
    tickSource: new VirtioSerialSource(clock),
    connectAgent: (address) => new GuestAgent(clock, address),
    version,
    pid: process.pid,
  });
}

/** Whether kvm works takes seconds to find out; only what starts a machine waits for it. */
async function sayHypervisor(qemu: QemuHypervisor, unavailable: (detail: string) => void): Promise<void> {
  const { accelerator, acceleratorReason } = await qemu.probe();
  if (accelerator === null) unavailable(acceleratorReason ?? 'QEMU cannot be used.');
}

function qemuOf({ directory, logger }: ServiceOptions, clock: Clock): QemuHypervisor {
  return new QemuHypervisor({
    directory,
    clock,
    logger: {
      info: (message: unknown) => logger.info(String(message)),
      warn: (message: unknown) => logger.warn(String(message)),
    },
  });
}

function listen(http: HttpServer, options: ServiceOptions): Promise<ListenAddress> {
  return http.listen({
    host: options.listen.host,
    port: options.listen.port,
    socketPath: join(options.directory, 'vmpulse.sock'),
    ...(options.tls === undefined ? {} : { tls: options.tls }),
    ...(options.hostNames === undefined ? {} : { hostNames: options.hostNames }),
  });
}

function notReady(reason: Readiness['reasons'][number]['reason'], detail: string): Readiness {
  return { ready: false, reasons: [{ reason, detail }] };
}
