/** Recovery as HTTP shows it. */
import type { CompleteRecoveryDefault, RecoveryInfo } from '@vmpulse/wire';

/** What can be asked of recovery. Errors of all: VM_E_VM_UNKNOWN; of what writes: VMPULSE_E_LOG_UNAVAILABLE. */
export interface RecoveryService {
  /** The machine's policy, what is under way, what was tried. */
  info(vm: string): RecoveryInfo;
  /** What was given up is taken up again, and attempts count from zero. */
  rearm(vm: string): Promise<RecoveryInfo>;
  /** What machines do whose own policy is `default`. */
  readonly serverDefault: CompleteRecoveryDefault;
  /** Replaces it. Errors: VM_E_PREF_ILLEGAL_VALUE with `field`. */
  setServerDefault(asked: unknown): Promise<CompleteRecoveryDefault>;
}
