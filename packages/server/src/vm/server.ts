/**
 * The virtual server: its machines from start to stop. Every machine goes its own way (I8): nothing is queued across
 * machines but what is bounded on purpose (autostart, the saves of an orderly stop).
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import {
  messageIds,
  VmError,
  type GuestInfo,
  type HoldInfo,
  type ServerInfo,
  type TaskInfo,
  type Verdict,
  type VmChange,
  type VmConfiguration,
  type VmInfo,
  type VmReference,
  type VmState,
} from '@vmpulse/wire';
import { type Clock, withDeadline } from '../clock.ts';
import type { EventLog } from '../event/log.ts';
import type { Hypervisor, HypervisorInfo } from '../hypervisor/hypervisor.ts';
import {
  adoptionTimeoutMs,
  durableAppendTimeoutMs,
  maxMachines,
  maxParallelAdoptions,
  serviceStopTimeoutMs,
} from '../limits.ts';
import type { MachineStore, StoredMachine } from '../machine-record.ts';
import type { WatchKeeper } from '../monitor/watch.ts';
import type { TickSource } from '../tick/source.ts';
import { adopt } from './adoption.ts';
import { autostart, type AutostartCandidate } from './autostart.ts';
import { changedConfiguration, completeConfiguration } from './configuration.ts';
import { GuestCommands } from './guest-commands.ts';
import { Holds } from './holds.ts';
import { hostInfo, lookedAt, shownLimits } from './host-info.ts';
import { Journal } from './journal.ts';
import { changeMachine } from './machine-change.ts';
import { countedStates, countedVerdicts } from './machine-counts.ts';
import { MachineDirectory } from './machine-directory.ts';
import { guestInfo, vmInfo } from './machine-info.ts';
import type { MachineService, TaskOperation } from './machine-service.ts';
import { Machine, type MachineHost } from './machine.ts';
import { MemorySweep } from './memory-sweep.ts';
import { checkId, newRecord } from './new-machine.ts';
import { occupy, operate, perform } from './operate.ts';
import { forEachParallel } from './parallel.ts';
import type { GuestAgentPort, Logger } from './ports.ts';
import { recoverable, type RecoverableMachine } from './recoverable.ts';
import { quitMachines, releaseMachines } from './service-stop.ts';
import { checkAllowed } from './slot.ts';
import { TaskRegistry } from './task.ts';
import { unavailableHypervisor } from './unavailable-hypervisor.ts';

/** What a server is made of. */
export interface VirtualServerOptions {
  readonly clock: Clock;
  readonly log: EventLog;
  readonly store: MachineStore;
  /** The first runs new machines; each runs those stored under its kind. */
  readonly hypervisors: readonly [Hypervisor, ...Hypervisor[]];
  readonly watches: WatchKeeper;
  /** Where ticks come from; the port's address is that of RunningMachine.ports.heartbeat. */
  readonly tickSource: TickSource;
  /** The agent behind a port (RunningMachine.ports.agent), shared with whoever else asks it. */
  readonly connectAgent: (address: string) => GuestAgentPort;
  readonly logger: Logger;
  /** Of vmpulse. */
  readonly version: string;
  /** Of the service's process. */
  readonly pid: number;
  /** Default: the host's name. */
  readonly name?: string;
  /** How long `stop` may take in all; default serviceStopTimeoutMs. */
  readonly stopTimeoutMs?: number;
}

/** Stored: 'true' after a stop in order, 'false' from start on. */
const cleanStopKey = 'cleanStop';

/**
 * The virtual server. `load`, then `start`; after `stop` begins, operations are VM_E_APP_SHUTTING_DOWN. Between `load`
 * and `start` the machines are shown, and operations on them refused until their processes were found.
 */
