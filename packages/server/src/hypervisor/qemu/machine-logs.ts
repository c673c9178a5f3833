/** The files a machine's QEMU writes to as it runs: kept bounded, and asked what the guest did. */
import { join } from 'node:path';
import type { Clock, Timer } from '../../clock.ts';
import { keptSerialLogBytes, maxResetLogBytes, maxSerialLogBytes, maxStderrLogBytes } from '../../limits.ts';
import type { HypervisorEvent } from '../hypervisor.ts';
import { machineFiles } from './command-line.ts';
import { keepLogsTrimmed, trimLog } from './log-trim.ts';
import { ResetLog } from './reset-log.ts';
import { SerialLog } from './serial-log.ts';

/** Serial log, log of resets and stderr of one machine. */
export class MachineLogs {
  readonly #serial: SerialLog;
  readonly #resets: ResetLog;
  readonly #trimming: Timer;

  constructor(clock: Clock, directory: string) {
    const path = (name: keyof typeof machineFiles): string => join(directory, machineFiles[name]);
    this.#serial = new SerialLog(path('serialLog'));
    // What an adopted machine wrote before is of a boot that nobody knows.
    this.#serial.booted();
    this.#resets = new ResetLog(path('resetLog'));
    this.#trimming = keepLogsTrimmed(clock, [
      () => this.#serial.trim(maxSerialLogBytes, keptSerialLogBytes),
      () => trimLog(path('stderr'), maxStderrLogBytes, keptSerialLogBytes),
      () => this.#resets.trim(maxResetLogBytes),
    ]);
  }

  /** See RunningMachine. */
  serialTail(): Promise<string> {
    return this.#serial.tail();
  }

  /** QEMU is up: what its vCPUs did until now was no reset of a guest. */
  begin(): void {
    this.#resets.clear();
  }

  /** Every event, before it is told. True for a reset that a triple fault of the guest led to. */
  take(event: HypervisorEvent): boolean {
    if (event.kind === 'wakeup') this.#resets.clear();
    if (event.kind !== 'reset') return false;
    this.#serial.booted();
    // Looked at in any case: each reset has its place in the log.
    const fault = this.#resets.reset(event.atMs);
    return fault && event.byGuest && event.reason === 'guest-reset';
  }

  /** Nothing is looked at any more. */
  close(): void {
    this.#trimming.cancel();
  }
}
