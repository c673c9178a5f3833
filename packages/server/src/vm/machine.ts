/**
 * One machine: where it is in its life, who holds it, what is stored of it. Invariants kept here:
 *  1. State is one union (`phase.ts`), changed by `enter` and `rest` alone; each change is one stateChanged event.
 *  2. One operation at a time (`slot`). What the guest or its process does by itself happens regardless of it.
 *  3. Events and record are handed to the journal in the order they happen; nothing here waits for the disk.
 *  4. Every event of the hypervisor has gone through the watch before the lifecycle acts on it.
 */
import {
  stateCodes,
  type EventDataByType,
  type EventType,
  type HoldInfo,
  type VmReference,
  type VmState,
} from '@vmpulse/wire';
import { type Clock, withDeadline } from '../clock.ts';
import type { Hypervisor, RunningMachine, RunState } from '../hypervisor/hypervisor.ts';
import { memorySaveMs, taskDurabilityTimeoutMs } from '../limits.ts';
import type {
  AdditionsRecord,
  MachineEffect,
  MachineRecord,
  StoredMachine,
  WatchMemory,
} from '../machine-record.ts';
import type { Beginning, SuspendReason, Watch, WatchKeeper } from '../monitor/watch.ts';
import type { TickListener, TickSource, TickSubscription } from '../tick/source.ts';
import { markAfter } from './disk-level.ts';
import { gate } from './gate.ts';
import { GuestLink } from './guest-link.ts';
import { introduceHost } from './guest-parameters.ts';
import { onHypervisorEvent } from './hypervisor-events.ts';
import type { Journal } from './journal.ts';
import { checkTransition, endings, type HeldProcess, type HeldState, type Phase } from './phase.ts';
import type { GuestAgentPort, Logger } from './ports.ts';
import type { Slot } from './slot.ts';
import type { TaskRegistry } from './task.ts';

/** What all machines of a server share. Nothing in it makes one machine wait for another. */
export interface MachineHost {
  readonly clock: Clock;
  readonly journal: Journal;
  readonly logger: Logger;
  readonly watches: WatchKeeper;
  readonly tickSource: TickSource;
  readonly connectAgent: (address: string) => GuestAgentPort;
  readonly tasks: TaskRegistry;
  /** The hold on a machine's watch, its own or that of all. */
  readonly holdOn: (vmId: string) => HoldInfo | null;
  /** Aborted when the service begins to stop. */
  readonly stopping: AbortSignal;
}

/** What a new state is told with; see the event. */
type StateDetails = Pick<EventDataByType['stateChanged'], 'cause' | 'saved'>;

/** What the next service must know to go on watching it, for comparison; the rest changes all the time. */
function standing(memory: WatchMemory): string {
  const { armed, intervalMs, bootMs } = memory;
  const { source = null, awaited = false, additionsLost = null, toldClosed = false } = memory;
  return JSON.stringify([armed, intervalMs, bootMs, source, awaited, additionsLost, toldClosed]);
}

/** What of a machine's record the lifecycle changes. */
type RecordChange = Partial<Omit<MachineRecord, 'id' | 'hypervisor' | 'createdMs' | 'watch' | 'additions'>>;

/** One machine. */
export class Machine {
  readonly id: string;
  readonly host: MachineHost;
  readonly hypervisor: Hypervisor;
  readonly watch: Watch;
  /** The operation under way; `operate` sets it. */
  slot: Slot | null = null;
  /** How many operations were begun on it since the service started. */
  operationsBegun = 0;
  /** A process is being ended beside any operation, after its guest turned itself off; a start waits for it. */
  closing: Promise<void> = Promise.resolve();
  #record: MachineRecord;
  #phase: Phase;
  #suspended = false;
  #lastWrite: Promise<unknown> = Promise.resolve();
  /** A write of the record was lost: it is written again when it can be. */
  #dirty = false;
  #deleted = false;
  #released = false;
  #sweepQueued = false;
  #memorySavedMs: number;

  constructor(host: MachineHost, hypervisor: Hypervisor, stored: StoredMachine, phase: Phase) {
    this.host = host;
    this.hypervisor = hypervisor;
    this.id = stored.record.id;
    this.#record = stored.record;
    this.#phase = phase;
    this.#memorySavedMs = host.clock.monotonicMs();
    this.watch = host.watches.watch({
      vm: this.reference,
      configuration: stored.record.configuration,
      memory: stored.record.watch,
      conditions: stored.conditions,
      onMemoryChanged: () => this.#sweepSoon(),
    });
  }

  get record(): MachineRecord {
    return this.#record;
  }

  get phase(): Phase {
    return this.#phase;
  }

  get state(): VmState {
    return this.#phase.state;
  }

  get name(): string {
    return this.#record.configuration.name;
  }

