/** Machines and guests as the server shows them. */
import { stateCodes, type GuestInfo, type VmInfo } from '@vmpulse/wire';
import { hardwareDiffers } from './configuration-change.ts';
import type { Machine } from './machine.ts';
import { allowedOperations } from './slot.ts';

/** The machine now. */
export function vmInfo(machine: Machine): VmInfo {
  const { record, state, hypervisor, slot } = machine;
  const { configuration, activeConfiguration, process } = record;
  const { directory, serialLog, serialSocket, vncSocket } = hypervisor.files(machine.id);
  const hasVnc = (activeConfiguration ?? configuration).vnc;
  return {
    ...configuration,
    id: machine.id,
    hypervisor: record.hypervisor,
    state,
    stateCode: stateCodes[state],
    pausedFor: state === 'paused' && record.diskSpace === 'paused' ? 'diskSpace' : null,
    pid: process?.pid ?? null,
    accelerator: process?.accelerator ?? null,
    startedAt: process?.startedAt ?? null,
    createdAt: new Date(record.createdMs).toISOString(),
    operations: allowedOperations(machine),
    task: slot?.task?.id ?? null,
    files: { directory, serialLog, serialSocket, vncSocket: hasVnc ? vncSocket : null },
    changesPending: activeConfiguration !== null && hardwareDiffers(activeConfiguration, configuration),
    guest: guestInfo(machine),
  };
}

/** The guest now: what the monitor knows, with what the additions told, which is kept when the machine is off. */
export function guestInfo(machine: Machine): GuestInfo {
  const { hello: _hello, ...heartbeat } = machine.watch.info();
  const { version, osName, computerName } = machine.additions();
  const link = machine.process?.link;
  const canShutdown = machine.state === 'running' && link?.canShutdown === true;
  const fileSystems = link?.lastFileSystems ?? null;
  const said = { additions: { version }, osName, computerName, canShutdown, fileSystems };
  return { ...heartbeat, ...said, hold: machine.host.holdOn(machine.id) };
}
