/** Who is told what recovery does, to count it. */
import type { HeldBackReason, RecoveryStepName } from '@vmpulse/wire';

/** Who counts what recovery does; dry runs are not counted. */
export interface RecoveryObserver {
  stepEnded(step: RecoveryStepName, result: 'done' | 'failed' | 'cancelled'): void;
  heldBack(reason: HeldBackReason): void;
  gaveUp(): void;
  /** `recoveryMs`: from the first step to the heartbeat; `outageMs`: from the stop. */
  succeeded(step: RecoveryStepName, recoveryMs: number, outageMs: number): void;
}
