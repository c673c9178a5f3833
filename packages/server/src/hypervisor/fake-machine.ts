/** A service's hold on a scripted machine. */
import { VmError } from '@vmpulse/wire';
import type { Clock } from '../clock.ts';
import { qemuQuitTimeoutMs, qemuStartTimeoutMs, qmpCommandTimeoutMs } from '../limits.ts';
import type { EventBuffer } from './event-buffer.ts';
import type { FakeHost, FakeScript } from './fake.ts';
import type { FakeProcess } from './fake-process.ts';
import type {
  HypervisorEvent,
  IoCounters,
  ProcessRecord,
  ProcessSample,
  Progress,
  RunningMachine,
  RunState,
} from './hypervisor.ts';

/** How often a process that reads its saved state is looked at. */
const loadingPollMs = 200;
/** How often a process that hangs is looked at. */
const hungPollMs = 10;
/** Steps in which a scripted save reports its progress. */
const saveSteps = 4;

/** RunningMachine over a FakeProcess. */
export class FakeMachine implements RunningMachine {
  readonly record: ProcessRecord;
  readonly ports: RunningMachine['ports'];
  readonly #process: FakeProcess;
  readonly #host: FakeHost;
  readonly #script: FakeScript;
  readonly #clock: Clock;
  readonly #vmId: string;
  readonly #events: EventBuffer;
  #saving = false;

  constructor(
    vmId: string,
    process: FakeProcess,
    adopted: boolean,
    surroundings: { host: FakeHost; script: FakeScript; clock: Clock },
  ) {
    const { host, script, clock } = surroundings;
    this.#vmId = vmId;
    this.#process = process;
    this.#host = host;
    this.#script = script;
    this.#clock = clock;
    this.record = process.record;
    const { directory } = process.record;
    this.ports = { heartbeat: `${directory}/heartbeat.sock`, agent: `${directory}/agent.sock` };
    this.#events = process.attach(adopted);
  }

  setListener(listener: (event: HypervisorEvent) => void): void {
    this.#events.setListener(listener);
  }

  async runState(): Promise<RunState> {
    await this.#command('query-status');
    return this.#saving ? 'saving' : this.#process.runState;
  }

  async pause(): Promise<void> {
    await this.#command('stop');
    if (this.#process.runState !== 'running') return;
    this.#process.setRunState('paused');
    this.#process.emit({ kind: 'stopped' });
  }

  async resume(): Promise<void> {
    await this.#loaded();
    await this.#command('cont');
    const state = this.#process.runState;
    if (state === 'running') return;
    if (state === 'shutdown' || state === 'internalError') {
      throw new VmError(
        'VMPULSE_E_HYPERVISOR',
        'QEMU refused cont: Resetting the Virtual Machine is required',
      );
    }
    this.#host.savedStates.delete(this.#vmId);
    this.#run();
  }

  async reset(): Promise<void> {
    await this.#command('system_reset');
    this.#host.savedStates.delete(this.#vmId);
    this.#process.hostReset();
    if (this.#process.runState !== 'running') this.#run();
  }

  async injectNmi(): Promise<void> {
    await this.#command('inject-nmi');
  }

  async pressPowerButton(): Promise<void> {
    await this.#command('system_powerdown');
    this.#process.emit({ kind: 'powerButton' });
  }

  async quit(): Promise<void> {
    await this.#pass(this.#process.hung ? qemuQuitTimeoutMs : this.#script.quitDelayMs);
    if (this.#process.hung) {
      this.#process.finish({ exitCode: null, signal: 'SIGKILL', stderr: '' });
      return;
    }
    this.#process.emit({ kind: 'shutdown', byGuest: false, reason: 'host-qmp-quit' });
    this.#process.finish({ exitCode: 0, signal: null, stderr: '' });
  }

  async save(progress: Progress, signal: AbortSignal): Promise<void> {
    await this.#command('migrate');
    const wasRunning = this.#process.runState === 'running';
    this.#saving = true;
    this.#process.setRunState('saving');
    if (wasRunning) this.#process.emit({ kind: 'stopped' });
    try {
      await this.#write(progress, signal);
      this.#host.savedStates.set(this.#vmId, this.#process.configuration);
    } catch (error) {
      this.#process.setRunState('paused');
      if (wasRunning) this.#run();
      throw error;
    } finally {
      this.#saving = false;
    }
  }

  sample(): Promise<ProcessSample> {
    return Promise.resolve(this.#process.sample());
  }

  async counters(): Promise<IoCounters> {
    await this.#command('query-blockstats');
    return this.#process.counters();
  }

  serialTail(): Promise<string> {
    return Promise.resolve(this.#process.serialTail());
  }

  detach(): Promise<void> {
    this.#events.close();
    return Promise.resolve();
  }

  async #write(progress: Progress, signal: AbortSignal): Promise<void> {
    for (let step = 1; step <= saveSteps; step += 1) {
      await this.#pass(this.#script.saveDelayMs / saveSteps, signal);
      if (signal.aborted) throw new VmError('E_ABORT', 'Saving was cancelled; the guest goes on.');
      if (this.#process.end !== null) throw gone();
      if (this.#script.saveError !== null) throw this.#script.saveError;
      progress((step * 100) / saveSteps);
    }
  }

  #run(): void {
    this.#process.setRunState('running');
    this.#process.emit({ kind: 'resumed' });
  }

  async #command(name: string): Promise<void> {
    if (this.#process.end !== null) throw gone();
    if (this.#process.hung) {
      await this.#unhung();
      if (this.#process.hung) throw new VmError('VM_E_TIMED_OUT', `QEMU did not answer ${name} in time.`);
    } else {
      await this.#pass(this.#script.commandDelayMs);
    }
    if (this.#process.end !== null) throw gone();
    const error = this.#script.commandErrors.get(name);
    if (error !== undefined) throw error;
  }

  /** As QEMU's: what still reads its saved state is waited for, and given up when nobody gives it one. */
  async #loaded(): Promise<void> {
    const endMs = this.#clock.monotonicMs() + qemuStartTimeoutMs;
    while (this.#process.end === null && this.#process.runState === 'restoring') {
      if (this.#clock.monotonicMs() >= endMs) {
        throw new VmError('VMPULSE_E_HYPERVISOR', 'QEMU waits for a saved state that nobody gives it.');
      }
      await this.#clock.sleep(loadingPollMs);
    }
  }

  /** As QEMU's: what was asked while it hung is answered as soon as it goes on. */
  async #unhung(): Promise<void> {
    const endMs = this.#clock.monotonicMs() + qmpCommandTimeoutMs;
    while (this.#process.hung && this.#clock.monotonicMs() < endMs) await this.#clock.sleep(hungPollMs);
  }

  /** No delay costs no turn of the clock, so that tests without delays need not advance it. */
  async #pass(delayMs: number, signal?: AbortSignal): Promise<void> {
    if (delayMs > 0) await this.#clock.sleep(delayMs, signal);
  }
}

function gone(): VmError {
  return new VmError('VMPULSE_E_HYPERVISOR', 'The machine has no process any more.');
}
