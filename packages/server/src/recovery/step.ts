/** Carries one step out, and judges after a restart of the service whether one that was begun had been. */
import { type RecoveryStepName, VmError, type VmInfo } from '@vmpulse/wire';
import type { TaskOperation } from '../vm/machine-service.ts';
import type { Incident, StepRecord } from './record.ts';

/** Machines as recovery needs them. Errors: VM_E_VM_UNKNOWN. */
export interface RecoverableMachines {
  get(vm: string): VmInfo;
  recoverable(vm: string): { readonly bootWindowMs: number };
  /** Carries an operation out, to its end. */
  perform(vm: string, operation: TaskOperation): Promise<void>;
}

/** Gathers what there is to know of a guest before it is reset. */
export interface EvidenceGatherer {
  /** What was gathered, in a sentence; what could not be had is part of it. Bounded in time. */
  gather(vm: VmInfo, incident: Incident): Promise<string>;
}

/** What a step works with. */
export interface StepPorts {
  readonly machines: RecoverableMachines;
  readonly evidence: EvidenceGatherer | null;
}

const operations: Record<Exclude<RecoveryStepName, 'evidence'>, TaskOperation> = {
  injectNmi: 'injectNmi',
  reset: 'reset',
  turnOff: 'turnOff',
  start: 'startup',
};

/** Carries a step out; answers what was done, in a sentence. Errors: those of the operation. */
export async function carryOut(
  { machines, evidence }: StepPorts,
  step: RecoveryStepName,
  vmId: string,
  incident: Incident,
): Promise<string> {
  if (step !== 'evidence') {
    await machines.perform(vmId, operations[step]);
    return 'carried out; a heartbeat is awaited';
  }
  try {
    return (await evidence?.gather(machines.get(vmId), incident)) ?? 'nothing is gathered';
  } catch (error) {
    // What cannot be kept never keeps a machine from being recovered.
    return `evidence could not be kept: ${VmError.from(error).message}`;
  }
}

/**
 * Of a step that was begun before the service ended: was it carried out? What may have been must not be done twice,
 * unless that does no harm. The first event of a reset is durable before QEMU is told to.
 */
export function wasCarriedOut({ step, seen }: StepRecord, vm: VmInfo): boolean {
  const isOff = vm.state === 'turnedOff';
  const done: Record<RecoveryStepName, boolean> = {
    evidence: false,
    injectNmi: true,
    reset: seen.length > 0,
    turnOff: isOff,
    start: !isOff,
  };
  return done[step];
}
