/** A virtual machine, `IVMVirtualMachine` of the original. */
import {
  type HoldInfo,
  type ScriptInfo,
  type ScriptTrigger,
  type VmChange,
  VmError,
  type VmInfo,
  type VmOperation,
  type VmState,
} from '@vmpulse/wire';
import { readTaskInfo, readVmInfo } from './answer.ts';
import type { AdviseOptions, Connection } from './connection.ts';
import { GuestOS } from './guest-os.ts';
import { type HoldOptions, beginHold } from './hold.ts';
import type { Link } from './link.ts';
import { adviseSink } from './named-sink.ts';
import { type AttachScriptOptions, attachScript, fetchScript, listScripts, removeScript } from './script.ts';
import { MachineRecovery } from './recovery.ts';
import { type VirtualMachineSink, machineRoutes } from './sink.ts';
import { Task } from './task.ts';
import type { RequestOptions } from './transport.ts';

/** Value of a configuration key. */
export type ConfigurationValue = string | number | boolean;

/**
 * One machine, held by its id: it may be renamed. What is read from it (`name`, `state`, `info`) is as it was when
 * last looked at; `refresh` looks again. Errors of every request: VM_E_VM_UNKNOWN when it was deleted.
 */
export class VirtualMachine {
  readonly guestOS: GuestOS;
  readonly recovery: MachineRecovery;
  readonly #link: Link;
  readonly #path: string;
  #info: VmInfo;

