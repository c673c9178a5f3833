import type { CompleteVmConfiguration } from '@vmpulse/wire';

/** A configuration with every default. */
export function plainConfiguration(change: Partial<CompleteVmConfiguration> = {}): CompleteVmConfiguration {
  return {
    name: 'guest',
    memoryMiB: 128,
    cpus: 1,
    boot: null,
    disks: [],
    networks: [],
    vnc: false,
    watchdog: null,
    heartbeat: {},
    recovery: { action: 'none' },
    autostart: { action: 'never' },
    shutdownActionOnQuit: 'leaveRunning',
    notes: '',
    values: {},
    ...change,
  };
}
