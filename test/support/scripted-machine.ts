/** Machines as the scripted server shows them. */
import { type GuestInfo, type VmInfo, stateCodes } from '@vmpulse/wire';
import { plainConfiguration } from './plain-configuration.ts';

/** What a test says of a machine; the rest is a machine that is off and was never seen to tick. */
export type MachineChanges = Partial<Omit<VmInfo, 'guest'>> & { guest?: Partial<GuestInfo> };

/** The machine number `number` of a server. */
export function scriptedMachine(name: string, number: number, changes: MachineChanges): VmInfo {
  const state = changes.state ?? 'turnedOff';
  return {
    ...plainConfiguration({ name, memoryMiB: 512 }),
    id: `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`,
    hypervisor: 'qemu',
    stateCode: stateCodes[state],
    pid: null,
    accelerator: null,
    startedAt: null,
    pausedFor: null,
    createdAt: '2024-01-01T00:00:00.000Z',
    operations: [],
    task: null,
    files: { directory: '/d', serialLog: '/d/serial.log', serialSocket: '/d/serial.sock', vncSocket: null },
    changesPending: false,
    ...changes,
    state,
    guest: {
      isHeartbeating: false,
      heartbeatPercentage: null,
      verdict: 'notObserved',
      lastTickAgoMs: null,
      intervalMs: null,
      source: null,
      additions: { version: null },
      osName: null,
      computerName: null,
      canShutdown: false,
      stoppedSeq: null,
      fileSystems: null,
      hold: null,
      ...changes.guest,
    },
  };
}
