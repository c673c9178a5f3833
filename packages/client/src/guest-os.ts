/** The guest of a machine, `IVMGuestOS` and `IVMGuestOS2` of the original, with the errors they document. */
import {
  type GuestExecution,
  type GuestExecutionResult,
  type GuestFreeze,
  type GuestInfo,
  VmError,
  type VmInfo,
  guestBounds,
  isActive,
} from '@vmpulse/wire';
import {
  readGuestExecutionResult,
  readGuestFreezeResult,
  readGuestParameter,
  readTaskInfo,
  readVmInfo,
} from './answer.ts';
import { guestAnswerSlackMs } from './limits.ts';
import type { Link } from './link.ts';
import { Task } from './task.ts';
import type { RequestOptions } from './transport.ts';

/**
 * Every member asks the server when it is called. Errors of all: VM_E_VM_UNKNOWN.
 * VM_E_ADDITIONS_NOT_AVAIL, of a guest without additions or one that has not booted yet, is never a stop.
 */
export class GuestOS {
  readonly #link: Link;
  readonly #path: string;

  constructor(link: Link, path: string) {
    this.#link = link;
    this.#path = path;
  }

  /** All that is known of the guest, at once and without the original's errors. */
  async info(options: RequestOptions = {}): Promise<GuestInfo> {
    return (await this.#machine(options)).guest;
  }

  /** Do its ticks come? Errors: VM_E_VM_NOT_RUNNING, VM_E_ADDITIONS_NOT_AVAIL. */
  async isHeartbeating(options: RequestOptions = {}): Promise<boolean> {
    return observed(running(await this.#machine(options))).isHeartbeating;
  }

  /** Ticks received of those expected in the last minute, 0 to 100. Errors: those of isHeartbeating. */
  async heartbeatPercentage(options: RequestOptions = {}): Promise<number> {
    const vm = running(await this.#machine(options));
    const { heartbeatPercentage } = observed(vm);
    if (heartbeatPercentage === null) throw noAdditions(vm);
    return heartbeatPercentage;
  }

  /** Errors: VM_E_VM_NOT_RUNNING, VM_E_ADDITIONS_FEATURE_NOT_AVAIL when the guest does not tell it. */
  async osName(options: RequestOptions = {}): Promise<string> {
    const vm = running(await this.#machine(options));
    return vm.guest.osName ?? featureMissing(vm, 'the name of its operating system');
  }

  /** Errors: those of osName; VM_E_VM_PAUSED. */
  async computerName(options: RequestOptions = {}): Promise<string> {
    const vm = running(await this.#machine(options));
    if (vm.state === 'paused')
      throw new VmError('VM_E_VM_PAUSED', `'${vm.name}' is paused; resume it first.`);
    return vm.guest.computerName ?? featureMissing(vm, 'its name');
  }

  /** Of a machine that is off, the version last seen. Errors: VM_E_ADDITIONS_NOT_AVAIL when none ever was. */
  async additionsVersion(options: RequestOptions = {}): Promise<string> {
    const vm = await this.#machine(options);
    const { version } = vm.guest.additions;
    if (version === null) throw noAdditions(vm);
    return version;
  }

  /** Can the guest be shut down in order now? Errors: VM_E_VM_NOT_RUNNING, VM_E_ADDITIONS_NOT_AVAIL. */
  async canShutdown(options: RequestOptions = {}): Promise<boolean> {
    const vm = running(await this.#machine(options));
    return vm.guest.canShutdown || (vm.state === 'paused' ? false : observed(vm).canShutdown);
  }

  /** Asks the guest to shut down in order. Errors: VM_E_VM_NOT_RUNNING, VM_E_VM_PAUSED. */
  async shutdown(options: RequestOptions = {}): Promise<Task> {
    return new Task(
      this.#link,
      readTaskInfo(await this.#link.request('POST', `${this.#path}/shutdown`, options)),
    );
  }

  /**
   * Runs a program in the guest, without a shell, as the user its agent runs as; resolves when it has ended, whatever
   * its exit code. (The original has the member and never implemented it.) Errors: VM_E_VM_NOT_RUNNING, VM_E_VM_PAUSED,
   * VM_E_ADDITIONS_NOT_AVAIL, VM_E_ADDITIONS_FEATURE_NOT_AVAIL, E_INVALIDARG, E_FILE_NOT_FOUND, E_BUFFER_OVERFLOW (it
   * wrote more than about 700 KiB), VM_E_TIMED_OUT (it goes on in the guest).
   */
  async executeCommand(
    path: string,
    args: readonly string[] = [],
    options: Omit<GuestExecution, 'path' | 'args'> & Pick<RequestOptions, 'signal'> = {},
  ): Promise<GuestExecutionResult> {
    const { signal, ...rest } = options;
    const body: GuestExecution = { path, args: [...args], ...rest };
    const timeoutMs = (rest.timeoutMs ?? guestBounds.executeTimeoutMs.usual) + guestAnswerSlackMs;
    const request = { body, timeoutMs, ...(signal === undefined ? {} : { signal }) };
    return readGuestExecutionResult(await this.#link.request('POST', `${this.#path}/guest/execute`, request));
  }

  /**
   * A parameter as the guest has it. Errors: E_INVALIDARG (no such name, or not set), VM_E_VM_NOT_RUNNING,
   * VM_E_VM_PAUSED, VM_E_ADDITIONS_NOT_AVAIL, VM_E_ADDITIONS_FEATURE_NOT_AVAIL.
   */
  async getParameter(name: string, options: RequestOptions = {}): Promise<string> {
    return readGuestParameter(await this.#link.request('GET', this.#parameter(name), options)).value;
  }

  /**
   * Sets a parameter for the guest, which finds it as a file under /run/vmpulse/parameters until it boots anew.
   * Errors: those of getParameter.
   */
  async setParameter(name: string, value: string, options: RequestOptions = {}): Promise<void> {
    readGuestParameter(
      await this.#link.request('PUT', this.#parameter(name), { ...options, body: { value } }),
    );
  }

  /**
   * Freezes the guest's file systems, for a consistent copy of its disks, for at most `freeze.timeoutMs`; resolves
   * with how many. Thaw them as soon as the copy is made. Errors: those of getParameter; E_FAIL when they are frozen.
   */
  async freezeFileSystems(freeze: GuestFreeze = {}, options: RequestOptions = {}): Promise<number> {
    const request = { ...options, body: freeze };
    return readGuestFreezeResult(await this.#link.request('POST', `${this.#path}/guest/freeze`, request))
      .fileSystems;
  }

  /** Thaws them; resolves with how many. Errors: those of getParameter. */
  async thawFileSystems(options: RequestOptions = {}): Promise<number> {
    return readGuestFreezeResult(await this.#link.request('POST', `${this.#path}/guest/thaw`, options))
      .fileSystems;
  }

  #parameter(name: string): string {
    // A path's part that is empty, or dots alone, would be another path; a lone surrogate is no text.
    if (/^\.{0,2}$|\p{Cs}/u.test(name)) {
      const detail =
        'The name of a parameter has 1 to 255 characters, none of them a backslash, and is not . or ..';
      throw new VmError('E_INVALIDARG', detail, { field: '/name' });
    }
    return `${this.#path}/guest/parameters/${encodeURIComponent(name)}`;
  }

  async #machine(options: RequestOptions): Promise<VmInfo> {
    return readVmInfo(await this.#link.request('GET', this.#path, options));
  }
}

function running(vm: VmInfo): VmInfo {
  if (isActive(vm.state)) return vm;
  throw new VmError('VM_E_VM_NOT_RUNNING', `'${vm.name}' is ${vm.state}; start it to ask its guest.`);
}

function observed(vm: VmInfo): GuestInfo {
  const { verdict } = vm.guest;
  if (verdict === 'notObserved' || verdict === 'booting') throw noAdditions(vm);
  return vm.guest;
}

function noAdditions(vm: VmInfo): VmError {
  const detail = `No tick of '${vm.name}' since it booted; wait for its boot, or install the additions in the guest.`;
  return new VmError('VM_E_ADDITIONS_NOT_AVAIL', detail);
}

function featureMissing(vm: VmInfo, what: string): never {
  throw new VmError(
    'VM_E_ADDITIONS_FEATURE_NOT_AVAIL',
    `The guest of '${vm.name}' does not tell ${what}; wait for its boot, or install the additions in it.`,
  );
}
