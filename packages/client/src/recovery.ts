/** Recovery as a client asks for it. */
import type { CompleteRecoveryDefault, RecoveryDefault, RecoveryInfo } from '@vmpulse/wire';
import { readRecoveryDefault, readRecoveryInfo } from './answer.ts';
import type { Link } from './link.ts';
import type { RequestOptions } from './transport.ts';

/** What the server does about guests that stop, where a machine does not say otherwise; see VirtualServer.recovery. */
export class ServerRecovery {
  readonly #link: Link;

  constructor(link: Link) {
    this.#link = link;
  }

  /** With everything filled in. */
  async get(options: RequestOptions = {}): Promise<CompleteRecoveryDefault> {
    return readRecoveryDefault(await this.#link.request('GET', '/v1/recovery', options));
  }

  /** Replaces it as a whole. Errors: VM_E_PREF_ILLEGAL_VALUE (with `field`), VMPULSE_E_LOG_UNAVAILABLE. */
  async set(value: RecoveryDefault, options: RequestOptions = {}): Promise<CompleteRecoveryDefault> {
    return readRecoveryDefault(await this.#link.request('PUT', '/v1/recovery', { ...options, body: value }));
  }
}

/** A machine's recovery; its policy is set by VirtualMachine.change({ recovery }). */
export class MachineRecovery {
  readonly #link: Link;
  readonly #path: string;

  constructor(link: Link, path: string) {
    this.#link = link;
    this.#path = path;
  }

  /** Policy, plan and history. */
  async info(options: RequestOptions = {}): Promise<RecoveryInfo> {
    return readRecoveryInfo(await this.#link.request('GET', `${this.#path}/recovery`, options));
  }

  /** Takes up again what was given up; attempts count from zero. Errors: VMPULSE_E_LOG_UNAVAILABLE. */
  async rearm(options: RequestOptions = {}): Promise<RecoveryInfo> {
    return readRecoveryInfo(await this.#link.request('POST', `${this.#path}/recovery/rearm`, options));
  }
}