export class VirtualServer implements MachineService {
  readonly #options: VirtualServerOptions;
  readonly #journal: Journal;
  readonly #tasks: TaskRegistry;
  readonly #machines = new MachineDirectory();
  readonly machines: MachineDirectory = this.#machines;
  readonly holds: Holds;
  readonly guests: GuestCommands;
  readonly #host: MachineHost;
  readonly #stopping = new AbortController();
  readonly #startedMs: number;
  readonly #sweep: MemorySweep;
  #loading: Promise<Machine[]> | null = null;
  #stopped: Promise<void> | null = null;
  /** serviceStarted was told, so that its end is told too. */
  #started = false;
  #hypervisorInfo: HypervisorInfo = lookedAt;

  constructor(options: VirtualServerOptions) {
    const { clock, log, store, logger, watches, tickSource, connectAgent } = options;
    this.#options = options;
    this.#journal = new Journal(log, store, clock, logger);
    this.#tasks = new TaskRegistry(clock);
    this.#sweep = new MemorySweep(clock, this.#journal, this.#machines);
    this.#startedMs = clock.monotonicMs();
    const journal = this.#journal;
    const tasks = this.#tasks;
    const stopping = this.#stopping.signal;
    const machines = this.#machines;
    const holds = new Holds({ clock, journal, machines, requireOpen: () => this.#requireOpen() });
    this.holds = holds;
    this.guests = new GuestCommands({ clock, find: (vm) => this.#openMachine(vm) });
    const holdOn = (vmId: string): HoldInfo | null => holds.of(vmId);
    this.#host = { clock, journal, logger, watches, tickSource, connectAgent, tasks, holdOn, stopping };
  }

  /** Loads the stored machines; nothing is told, looked for or written. Idempotent. Errors: those of the store. */
  async load(): Promise<void> {
    await (this.#loading ??= this.#loadAll());
  }

  /**
   * Loads the machines (`load`), finds their processes again and repairs their states; resolves when all were found, or
   * looked for long enough. Autostart goes on behind it. Errors: those of the store's reading.
   */
  async start(): Promise<void> {
    const { store, version, pid } = this.#options;
    const known = await (this.#loading ??= this.#loadAll());
    const cleanStop = await store.getValue(cleanStopKey);
    if (this.#stopping.signal.aborted) return;
    this.#started = true;
    const unclean = cleanStop === 'false';
    const messageId = unclean ? messageIds.serviceStartedUnclean : messageIds.serviceStarted;
    void this.#journal.append('serviceStarted', undefined, { messageId, version, pid, unclean });
    void this.#setCleanStop(false);
    this.holds.run();
    const candidates: AutostartCandidate[] = [];
    await forEachParallel(known, maxParallelAdoptions, async (machine) => {
      const { runningAtQuit } = machine.record;
      const found = await this.#adopt(machine);
      candidates.push({ machine, ranAtQuit: runningAtQuit || found });
    });
    if (this.#stopping.signal.aborted) return;
    this.#sweep.start();
    void this.#lookAtHost();
    void autostart(candidates, this.#stopping.signal);
  }

  /**
   * Stops in order: each machine by its shutdownActionOnQuit, then the last event. A server that never started tells
   * and stores nothing. Idempotent; never rejects.
   */
  stop(reason = 'asked to stop'): Promise<void> {
    return (this.#stopped ??= this.#stop(reason));
  }

  async #stop(reason: string): Promise<void> {
    this.#stopping.abort();
    this.#sweep.stop();
    this.holds.close();
    const { stopTimeoutMs = serviceStopTimeoutMs } = this.#options;
    const machines = this.#machines.all();
    if (!this.#started) {
      await releaseMachines(machines, stopTimeoutMs);
      return;
    }
    await quitMachines(machines, stopTimeoutMs);
    const data = { messageId: messageIds.serviceStopped, reason };
    void this.#journal.append('serviceStopped', undefined, data);
    await this.#setCleanStop(true);
  }

  /** Waits for nothing: of a host that is still being looked at it says that. */
  info(): Promise<ServerInfo> {
    const { clock, log, version, name } = this.#options;
    const { lastSeq, oldestSeq } = log.state();
    void this.#lookAtHost();
    return Promise.resolve({
      id: log.serverId,
      name: name ?? hostname(),
      version,
      uptimeMs: Math.round(clock.monotonicMs() - this.#startedMs),
      seq: lastSeq,
      oldestSeq,
      host: hostInfo(this.#hypervisorInfo),
      limits: shownLimits,
      vms: this.countStates(),
    });
  }

  /** Machines by state, in one pass. */
  countStates(): Record<VmState, number> {
    return countedStates(this.#machines.all());
  }

  /** Guests by verdict, in one pass; a verdict that no guest has is not there. */
  countVerdicts(): Partial<Record<Verdict, number>> {
    return countedVerdicts(this.#machines.all());
  }

  list(): VmInfo[] {
    return this.#machines.sorted().map(vmInfo);
  }

  /** Id and name of a machine. Errors: VM_E_VM_UNKNOWN. */
  reference(vm: string): VmReference {
    return this.#machines.find(vm).reference;
  }

  get(vm: string): VmInfo {
    return vmInfo(this.#machines.find(vm));
  }

  guest(vm: string): GuestInfo {
    return guestInfo(this.#machines.find(vm));
  }

  async create(configuration: VmConfiguration, id: string = randomUUID()): Promise<VmInfo> {
    this.#requireOpen();
    const vmId = checkId(id);
    const complete = completeConfiguration(configuration, vmId);
    const [hypervisor] = this.#options.hypervisors;
    // One registered under a UUID of the caller's may have been saved before.
    const saved = await hypervisor.hasSavedState(vmId);
    this.#requireOpen();
    if (this.#machines.has(vmId)) {
      throw new VmError('E_ALREADY_EXISTS', `A machine with the UUID ${vmId} exists already.`, {
        field: '/id',
      });
    }
    if (this.#machines.size >= maxMachines) {
      throw new VmError(
        'VM_E_TOO_MANY_VMS',
        `The server has ${maxMachines} machines, as many as it takes; delete one.`,
      );
    }
    this.#journal.requireWritable();
    this.#machines.takeName(complete.name, vmId);
    const record = newRecord(vmId, hypervisor.kind, complete, this.#options.clock.wallMs());
    const stored: StoredMachine = { record, state: 'turnedOff', conditions: [] };
    const state = saved ? 'saved' : 'turnedOff';
    const machine = new Machine(this.#host, hypervisor, stored, { kind: 'off', state });
    this.#machines.add(machine);
    this.holds.cover(machine);
    const data = { hypervisor: hypervisor.kind };
    const created = this.#journal.appendOrLose('vmCreated', machine.reference, data, { put: record });
    const kept = this.#dropWhenLost(machine, created);
    await this.#journal.durable(kept);
    return vmInfo(machine);
  }

  async change(vm: string, change: VmChange): Promise<VmInfo> {
    const machine = this.#openMachine(vm);
    const { configuration } = machine.record;
    const changed = changedConfiguration(configuration, change, machine.id);
    this.#journal.requireWritable();
    await changeMachine(machine, changed, () => {
      this.#machines.takeName(changed.name, machine.id, configuration.name);
    });
    return vmInfo(machine);
  }

  async delete(vm: string): Promise<void> {
    const machine = this.#openMachine(vm);
    checkAllowed(machine, 'delete');
    this.#journal.requireWritable();
    const error = await occupy(machine, 'delete', null, async () => {
      await machine.closing;
      await machine.hypervisor.remove(machine.id);
      // Before the event: no later write may bring the record back.
      const { reference } = machine;
      this.#forget(machine);
      await this.#journal.appendDurably('vmDeleted', reference, {}, { remove: machine.id });
    });
    if (error !== null) throw error;
  }

  operate(vm: string, operation: TaskOperation): TaskInfo {
    return operate(this.#openMachine(vm), operation);
  }

  /** As `operate`, to its end. Errors: those of `operate` and of the task. */
  async perform(vm: string, operation: TaskOperation, stillWanted?: () => boolean): Promise<void> {
    await perform(this.#openMachine(vm), operation, stillWanted);
  }

  /** What recovery needs besides. */
  recoverable(vm: string): RecoverableMachine {
    return recoverable(this.#machines.find(vm));
  }

  tasks(): TaskInfo[] {
    return this.#tasks.list().map((task) => task.info());
  }

  task(id: string): TaskInfo {
    return this.#tasks.get(id).info();
  }

  cancelTask(id: string): TaskInfo {
    const task = this.#tasks.get(id);
    task.cancel();
    return task.info();
  }

  async #loadAll(): Promise<Machine[]> {
    const { store } = this.#options;
    const [stored, holds] = await Promise.all([store.loadMachines(), store.loadHolds()]);
    this.holds.load(holds);
    return stored.map((machine) => this.#load(machine));
  }

  /** Never fails for what is stored: one machine that is odd must not keep the others from being served. */
  #load(stored: StoredMachine): Machine {
    const { id, hypervisor: kind, configuration } = stored.record;
    const hypervisor =
      this.#options.hypervisors.find((each) => each.kind === kind) ?? unavailableHypervisor(kind);
    const machine = new Machine(this.#host, hypervisor, stored, { kind: 'seeking', state: stored.state });
    try {
      this.#machines.takeName(configuration.name, id);
    } catch (error) {
      const vm = machine.reference;
      this.#options.logger.error({ err: error, vm }, 'a machine is found by its UUID only; rename it');
    }
    this.#machines.add(machine);
    this.holds.cover(machine);
    return machine;
  }

  /** What the hypervisor found out is shown from then on; it remembers that, so asking costs nothing. */
  async #lookAtHost(): Promise<void> {
    try {
      this.#hypervisorInfo = await this.#options.hypervisors[0].probe();
    } catch (error) {
      this.#hypervisorInfo = { ...lookedAt, acceleratorReason: VmError.from(error).message };
    }
  }

  /** Looks for one machine's process; after the deadline that goes on beside. True when its guest was found dead. */
  async #adopt(machine: Machine): Promise<boolean> {
    const { clock, logger } = this.#options;
    try {
      const found = adopt(machine, this.#stopping.signal);
      const late = (): VmError =>
        new VmError('VM_E_TIMED_OUT', 'Looking for the process takes long; it goes on.');
      return (await withDeadline(clock, found, adoptionTimeoutMs, late))?.foundDead === true;
    } catch (error) {
      logger.warn({ err: error, vm: machine.reference }, 'ready without having found a machine');
      return false;
    }
  }

  async #setCleanStop(clean: boolean): Promise<void> {
    const { clock, store, logger } = this.#options;
    const late = (): VmError => new VmError('VMPULSE_E_LOG_UNAVAILABLE', 'The store did not write in time.');
    try {
      // Behind all that was appended: durable with it, or not at all.
      await withDeadline(clock, store.setValue(cleanStopKey, String(clean)), durableAppendTimeoutMs, late);
    } catch (error) {
      logger.warn({ err: error }, 'whether the service stopped in order could not be stored');
    }
  }

  /** A machine whose vmCreated was dropped never was; one whose vmCreated takes long will be, and keeps its name. */
  async #dropWhenLost(machine: Machine, created: Promise<void>): Promise<void> {
    try {
      await created;
    } catch (error) {
      if (machine.phase.kind === 'off' && machine.slot === null) {
        this.#forget(machine);
      }
      throw error;
    }
  }

  #forget(machine: Machine): void {
    machine.forget();
    this.#machines.remove(machine);
    this.holds.forget(machine.id);
  }

  #openMachine(vm: string): Machine {
    this.#requireOpen();
    return this.#machines.find(vm);
  }

  #requireOpen(): void {
    if (!this.#stopping.signal.aborted) return;
    throw new VmError('VM_E_APP_SHUTTING_DOWN', 'The service is stopping; ask again when it has started.');
  }
}
