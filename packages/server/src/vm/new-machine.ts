/** What a machine is stored as when it is made. */
import { VmError } from '@vmpulse/wire';
import type { MachineRecord } from '../machine-record.ts';

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** The UUID as it is stored. Errors: VM_E_PREF_ILLEGAL_VALUE. */
export function checkId(id: string): string {
  if (uuid.test(id)) return id.toLowerCase();
  const detail = 'id must be a UUID, such as 6f1c2f0e-7f0f-4a57-9f5e-0d8c5b1f3a10.';
  throw new VmError('VM_E_PREF_ILLEGAL_VALUE', detail, { field: '/id' });
}

/** The record of a machine that never ran. `createdMs`: wall time, ms since 1970. */
export function newRecord(
  id: string,
  hypervisor: MachineRecord['hypervisor'],
  configuration: MachineRecord['configuration'],
  createdMs: number,
): MachineRecord {
  return {
    id,
    hypervisor,
    configuration,
    activeConfiguration: null,
    createdMs,
    process: null,
    runningAtQuit: false,
    additions: { version: null, osName: null, computerName: null },
    watch: { armed: false, intervalMs: null, lastTickWallMs: null, bootMs: [] },
  };
}