  constructor(link: Link, info: VmInfo) {
    this.#link = link;
    this.#info = info;
    this.#path = `/v1/vms/${encodeURIComponent(info.id)}`;
    this.guestOS = new GuestOS(link, this.#path);
    this.recovery = new MachineRecovery(link, this.#path);
  }

  get id(): string {
    return this.#info.id;
  }
  get name(): string {
    return this.#info.name;
  }
  get state(): VmState {
    return this.#info.state;
  }
  /** The state as a `VMVMState` number. */
  get stateCode(): number {
    return this.#info.stateCode;
  }
  /** All that the server said when last asked. */
  get info(): VmInfo {
    return this.#info;
  }

  /** Looks again. */
  async refresh(options: RequestOptions = {}): Promise<VmInfo> {
    this.#info = readVmInfo(await this.#link.request('GET', this.#path, options));
    return this.#info;
  }

  /** Connects a sink to the events of this machine; see VirtualServer.advise. It outlives renames and the deletion. */
  advise(sink: VirtualMachineSink, options: AdviseOptions = {}): Connection {
    return adviseSink(this.#link, sink, machineRoutes, { ...options, vmId: this.id });
  }

  /** Errors: VM_E_VM_RUNNING, VMPULSE_E_OPERATION_IN_PROGRESS; of the task: VMPULSE_E_HYPERVISOR and others. */
  startup(options: RequestOptions = {}): Promise<Task> {
    return this.#operate('startup', options);
  }
  /** Pulls the plug. Errors: VM_E_VM_NOT_RUNNING, VMPULSE_E_OPERATION_IN_PROGRESS. */
  turnOff(options: RequestOptions = {}): Promise<Task> {
    return this.#operate('turn-off', options);
  }
  /** Errors: VM_E_VM_NOT_RUNNING, VMPULSE_E_OPERATION_IN_PROGRESS. */
  reset(options: RequestOptions = {}): Promise<Task> {
    return this.#operate('reset', options);
  }
  /** Errors: E_FAIL when it is paused already, VM_E_VM_NOT_RUNNING. */
  pause(options: RequestOptions = {}): Promise<Task> {
    return this.#operate('pause', options);
  }
  /** Errors: E_FAIL when it is not paused, VM_E_VM_NOT_RUNNING. */
  resume(options: RequestOptions = {}): Promise<Task> {
    return this.#operate('resume', options);
  }
  /** Saves its memory and turns it off. Errors: VM_E_VM_NOT_RUNNING. */
  save(options: RequestOptions = {}): Promise<Task> {
    return this.#operate('save', options);
  }
  /** Errors: VM_E_VM_NO_SAVED_STATE, VM_E_VM_RUNNING. */
  discardSavedState(options: RequestOptions = {}): Promise<Task> {
    return this.#operate('discard-saved-state', options);
  }
  /** A non-maskable interrupt: most guests write a dump and restart. Errors: VM_E_VM_NOT_RUNNING, VM_E_VM_PAUSED. */
  injectNmi(options: RequestOptions = {}): Promise<Task> {
    return this.#operate('inject-nmi', options);
  }

  /**
   * Holds its watch for a time: its silence is not judged, facts are told on. It ends by itself, and a hold that is
   * there is replaced. Errors: E_INVALIDARG without a length, VMPULSE_E_REQUEST_INVALID, VMPULSE_E_LOG_UNAVAILABLE.
   */
  hold(options: HoldOptions): Promise<HoldInfo> {
    return beginHold(this.#link, `${this.#path}/hold`, options);
  }

  /** Ends its hold; silence counts from zero. Errors: VMPULSE_E_NOT_FOUND when it has no hold of its own. */
  async release(options: RequestOptions = {}): Promise<void> {
    await this.#link.request('DELETE', `${this.#path}/hold`, options);
  }

  /** Its scripts; those of the server run for its events, too. */
  scripts(options: RequestOptions = {}): Promise<ScriptInfo[]> {
    return listScripts(this.#link, `${this.#path}/scripts`, options);
  }

  /** A script for events of this machine; it runs while `vmScriptsEnabled`. See VirtualServer.attachScriptToEvent. */
  attachScriptToEvent(
    eventType: ScriptTrigger | number,
    command: readonly string[],
    options: AttachScriptOptions = {},
  ): Promise<ScriptInfo> {
    return attachScript(this.#link, `${this.#path}/scripts`, eventType, command, options);
  }

  /** Errors: VMPULSE_E_NOT_FOUND, E_INVALIDARG. */
  fetchScriptByEvent(eventType: ScriptTrigger | number, options: RequestOptions = {}): Promise<ScriptInfo> {
    return fetchScript(this.#link, `${this.#path}/scripts`, eventType, options);
  }

  /** What waits for it is dropped, a run under way goes on. Errors: VMPULSE_E_NOT_FOUND, E_INVALIDARG. */
  removeScriptFromEvent(eventType: ScriptTrigger | number, options: RequestOptions = {}): Promise<void> {
    return removeScript(this.#link, `${this.#path}/scripts`, eventType, options);
  }

  /** Forgets the machine and its own directory, never a disk image. Errors: VM_E_VM_RUNNING. */
  async delete(options: RequestOptions = {}): Promise<void> {
    await this.#link.request('DELETE', this.#path, options);
  }

  /** Changes its configuration. Errors: VM_E_CONFIG_*, VM_E_PREF_ILLEGAL_VALUE (`field`), VM_E_PREF_VM_ACTIVE. */
  async change(change: VmChange, options: RequestOptions = {}): Promise<VmInfo> {
    this.#info = readVmInfo(await this.#link.request('PATCH', this.#path, { ...options, body: change }));
    return this.#info;
  }

  /** A value by its slash path. Errors: VM_E_PREF_NOT_FOUND. */
  async getConfigurationValue(key: string, options: RequestOptions = {}): Promise<ConfigurationValue> {
    const values = (await this.refresh(options)).values;
    const value = Object.hasOwn(values, key) ? values[key] : undefined;
    if (value === undefined) throw this.#noValue(key);
    return value;
  }

  /** Errors: VM_E_PREF_ILLEGAL_VALUE. */
  async setConfigurationValue(
    key: string,
    value: ConfigurationValue,
    options: RequestOptions = {},
  ): Promise<void> {
    await this.change({ values: { [key]: value } }, options);
  }

  /** Errors: VM_E_PREF_NOT_FOUND. */
  async removeConfigurationValue(key: string, options: RequestOptions = {}): Promise<void> {
    await this.getConfigurationValue(key, options);
    await this.change({ values: { [key]: null } }, options);
  }

  #noValue(key: string): VmError {
    return new VmError(
      'VM_E_PREF_NOT_FOUND',
      `'${this.name}' has no configuration value '${key}'; set it first.`,
    );
  }

  async #operate(route: KebabOperation, options: RequestOptions): Promise<Task> {
    return new Task(
      this.#link,
      readTaskInfo(await this.#link.request('POST', `${this.#path}/${route}`, options)),
    );
  }
}

/** An operation as its route names it: `turnOff` is `turn-off`. */
type Kebab<T extends string> = T extends `${infer Head}${infer Tail}`
  ? `${Head extends Lowercase<Head> ? Head : `-${Lowercase<Head>}`}${Kebab<Tail>}`
  : T;
type KebabOperation = Kebab<Exclude<VmOperation, 'shutdown' | 'delete'>>;
