/** Recovery that answers from a script, over a scripted machine service. */
import type { CompleteRecoveryDefault, RecoveryInfo } from '@vmpulse/wire';
import { completeRecoveryDefault, recoveryPolicy } from '../../packages/server/src/vm/recovery-policy.ts';
import type { RecoveryService } from '../../packages/server/src/vm/recovery-service.ts';
import type { ScriptedMachineService } from './scripted-machine-service.ts';

/** The service. */
export class ScriptedRecovery implements RecoveryService {
  serverDefault: CompleteRecoveryDefault = completeRecoveryDefault({ action: 'none' });
  readonly rearmed: string[] = [];
  readonly #machines: ScriptedMachineService;

  constructor(machines: ScriptedMachineService) {
    this.#machines = machines;
  }

  info(vm: string): RecoveryInfo {
    const { id, name, recovery } = this.#machines.get(vm);
    const gaveUp = !this.rearmed.includes(id);
    return {
      vm: { id, name },
      policy: recoveryPolicy(recovery, this.serverDefault),
      inherited: recovery.action === 'default',
      state: gaveUp ? 'gaveUp' : 'idle',
      reason: gaveUp ? '3 attempts in 60 min' : null,
      step: null,
      nextAt: null,
      stoppedSeq: gaveUp ? 7 : null,
      verdict: gaveUp ? 'hung' : null,
      history: [
        { at: '2026-01-01T00:00:00.000Z', step: 'reset', stoppedSeq: 7, outcome: 'done', dryRun: false },
      ],
    };
  }

  async rearm(vm: string): Promise<RecoveryInfo> {
    this.rearmed.push(this.#machines.get(vm).id);
    return this.info(vm);
  }

  async setServerDefault(asked: unknown): Promise<CompleteRecoveryDefault> {
    this.serverDefault = completeRecoveryDefault(asked);
    return this.serverDefault;
  }
}
