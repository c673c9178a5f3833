/** The host and the bounds of a server, as it shows itself. */
import { availableParallelism, hostname, release, totalmem } from 'node:os';
import type { ServerInfo } from '@vmpulse/wire';
import type { HypervisorInfo } from '../hypervisor/hypervisor.ts';
import {
  maxEndedTasks,
  maxEventPage,
  maxMachines,
  maxPendingEvents,
  maxRequestBytes,
  maxStreams,
} from '../limits.ts';

/** Until the hypervisor has found out what it can do here. */
export const lookedAt: HypervisorInfo = {
  accelerator: null,
  acceleratorReason: 'It is still being looked at; ask again in a few seconds.',
  version: null,
};

/** What the server says of its host. */
export function hostInfo({ accelerator, acceleratorReason, version }: HypervisorInfo): ServerInfo['host'] {
  return {
    hostname: hostname(),
    kernel: release(),
    cpus: availableParallelism(),
    memoryMiB: Math.round(totalmem() / 1024 ** 2),
    accelerator,
    acceleratorReason,
    qemuVersion: version,
  };
}

/** Bounds that a client may run into. */
export const shownLimits: Record<string, number> = {
  maxMachines,
  maxEndedTasks,
  maxEventPage,
  maxPendingEvents,
  maxRequestBytes,
  maxStreams,
};
