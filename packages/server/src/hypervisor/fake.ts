/**
 * A scriptable hypervisor for tests and simulation, authoritative: what fails, fails because its script says so.
 *
 *   const host = new FakeHost(clock);                     // processes and saved states; outlives the service
 *   const hypervisor = new FakeHypervisor({ clock, host });
 *   hypervisor.script.startError = new VmError(...);      // the next starts fail with it
 *   host.machine(vmId).panic();                           // and kill, exit, guestShutdown, guestReset, hang, ...
 *   new FakeHypervisor({ clock, host })                   // the service was restarted: adopt() finds the processes
 */
import { VmError, type CompleteVmConfiguration } from '@vmpulse/wire';
import type { Clock } from '../clock.ts';
import { qemuStartTimeoutMs } from '../limits.ts';
import { FakeMachine } from './fake-machine.ts';
import { FakeProcess } from './fake-process.ts';
import type {
  Adoption,
  Hypervisor,
  HypervisorCapabilities,
  HypervisorInfo,
  ProcessRecord,
  RunningMachine,
  StartRequest,
} from './hypervisor.ts';

/** What the fake does on request; change any field at any time. No delay (0) takes no turn of the clock. */
export interface FakeScript {
  /** Thrown by every start until null again; the process is gone then, as with a QEMU that refuses its arguments. */
  startError: VmError | null;
  /** The process exists but never answers: start ends with VM_E_TIMED_OUT. */
  startHangs: boolean;
  startDelayMs: number;
  quitDelayMs: number;
  commandDelayMs: number;
  saveDelayMs: number;
  saveError: VmError | null;
  /** Errors of QMP commands by name: stop, cont, system_reset, inject-nmi, system_powerdown, migrate, query-status. */
  readonly commandErrors: Map<string, VmError>;
  info: HypervisorInfo;
}

/** The host under the fake: its processes and saved states stay when the service goes. */
export class FakeHost {
  /** Configuration with which each machine was saved, by machine id. */
  readonly savedStates: Map<string, CompleteVmConfiguration> = new Map();
  readonly #processes = new Map<string, FakeProcess>();
  readonly #clock: Clock;
  #nextPid = 1_000;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The newest process of a machine, ended or not. Throws when it never had one. */
  machine(vmId: string): FakeProcess {
    const process = this.#processes.get(vmId);
    if (process === undefined) throw new Error(`The fake host never started ${vmId}.`);
    return process;
  }

  /** As machine(), but undefined when it never had a process. */
  find(vmId: string): FakeProcess | undefined {
    return this.#processes.get(vmId);
  }

