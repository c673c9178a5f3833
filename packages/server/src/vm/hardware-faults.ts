/** Faults of the host that QEMU meets for a machine: told at once, and not a thousand times a second. */
import { messageIds } from '@vmpulse/wire';
import type { HypervisorEvent } from '../hypervisor/hypervisor.ts';
import { hardwareFaultPauseMs, maxHardwareFaultKinds } from '../limits.ts';
import type { Machine } from './machine.ts';
import type { HeldProcess } from './phase.ts';

type Fault = Extract<HypervisorEvent, { kind: 'ioError' | 'memoryFailure' }>;

interface Told {
  readonly atMs: number;
  /** Like it since, not told. */
  others: number;
}

const toldOf = new WeakMap<HeldProcess, Map<string, Told>>();

/** Tells a fault. One like it within a minute is only counted, and the next that is told says how many there were. */
export function tellHardwareFault(machine: Machine, process: HeldProcess, fault: Fault): void {
  const told = toldOf.get(process) ?? new Map<string, Told>();
  toldOf.set(process, told);
  const where = fault.kind === 'ioError' ? fault.device : fault.recipient;
  const key = `${fault.kind} ${where} ${fault.action}`;
  const last = told.get(key);
  const nowMs = machine.host.clock.monotonicMs();
  if (last !== undefined && nowMs - last.atMs < hardwareFaultPauseMs) {
    last.others += 1;
    return;
  }
  if (last === undefined && told.size >= maxHardwareFaultKinds) return;
  told.set(key, { atMs: nowMs, others: 0 });
  const { action } = fault;
  const others = last?.others ?? 0;
  if (fault.kind === 'ioError') {
    machine.append('ioError', { messageId: messageIds.ioError, device: fault.device, action, others });
  } else {
    const { recipient } = fault;
    machine.append('memoryFailure', { messageId: messageIds.memoryFailure, recipient, action, others });
  }
}
