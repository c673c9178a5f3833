/** Carries one step out, and judges after a restart of the service whether one that was begun had been. */
import { type RecoveryStepName, VmError, type VmInfo } from '@vmpulse/wire';
import { type Clock, withDeadline } from '../clock.ts';
import { evidenceTimeoutMs } from '../limits.ts';
import type { TaskOperation } from '../vm/machine-service.ts';
import type { RecoverableMachine } from '../vm/recoverable.ts';
import type { Incident, StepRecord } from './record.ts';

/** Machines as recovery needs them. Errors: VM_E_VM_UNKNOWN. */
export interface RecoverableMachines {
  get(vm: string): VmInfo;
  /** All; needed where events were missed. */
  list?(): VmInfo[];
  recoverable(vm: string): Pick<RecoverableMachine, 'bootWindowMs' | 'operationsBegun' | 'unread'>;
  /** Carries an operation out, to its end. `stillWanted` is asked right before what cannot be taken back. */
  perform(vm: string, operation: TaskOperation, stillWanted?: () => boolean): Promise<void>;
}

/** Gathers what there is to know of a guest before it is reset. */
export interface EvidenceGatherer {
  /** What was gathered, in a sentence; what could not be had is part of it. Bounded in time. */
  gather(vm: VmInfo, incident: Incident, stillWanted?: () => boolean): Promise<string>;
  /** How long it may take in all, ms; then the reset waits no longer. Default: evidenceTimeoutMs. */
  timeoutMs?(vm: VmInfo): number;
}

/** What a step works with. */
export interface StepPorts {
  readonly clock: Clock;
  readonly machines: RecoverableMachines;
  readonly evidence: EvidenceGatherer | null;
}

const operations: Record<Exclude<RecoveryStepName, 'evidence'>, TaskOperation> = {
  injectNmi: 'injectNmi',
  reset: 'reset',
  turnOff: 'turnOff',
  start: 'startup',
};

/**
 * Carries a step out; answers what was done, in a sentence. The operation begins before this returns: nothing comes
 * between it and what the caller looked at. `goAhead` is the last to be asked right before what cannot be taken back
 * (a reset, a turning off). Errors: those of the operation; E_ABORT where a heartbeat came meanwhile.
 */
export async function carryOut(
  ports: StepPorts,
  step: RecoveryStepName,
  vmId: string,
  incident: Incident,
  goAhead: () => boolean,
): Promise<string> {
  const { clock, machines } = ports;
  if (step !== 'evidence') {
    const sinceMs = clock.monotonicMs();
    await machines.perform(
      vmId,
      operations[step],
      () => !ticked(machines.get(vmId), clock.monotonicMs() - sinceMs) && goAhead(),
    );
    return 'carried out; a heartbeat is awaited';
  }
  try {
    return await gathered(ports, machines.get(vmId), incident, goAhead);
  } catch (error) {
    // What cannot be kept never keeps a machine from being recovered.
    return `evidence could not be kept: ${VmError.from(error).message}`;
  }
}

/** Came a heartbeat within the last while? The operation under way hides the verdict by then. */
function ticked({ guest }: VmInfo, withinMs: number): boolean {
  return guest.verdict === 'alive' || (guest.lastTickAgoMs !== null && guest.lastTickAgoMs < withinMs);
}

async function gathered(
  { clock, evidence }: StepPorts,
  vm: VmInfo,
  incident: Incident,
  stillWanted: () => boolean,
): Promise<string> {
  if (evidence === null) return 'nothing is gathered';
  const timeoutMs = evidence.timeoutMs?.(vm) ?? evidenceTimeoutMs;
  const late = (): VmError => new VmError('VM_E_TIMED_OUT', `it was not had within ${timeoutMs / 1_000} s`);
  let isOver = false;
  const gathering = evidence.gather(vm, incident, () => !isOver && stillWanted());
  return withDeadline(clock, gathering, timeoutMs, late).finally(() => {
    isOver = true;
  });
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