  /** Makes a process, in run state preparing. Tests make orphans with it: a start that was cut off. */
  spawn(vmId: string, directory: string, configuration: CompleteVmConfiguration): FakeProcess {
    const pid = this.#nextPid;
    // Room for the thread ids of its vCPUs.
    this.#nextPid += 1_000;
    const record: ProcessRecord = {
      pid,
      startTicks: Math.floor(this.#clock.monotonicMs() / 10),
      bootId: '00000000-0000-4000-8000-00000000b007',
      directory,
      accelerator: 'tcg',
      startedAt: new Date(this.#clock.wallMs()).toISOString(),
    };
    const process = new FakeProcess(this.#clock, record, configuration);
    this.#processes.set(vmId, process);
    return process;
  }
}

/** Hypervisor over a FakeHost. */
export class FakeHypervisor implements Hypervisor {
  readonly kind = 'fake';
  readonly capabilities: HypervisorCapabilities = { save: true, injectNmi: true, sample: true };
  readonly host: FakeHost;
  readonly script: FakeScript = {
    startError: null,
    startHangs: false,
    startDelayMs: 0,
    quitDelayMs: 0,
    commandDelayMs: 0,
    saveDelayMs: 0,
    saveError: null,
    commandErrors: new Map(),
    info: { accelerator: 'tcg', acceleratorReason: 'The fake hypervisor runs no guest.', version: '7.2.0' },
  };
  readonly #clock: Clock;
  readonly #directory: string;

  constructor(options: { clock: Clock; host?: FakeHost; directory?: string }) {
    this.#clock = options.clock;
    this.host = options.host ?? new FakeHost(options.clock);
    this.#directory = options.directory ?? '/fake';
  }

  /** What a test makes happen to a machine; see FakeProcess. */
  machine(vmId: string): FakeProcess {
    return this.host.machine(vmId);
  }

  probe(): Promise<HypervisorInfo> {
    return Promise.resolve(this.script.info);
  }

  async start(request: StartRequest): Promise<RunningMachine> {
    const { vmId, configuration, signal } = request;
    if (signal.aborted) throw cancelled();
    if (this.#alive(vmId)) throw new VmError('VM_E_VM_RUNNING', 'The machine has a process already.');
    if (request.restore) this.#checkSavedState(vmId, configuration);
    else if (this.host.savedStates.has(vmId)) {
      throw new VmError('E_FAIL', 'The machine has a saved state: restore it, or discard it first.');
    }
    const process = this.host.spawn(vmId, this.files(vmId).directory, configuration);
    request.onSpawned(process.record);
    const delayMs = this.script.startHangs ? qemuStartTimeoutMs : this.script.startDelayMs;
    if (delayMs > 0) await this.#clock.sleep(delayMs, signal);
    const error = this.#startError(signal, process);
    if (error !== null) {
      process.kill('SIGKILL');
      throw error;
    }
    const machine = this.#machine(vmId, process, false);
    process.setRunState('running');
    process.emit({ kind: 'resumed' });
    if (request.restore) this.host.savedStates.delete(vmId);
    return machine;
  }

  adopt(vmId: string, record: ProcessRecord | null): Promise<Adoption> {
    const process = this.host.find(vmId);
    if (process === undefined) return Promise.resolve({ kind: 'gone', stderr: '' });
    const same =
      record === null || (record.pid === process.record.pid && record.bootId === process.record.bootId);
    if (process.end !== null || !same)
      return Promise.resolve({ kind: 'gone', stderr: process.end?.stderr ?? '' });
    const machine = this.#machine(vmId, process, true);
    const { guestPorts } = process;
    const runState = process.hung ? 'other' : process.runState;
    const open = guestPorts === null || process.hung ? {} : { guestPorts };
    return Promise.resolve({ kind: 'running', machine, runState, ...open });
  }

  files(vmId: string): ReturnType<Hypervisor['files']> {
    const directory = `${this.#directory}/vms/${vmId}`;
    return {
      directory,
      serialLog: `${directory}/serial.log`,
      serialSocket: `${directory}/serial.sock`,
      vncSocket: `${directory}/vnc.sock`,
      savedState: `${directory}/saved-state`,
    };
  }

  hasSavedState(vmId: string): Promise<boolean> {
    return Promise.resolve(this.host.savedStates.has(vmId));
  }

  discardSavedState(vmId: string): Promise<void> {
    this.host.savedStates.delete(vmId);
    return Promise.resolve();
  }

  remove(vmId: string): Promise<void> {
    if (this.#alive(vmId)) {
      return Promise.reject(new VmError('VM_E_VM_RUNNING', 'The machine runs; turn it off first.'));
    }
    this.host.savedStates.delete(vmId);
    return Promise.resolve();
  }

  #machine(vmId: string, process: FakeProcess, adopted: boolean): FakeMachine {
    return new FakeMachine(vmId, process, adopted, {
      host: this.host,
      script: this.script,
      clock: this.#clock,
    });
  }

  #alive(vmId: string): boolean {
    const process = this.host.find(vmId);
    return process !== undefined && process.end === null;
  }

  #checkSavedState(vmId: string, configuration: CompleteVmConfiguration): void {
    const saved = this.host.savedStates.get(vmId);
    if (saved === undefined) throw new VmError('VM_E_VM_NO_SAVED_STATE', 'The machine has no saved state.');
    if (saved.memoryMiB === configuration.memoryMiB && saved.cpus === configuration.cpus) return;
    throw new VmError(
      'VM_E_PREF_SAVED_STATE_BAD_VERSION',
      'The saved state was made with another configuration; set it back, or discard the saved state.',
    );
  }

  #startError(signal: AbortSignal, process: FakeProcess): VmError | null {
    if (signal.aborted) return cancelled();
    if (this.script.startError !== null) return this.script.startError;
    if (this.script.startHangs)
      return new VmError('VM_E_TIMED_OUT', 'QEMU did not answer in time; it was killed.');
    if (process.end === null) return null;
    return new VmError('VMPULSE_E_HYPERVISOR', `QEMU ended at once: ${process.end.stderr}`);
  }
}

function cancelled(): VmError {
  return new VmError('E_ABORT', 'The start was cancelled.');
}
