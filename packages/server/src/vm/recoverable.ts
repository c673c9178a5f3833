/** What recovery wants to know of a machine besides what everybody may. */
import type { RunningMachine } from '../hypervisor/hypervisor.ts';
import { bootWindowMs } from '../monitor/deadline.ts';
import type { Machine } from './machine.ts';

/** A machine as recovery sees it. */
export interface RecoverableMachine {
  /** How long a boot may take, learned, ms. */
  readonly bootWindowMs: number;
  /** Operations since the service started, by whomever; it grows with each. */
  readonly operationsBegun: number;
  /** Its heartbeat's port holds more than was read of it: it sends. */
  readonly unread: boolean;
  readonly process: RunningMachine | null;
}

/** That of `machine` now. */
export function recoverable({ watch, record, process, operationsBegun }: Machine): RecoverableMachine {
  const mostMs = record.configuration.heartbeat.bootWindowMaxMs ?? 600_000;
  return {
    bootWindowMs: bootWindowMs(watch.memory().bootMs, mostMs),
    operationsBegun,
    unread: process?.ticks?.backlogged() === true,
    process: process?.machine ?? null,
  };
}
