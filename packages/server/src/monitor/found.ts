/** What the run state of a machine whose events may have been missed means for its watch. */
import type { RunState } from '../hypervisor/hypervisor.ts';
import type { Reason } from './suspensions.ts';

/** Stopped, suspended, ended by itself, running, or nothing to go by. */
export type Finding =
  | { readonly is: 'stopped'; readonly verdict: 'panicked' | 'internalError' | 'watchdog' }
  | { readonly is: 'suspended'; readonly reason: Extract<Reason, 'qemu' | 'sleep'> }
  | { readonly is: 'ended' }
  | { readonly is: 'running' }
  | { readonly is: 'unclear' };

const held = { is: 'suspended', reason: 'qemu' } as const;

/** The finding of each run state. */
export const findings: Readonly<Record<RunState, Finding>> = {
  panicked: { is: 'stopped', verdict: 'panicked' },
  internalError: { is: 'stopped', verdict: 'internalError' },
  watchdog: { is: 'stopped', verdict: 'watchdog' },
  shutdown: { is: 'ended' },
  paused: held,
  saving: held,
  restoring: held,
  ioError: held,
  preparing: held,
  suspended: { is: 'suspended', reason: 'sleep' },
  running: { is: 'running' },
  other: { is: 'unclear' },
};
