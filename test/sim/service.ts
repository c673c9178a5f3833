/**
 * One life of the service: the real store, monitor, lifecycle and outbox, on a loop of its own. It can be stalled, be
 * stopped in order and be killed; the next life finds the same disk, host and guests.
 */
import type { EventDraft, VmEvent } from '@vmpulse/wire';
import type { EventLog } from '../../packages/server/src/event/log.ts';
import type { FakeHost } from '../../packages/server/src/hypervisor/fake.ts';
import type { MachineEffect } from '../../packages/server/src/machine-record.ts';
import { Monitor } from '../../packages/server/src/monitor/monitor.ts';
import type { Recovery } from '../../packages/server/src/recovery/execute.ts';
import { Sight } from '../../packages/server/src/recovery/sight.ts';
import { SqliteStore } from '../../packages/server/src/store/sqlite-store.ts';
import { VirtualServer } from '../../packages/server/src/vm/server.ts';
import { SimAgent } from './agent.ts';
import type { Disk } from './disk.ts';
import type { SimGuest } from './guest.ts';
import { type LoopPace, ServiceLoop } from './loop.ts';
import { takeNmi } from './lot.ts';
import { FarHypervisor } from './machine.ts';
import type { RecoveryOracle } from './recovery-oracle.ts';
import { makeRecovery } from './recovery-parts.ts';
import type { World } from './world.ts';

/** What outlives a service. */
export interface Host {
  readonly world: World;
  readonly disk: Disk;
  readonly fakeHost: FakeHost;
  readonly guests: readonly SimGuest[];
  readonly pace: LoopPace;
  /** What the service handed to its log, as it did. */
  readonly appended: (draft: EventDraft) => void;
  /** It reported a failure of its own, which is a defect. */
  readonly defect: (what: string) => void;
  /** Holds recovery against what really is. */
  readonly recoveries: RecoveryOracle;
  /** The host has slept so long since it booted, ms. */
  readonly sleptMs: () => number;
}

/** One life. */
export class Service {
  readonly loop: ServiceLoop;
  readonly server: VirtualServer;
  readonly log: EventLog;
  readonly recovery: Recovery;
  private readonly host: Host;
  private readonly monitor: Monitor;
  private readonly sight: Sight;
  private readonly store: SqliteStore;
  private readonly dispose: () => void;
  private readonly ends = new Set<() => void>();
  /** Its log is closed, or about to be. */
  closing = false;

  private constructor(host: Host, loop: ServiceLoop, store: SqliteStore, dispose: () => void) {
    this.host = host;
    this.loop = loop;
    this.store = store;
    this.dispose = dispose;
    const { world, guests } = host;
    this.log = this.marked(store);
    const guestAt = (address: string): SimGuest => {
      const guest = guests[Number.parseInt(address.slice(-'000000000000/agent.sock'.length), 16)];
      const id = address.split('/').at(-2) ?? '';
      return guest?.id === id ? guest : (guests.find((each) => each.id === id) as SimGuest);
    };
    const fault = (error: unknown): void => {
      // A log that is full or closed refuses what it was not given; anything else is a defect.
      if ((error as { code?: string }).code === 'VMPULSE_E_LOG_UNAVAILABLE') return;
      host.defect(error instanceof Error ? (error.stack ?? error.message) : String(error));
    };
    const sight = new Sight(loop);
    this.sight = sight;
    sight.start();
    this.monitor = new Monitor({
      clock: loop,
      log: this.log,
      observer: {
        suspected: () => undefined,
        stopped: () => undefined,
        resumed: () => undefined,
        laneLag: () => undefined,
        stalled: (lengthMs) => sight.stalled(lengthMs),
        rejected: () => undefined,
        failed: fault,
      },
      hostSleptMs: host.sleptMs,
    });
    const hypervisor = new FarHypervisor({
      world,
      loop,
      host: host.fakeHost,
      random: world.random.fork(),
      channelOf: (vmId) => guestOf(guests, vmId).qmpChannel,
      attached: (vmId, process) => guestOf(guests, vmId).attach(process),
      reached: (vmId, what) => {
        if (what === 'injectNmi') takeNmi(guestOf(guests, vmId));
        host.recoveries.reached(vmId, what);
      },
    });
    this.server = new VirtualServer({
      clock: loop,
      log: this.log,
      store,
      hypervisors: [hypervisor],
      watches: this.monitor,
      tickSource: {
        kind: 'ticker',
        listen: (address, listener) => guestAt(address).connect(loop, listener),
      },
      connectAgent: (address) => new SimAgent(guestAt(address), loop, world),
      logger: {
        info: () => undefined,
        warn: () => undefined,
        error: (details, message) => {
          if (message === 'a defect of vmpulse' || message === 'an event was not dealt with') {
            fault((details as { err: unknown }).err);
          }
        },
      },
      version: '0.0.0',
      pid: 1,
      name: 'sim',
    });
    const { log, server } = this;
    const random = world.random.fork();
    this.recovery = makeRecovery({ world, loop, server, log, store, sight, random, oracle: host.recoveries });
  }