  /** As events name it. */
  get reference(): VmReference {
    return { id: this.id, name: this.name };
  }

  /** Its process, while the lifecycle holds one. */
  get process(): HeldProcess | null {
    return this.#phase.kind === 'held' ? this.#phase.process : null;
  }

  /**
   * Resolves when what was written so far is durable or lost, or not within a time. At once while the log cannot be
   * written: a full disk holds no machine up. Never rejects.
   */
  async writtenSoon(): Promise<void> {
    const { clock, journal } = this.host;
    if (!journal.writable) return;
    try {
      const late = (): Error => new Error('The events are not durable yet.');
      await withDeadline(clock, this.#lastWrite, taskDurabilityTimeoutMs, late);
    } catch {
      // The events wait in the log's queue.
    }
  }

  /** The service stopped and let go of it (`detach`): nothing is written of it any more. */
  get released(): boolean {
    return this.#released;
  }

  /** Appends an event of this machine. */
  append<T extends EventType>(type: T, data: EventDataByType[T], effect?: MachineEffect): void {
    if (this.#released) return;
    this.#track(this.host.journal.append(type, this.reference, data, effect));
  }

  /** Goes to another phase; a new state is told as an event, stored together with the record. */
  enter(phase: Phase, change: RecordChange = {}, cause?: 'autostart'): void {
    this.#tell(phase.state, change, cause === undefined ? {} : { cause });
    this.#phase = phase;
  }

  /** Rests without a process. A saved machine's last event is turnedOff too, as in the reference. */
  rest(saved: boolean, cause?: 'processExit'): void {
    const more = { ...(saved ? { saved } : {}), ...(cause === undefined ? {} : { cause }) };
    this.#tell('turnedOff', { process: null, activeConfiguration: null }, more);
    this.#phase = { kind: 'off', state: saved ? 'saved' : 'turnedOff' };
  }

  /** Corrects what is known of a machine at rest, or of one found again; what it rests as is no event. */
  found(phase: Phase): void {
    this.#phase = phase;
  }

  /** Changes the stored record apart from any event. */
  remember(change: RecordChange): void {
    this.#record = { ...this.#record, ...change };
    if (!this.#released) this.#track(this.host.journal.put(this.toRecord()));
  }

  /** Changes the record; the caller writes it with an event (`toRecord`). */
  amend(change: RecordChange): void {
    this.#record = { ...this.#record, ...change };
  }

  /** The record as it is to be stored now, with what the monitor and the additions know. */
  toRecord(): MachineRecord {
    this.#record = { ...this.#record, watch: this.watch.memory(), additions: this.additions() };
    return this.#record;
  }

  /** What the additions told: the agent's word on the guest, the ticker's on its version, kept when off. */
  additions(): AdditionsRecord {
    const kept = this.#record.additions;
    const process = this.process;
    if (process === null) return kept;
    const { said } = process.link;
    const { hello } = this.watch.info();
    return {
      version: hello.version ?? said?.version ?? kept.version,
      osName: said?.osName ?? hello.osName ?? kept.osName,
      computerName: said?.computerName ?? hello.computerName ?? kept.computerName,
    };
  }

  /** Stores what was learned since the last time, where it is worth a write. True when it wrote. */
  sweep(): boolean {
    if (this.#deleted || this.#released) return false;
    const { watch, additions } = this.#record;
    const memory = this.watch.memory();
    const now = this.additions();
    const nowMs = this.host.clock.monotonicMs();
    const tickIsOld =
      nowMs - this.#memorySavedMs >= memorySaveMs && memory.lastTickWallMs !== watch.lastTickWallMs;
    const learned =
      standing(memory) !== standing(watch) ||
      Object.values(now).join('\n') !== Object.values({ ...now, ...additions }).join('\n');
    if (!learned && !tickIsOld && !this.#dirty) return false;
    this.#memorySavedMs = nowMs;
    this.#dirty = false;
    this.#track(this.host.journal.put(this.toRecord()));
    return true;
  }

  /** Takes hold of a process and begins its watch. Its events come once `listen` was called. */
  hold(machine: RunningMachine, how: Beginning, runState: RunState): HeldProcess {
    const { passed: gone, open: resolveGone } = gate();
    const link = new GuestLink({
      address: machine.ports.agent,
      connect: this.host.connectAgent,
      clock: this.host.clock,
      pulses: this.watch.pulses,
      onAdditions: () => {
        this.sweep();
        void introduceHost(link.agent, this.name);
      },
      logger: this.host.logger,
      vm: () => this.reference,
    });
    this.#suspended = false;
    this.watch.begin(machine, how, runState, machine.ports.agent === null ? null : link);
    // No ticker wakes it: it was the heartbeat, and is pinged until it answers.
    if (how !== 'booted' && this.#record.watch.source === 'agent') link.expect();
    return {
      machine,
      configuration: this.#record.activeConfiguration ?? this.#record.configuration,
      link,
      ticks: this.#listenForTicks(machine.ports.heartbeat, link),
      gone,
      resolveGone,
      exitExpected: false,
      saved: false,
      lastResetMs: Number.NEGATIVE_INFINITY,
      guestOffTold: false,
      events: 0,
      panicked: false,
      hibernated: false,
      ended: false,
    };
  }

  /** Lets the process's events come; those that came meanwhile come now. Call it once the state shows the process. */
  listen(process: HeldProcess): void {
    process.machine.setListener((event) => onHypervisorEvent(this, process, event));
  }

  /** Silence is not judged and an exit is what was asked for, until `unsuspend`. */
  suspend(reason: SuspendReason): void {
    this.#suspended = true;
    this.watch.suspend(reason);
  }

  unsuspend(): void {
    if (!this.#suspended) return;
    this.#suspended = false;
    this.watch.unsuspend();
    this.process?.link.resumed();
  }

  /** The process is gone: tells the states that are left of its end. Idempotent. */
  ended(process: HeldProcess): void {
    if (process.ended || this.process !== process) return;
    process.ended = true;
    // While the phase still holds it, so that what its additions said last is kept.
    this.toRecord();
    process.ticks?.close();
    process.link.close();
    this.watch.end('ended');
    this.#suspended = false;
    for (const state of endings[this.#heldState()]) this.enter({ kind: 'ending', state });
    this.rest(process.saved, process.exitExpected ? undefined : 'processExit');
    process.resolveGone();
  }

  /**
   * The service stops and the process, where there is one, runs on: lets go of it. Never rejects. From here on nobody
   * hears the guest's ticks, so that its silence is not judged; the next service tells what happens to it.
   */
  async detach(): Promise<void> {
    const { process } = this;
    if (process !== null) {
      this.suspend('pausing');
      this.#track(this.host.journal.put(this.toRecord()));
    }
    this.#released = true;
    if (process === null) return;
    process.ticks?.close();
    await process.link.freezer.release();
    process.link.close();
    try {
      await process.machine.detach();
    } catch (error) {
      this.host.logger.warn({ err: error, vm: this.reference }, 'a process could not be let go of');
    }
  }

  /** Forgets the machine: nothing is written of it any more. */
  forget(): void {
    this.#deleted = true;
    this.watch.close();
  }

  /** Once for all that changes in one turn, and never from inside the monitor's call. */
  #sweepSoon(): void {
    if (this.#sweepQueued) return;
    this.#sweepQueued = true;
    queueMicrotask(() => {
      this.#sweepQueued = false;
      this.sweep();
    });
  }

  #heldState(): HeldState {
    return this.#phase.kind === 'held' ? this.#phase.state : 'deleteMachine';
  }

  #tell(state: VmState, change: RecordChange, more: StateDetails = {}): void {
    const previousState = this.state;
    if (state !== previousState) checkTransition(previousState, state);
    this.#record = { ...this.#record, ...change };
    if (state === previousState) return;
    const diskSpace = markAfter(this.#record.diskSpace, state);
    if (diskSpace !== (this.#record.diskSpace ?? null)) this.#record = { ...this.#record, diskSpace };
    const why = state === 'paused' && diskSpace === 'paused' ? { cause: 'diskSpace' as const } : {};
    const data = { state, stateCode: stateCodes[state], previousState, ...why, ...more };
    this.append('stateChanged', data, { put: this.toRecord() });
  }

  #track(written: Promise<boolean>): void {
    this.#lastWrite = this.#noteLoss(written);
  }

  async #noteLoss(written: Promise<boolean>): Promise<void> {
    if (!(await written)) this.#dirty = true;
  }

  #listenForTicks(address: string | null, link: GuestLink): TickSubscription | null {
    const ticks = address === null ? null : this.#tickListener(address, link);
    // Of an agent that an operator keeps busy, silence says nothing.
    const agentBusy = (): boolean => link.busy && this.watch.info().source === 'agent';
    this.watch.setBacklogProbe(() => ticks?.backlogged() === true || agentBusy());
    return ticks;
  }

  #tickListener(address: string, link: GuestLink): TickSubscription {
    const { listener } = this.watch;
    let heard = false;
    const first = (): void => {
      heard = true;
      link.wake();
    };
    const wrapped: TickListener = {
      onHello: (hello) => listener.onHello(hello),
      onTick: (seq, uptimeMs) => {
        listener.onTick(seq, uptimeMs);
        if (!heard) first();
      },
      onBye: (reason) => listener.onBye(reason),
      onRejected: (bytes) => listener.onRejected(bytes),
      onConnection: (connected) => listener.onConnection(connected),
    };
    return this.host.tickSource.listen(address, wrapped);
  }
}
