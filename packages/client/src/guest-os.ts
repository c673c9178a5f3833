/** The guest of a machine, `IVMGuestOS` and `IVMGuestOS2` of the original, with the errors they document. */
import { type GuestInfo, VmError, type VmInfo, isActive } from '@vmpulse/wire';
import { readTaskInfo, readVmInfo } from './answer.ts';
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
