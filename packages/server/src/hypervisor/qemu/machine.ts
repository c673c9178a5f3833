/**
 * A QEMU process and its monitor as the port's RunningMachine. What QEMU tells is turned into the port's events here;
 * nothing is decided. The `exited` event comes last and once, after everything the monitor had said was read.
 */
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { VmError } from '@vmpulse/wire';
import { type Clock, withDeadline } from '../../clock.ts';
import {
  memoryDumpReleaseTimeoutMs,
  qemuQuitTimeoutMs,
  qemuStartTimeoutMs,
  qmpCommandTimeoutMs,
} from '../../limits.ts';
import { socketAddress } from '../../socket-path.ts';
import { EventBuffer } from '../event-buffer.ts';
import type {
  HypervisorEvent,
  IoCounters,
  ProcessRecord,
  ProcessSample,
  Progress,
  RunningMachine,
  RunState,
} from '../hypervisor.ts';
import { machineFiles } from './command-line.ts';
import { ForeignMigration } from './foreign-migration.ts';
import { Freezer } from './freezer.ts';
import { diskOperationsOf, packetsSentBy, tapDevices } from './io-counters.ts';
import { MachineLogs } from './machine-logs.ts';
import { MemoryDump } from './memory-dump.ts';
import { endTransfer, isTransferring, untilRead, writeState } from './migration.ts';
import { readStat, sampleProcess, vcpuThreadIds } from './proc.ts';
import { ProcessWatch } from './process-watch.ts';
import { killProcess, type ProcessEnd, stderrTail } from './process.ts';
import { hypervisorEvent } from './qmp-event.ts';
import { QmpRefusal } from './qmp.ts';
import { QmpLink } from './qmp-link.ts';
import { SavedState } from './saved-state.ts';

/** What a machine is made of. */
export interface QemuMachineOptions {
  readonly record: ProcessRecord;
  readonly clock: Clock;
  /** Null when the process was adopted. */
  readonly child: ChildProcess | null;
}

/** RunningMachine over QEMU. */
export class QemuMachine implements RunningMachine {
  readonly record: ProcessRecord;
  readonly ports: RunningMachine['ports'];
  readonly link: QmpLink;
  /** Resolves when the process is gone and `exited` was delivered. */
  readonly exited: Promise<ProcessEnd>;
  readonly savedState: SavedState;
  readonly #clock: Clock;
  readonly #watch: ProcessWatch;
  readonly #events = new EventBuffer();
  readonly #logs: MachineLogs;
  readonly #migration: ForeignMigration;
  readonly #freezer: Freezer;
  #vcpuTids: readonly number[] = [];
  #taps: readonly string[] | null = null;
  #saving = false;
  #dumping: { readonly dump: MemoryDump; readonly over: Promise<unknown> } | null = null;
  #onReset: (() => void) | null = null;

  constructor(options: QemuMachineOptions) {
    const { record, clock } = options;
    const { directory } = record;
    this.record = record;
    this.#clock = clock;
    this.savedState = new SavedState(directory);
    this.ports = {
      heartbeat: socketAddress(join(directory, machineFiles.heartbeat)),
      agent: socketAddress(join(directory, machineFiles.agent)),
    };
    this.link = new QmpLink(join(directory, machineFiles.qmp), clock, {
      onEvent: (name, data, atMs) => this.#take(name, data, atMs),
      onDisconnected: () => this.#watch.suspect(),
      onLost: (reason) => {
        this.#watch.suspect();
        this.#emit({ kind: 'connectionLost', reason });
      },
      refine: (runState) => this.#refine(runState),
      onRegained: (runState) => {
        this.#watch.trust();
        this.#emit({ kind: 'connectionRegained', runState: this.#saving ? 'saving' : runState });
        // It may have been adopted unseen.
        if (runState !== 'restoring') void this.#migration.watch();
      },
    });
    this.#migration = new ForeignMigration(this.link, clock, () => this.#saving || this.savedState.isBegun());
    this.#freezer = new Freezer(clock, record.pid);
    this.#logs = new MachineLogs(clock, directory);
    this.#watch = new ProcessWatch(clock, record, options.child);
    this.exited = this.#watch.gone.then((end) => this.#finish(end));
  }

  setListener(listener: (event: HypervisorEvent) => void): void {
    this.#events.setListener(listener);
  }

  async runState(): Promise<RunState> {
    return this.#refine(await this.link.runState());
  }