  /** Opens the store and makes a service over it; `start` follows. */
  static async open(host: Host): Promise<Service> {
    const { world, disk, pace } = host;
    const loop = new ServiceLoop(world, world.random.fork(), pace);
    world.service = loop;
    const { startThread, dispose } = disk.threads(loop);
    // By the wall clock: whoever sets that a year ahead has no log left, which is another promise.
    const retention = { maxAgeMs: Number.MAX_SAFE_INTEGER };
    const warn = (_message: string, error: unknown): void => host.defect(String(error));
    const store = await SqliteStore.open(disk.directory, { clock: loop, startThread, warn, retention });
    return new Service(host, loop, store, dispose);
  }

  /** Finds its machines. */
  async start(): Promise<void> {
    await this.server.load();
    await this.recovery.load();
    this.host.recoveries.came(this.server);
    await this.server.start();
    this.recovery.start();
  }

  /** Asks it for something, as a client does: it hears when its loop comes to it. Rejects as the service does. */
  request<T>(ask: (server: VirtualServer) => T | Promise<T>): Promise<T> {
    const { loop, server } = this;
    const clientsChannel = 999_999;
    return new Promise((resolve, reject) => {
      loop.input(clientsChannel, () => {
        loop.dirty = true;
        void (async () => {
          try {
            resolve(await ask(server));
          } catch (error) {
            const reason = error as Error;
            reject(reason);
          }
        })();
      });
    });
  }

  /** SIGKILL: nothing of it happens any more; what its disk took stays. */
  kill(): void {
    this.store.abandon();
    this.end();
  }

  /** The answer, or null when the service is killed first: its own promises are never settled then. */
  untilKilled<T>(answer: Promise<T>): Promise<T | null> {
    return new Promise((resolve, reject) => {
      const gone = (): void => resolve(null);
      this.ends.add(gone);
      const settled = (): void => void this.ends.delete(gone);
      answer.then(resolve, reject).finally(settled).catch(settled);
    });
  }

  private end(): void {
    this.host.recoveries.died();
    for (const gone of this.ends) gone();
    this.loop.kill();
    this.host.world.service = null;
    for (const guest of this.host.guests) guest.disconnect();
    this.dispose();
  }

  /** SIGTERM: stops in order, then its process ends. */
  async stop(): Promise<void> {
    await this.request(async (server) => {
      await this.recovery.close();
      await server.stop('simulated');
      this.sight.close();
      this.monitor.close();
      this.closing = true;
      await this.store.close();
    });
    this.end();
  }

  /** The log as the service uses it; promises that go on are told to the world. */
  private marked(store: SqliteStore): EventLog {
    const { loop, host } = this;
    return {
      get serverId(): string {
        return store.serverId;
      },
      append: (draft: EventDraft, effect?: MachineEffect): Promise<VmEvent> => {
        loop.dirty = true;
        host.appended(draft);
        return store.append(draft, effect);
      },
      read: (query) => {
        loop.dirty = true;
        return store.read(query);
      },
      onCommit: (listener) =>
        store.onCommit((lastSeq) => {
          loop.dirty = true;
          listener(lastSeq);
        }),
      state: () => store.state(),
      close: () => store.close(),
    };
  }
}

function guestOf(guests: readonly SimGuest[], vmId: string): SimGuest {
  const guest = guests[Number.parseInt(vmId.slice(-12), 16)];
  if (guest?.id === vmId) return guest;
  return guests.find(({ id }) => id === vmId) as SimGuest;
}