  async #refine(state: RunState): Promise<RunState> {
    if (this.#saving) return 'saving';
    // Held for a dump only: it is not the guest's doing, nor anybody's will.
    if (state === 'saving' && this.#dumping?.dump.held === true) return 'running';
    return this.#migration.refine(state);
  }

  async pause(): Promise<void> {
    await this.#endDump();
    await this.link.execute('stop');
  }

  async resume(): Promise<void> {
    await this.#endDump();
    if ((await this.link.runState()) === 'restoring') {
      await untilRead(this.link, this.#clock, qemuStartTimeoutMs);
      await this.#migration.watch();
    }
    await this.#leaveSavedState('cont');
  }

  async reset(): Promise<void> {
    await this.#endDump();
    if ((await this.link.runState()) === 'restoring') {
      const text = 'QEMU has not read the saved state yet; turn the machine off and start it again.';
      throw new VmError('VMPULSE_E_HYPERVISOR', text);
    }
    const done = new Promise<void>((resolve) => {
      this.#onReset = resolve;
    });
    const late = (): VmError =>
      new VmError('VM_E_TIMED_OUT', 'QEMU took the reset but did not do it in time.');
    await this.#leaveSavedState('system_reset');
    // QEMU resets after it has answered or before, and forgets `cont` when that came first.
    await withDeadline(this.#clock, done, qmpCommandTimeoutMs, late);
    if ((await this.link.runState()) !== 'running') await this.link.execute('cont');
  }

  async injectNmi(): Promise<void> {
    await this.link.execute('inject-nmi');
  }

  async pressPowerButton(): Promise<void> {
    await this.link.execute('system_powerdown');
  }

  async quit(): Promise<void> {
    this.#dumping?.dump.cancel();
    if (this.#watch.ended) {
      await this.exited;
      return;
    }
    // A process that was stopped (SIGSTOP) takes no command; waiting for it would only delay.
    const stopped = (await readStat(this.record.pid))?.state === 'T';
    if (!stopped && !this.link.lost && (await this.#ask())) return;
    await this.kill();
  }

  /** Ends the process with SIGKILL. Errors: VM_E_TIMED_OUT when not even that ends it. */
  async kill(): Promise<void> {
    await killProcess(this.record);
    this.#watch.suspect();
    const stuck = (): VmError =>
      new VmError(
        'VM_E_TIMED_OUT',
        `Process ${this.record.pid} does not end: the host blocks it; look at its disks.`,
      );
    await withDeadline(this.#clock, this.exited, qemuQuitTimeoutMs, stuck);
  }

  async save(progress: Progress, signal: AbortSignal): Promise<void> {
    await this.#endDump();
    const wasRunning = (await this.link.runState()) === 'running';
    await this.#refuseBesideMigration();
    this.#saving = true;
    try {
      await this.savedState.discard();
      await this.link.execute('stop');
      await writeState(this.link, this.savedState, this.#clock, progress, signal);
      await this.savedState.commit();
      progress(100);
    } catch (error) {
      await this.#abandonSave(wasRunning).catch(() => undefined);
      throw error;
    } finally {
      this.#saving = false;
    }
  }

  /** Nothing goes on while the state is still being written: QEMU would stop the guest when it is out. */
  async #abandonSave(goesOn: boolean): Promise<void> {
    await endTransfer(this.link, this.#clock);
    await this.savedState.discard().catch(() => undefined);
    if (goesOn) await this.link.execute('cont');
  }

  /** Only one state can be written at a time, and the one under way is the operator's. */
  async #refuseBesideMigration(): Promise<void> {
    const ongoing = await isTransferring(this.link);
    if (!this.#migration.completed && (!ongoing || this.savedState.isBegun())) return;
    const text = ongoing
      ? 'The machine is being migrated by somebody else; let that end, or cancel it (QMP migrate_cancel).'
      : 'The machine was migrated away by somebody else; what is left of it here can only be turned off or resumed.';
    throw new VmError('VMPULSE_E_HYPERVISOR', text);
  }

  async sample(): Promise<ProcessSample> {
    const frozen = this.#freezer.frozen();
    return sampleProcess(this.#clock, this.record, this.#vcpuTids, frozen);
  }

  async counters(): Promise<IoCounters> {
    const diskOperations = diskOperationsOf(await this.link.execute('query-blockstats'));
    // They stay as they are while the process lives; most machines are never asked.
    this.#taps ??= tapDevices(this.record.pid);
    return { atMs: this.#clock.monotonicMs(), diskOperations, packetsSent: packetsSentBy(this.#taps) };
  }

  /** QEMU 7.1 and newer; an older one refuses the format. */
  async screenshot(file: string): Promise<void> {
    await this.link.execute('screendump', { filename: file, format: 'png' });
  }

  async dumpMemory(stem: string, maxBytes: number, signal: AbortSignal): Promise<void> {
    if (this.#dumping !== null || this.#saving) {
      throw new VmError('VMPULSE_E_HYPERVISOR', 'Its memory or its state is being written already.');
    }
    const dump = new MemoryDump(this.link, this.#clock);
    const writing = dump.write(this.record.directory, stem, maxBytes, signal);
    this.#dumping = { dump, over: writing.catch(() => undefined) };
    try {
      await writing;
    } finally {
      this.#dumping = null;
    }
  }

  /** Who has something done with the guest does not wait for a dump. Its end is awaited: QEMU refuses `cont` before. */
  async #endDump(): Promise<void> {
    if (this.#dumping === null) return;
    const { dump, over } = this.#dumping;
    dump.cancel();
    const late = (): VmError => new VmError('VM_E_TIMED_OUT', 'The dump does not end.');
    // Bounded: the disk it is written to may hang.
    await withDeadline(this.#clock, over, memoryDumpReleaseTimeoutMs, late).catch(() => undefined);
  }

  async registers(): Promise<string> {
    const answer = await this.link.execute('human-monitor-command', { 'command-line': 'info registers -a' });
    return typeof answer === 'string' ? answer : '';
  }

  serialTail(): Promise<string> {
    return this.#logs.serialTail();
  }

  async detach(): Promise<void> {
    this.#events.close();
    this.#watch.close();
    // Nothing would read what QEMU writes, and the guest is not left standing still.
    await this.#endDump();
    this.#release('vmpulse stopped observing');
  }

  /** To be called once QEMU is up: takes the thread ids of its virtual processors, which do not change. */
  async learnThreads(): Promise<void> {
    this.#logs.begin();
    this.#vcpuTids = await vcpuThreadIds(this.record.pid);
  }

  /** To be called once no saved state is being read: from here on a migration is told as what it is. */
  watchMigrations(): Promise<void> {
    return this.#migration.watch();
  }

  /** True once it is gone: what the monitor does not answer then is explained by that. */
  get ended(): boolean {
    return this.#watch.ended;
  }

  /** Asks QEMU to end; false when it did not in time. */
  async #ask(): Promise<boolean> {
    const late = (): VmError => new VmError('VM_E_TIMED_OUT', 'QEMU was told to quit and did not.');
    // Its answer may be lost with the connection; only the end counts, and an orderly one is not to be cut short.
    this.link.execute('quit').catch(() => undefined);
    try {
      await withDeadline(this.#clock, this.exited, qemuQuitTimeoutMs, late);
      return true;
    } catch {
      return this.#watch.ended;
    }
  }

  /**
   * Runs `command`, after which the guest runs on: that makes an older saved state worthless, and dangerous to its
   * disks. It is kept only where QEMU refuses, as then the guest has not moved.
   */
  async #leaveSavedState(command: 'cont' | 'system_reset'): Promise<void> {
    // A migration that somebody else began goes on, as QEMU lets the guest run beside it.
    if (this.#saving || this.savedState.isBegun()) await endTransfer(this.link, this.#clock);
    await this.savedState.spend();
    await this.link.execute(command).catch(async (error: unknown) => {
      if (error instanceof QmpRefusal) await this.savedState.unspend();
      throw error;
    });
    await this.savedState.discard();
  }

  #take(name: string, data: Record<string, unknown>, atMs: number): void {
    this.#migration.take(name, data);
    const event = hypervisorEvent(name, data, atMs);
    if (event === null) return;
    if (
      (event.kind === 'stopped' || event.kind === 'resumed') &&
      this.#dumping?.dump.causes(event.kind) === true
    )
      return;
    if (this.#logs.take(event)) this.#events.emit({ atMs, kind: 'tripleFault' });
    this.#events.emit(event);
    if (event.kind !== 'reset') return;
    this.#onReset?.();
    this.#onReset = null;
  }

  async #finish(end: ProcessEnd): Promise<ProcessEnd> {
    const atMs = this.#clock.monotonicMs();
    // Its last words may still be unread: a panic before the end must come before it.
    await new Promise<void>((resolve) => {
      this.#clock.afterPoll(resolve);
    });
    const stderr = stderrTail(this.record.directory);
    this.#release('QEMU ended');
    const migrated = this.#migration.completed ? { migrated: true as const } : {};
    this.#events.emit({ atMs, kind: 'exited', ...end, stderr, ...migrated });
    return end;
  }

  #release(reason: string): void {
    this.#logs.close();
    this.link.close(reason);
  }

  #emit(
    event: { kind: 'connectionLost'; reason: string } | { kind: 'connectionRegained'; runState: RunState },
  ): void {
    this.#events.emit({ atMs: this.#clock.monotonicMs(), ...event });
  }
}
