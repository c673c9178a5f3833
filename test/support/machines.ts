/** Machines and events for tests: complete, plausible, and different by number. */
import type { EventDraft, VmReference } from '@vmpulse/wire';
import { plainConfiguration } from './plain-configuration.ts';
import type { MachineRecord } from '../../packages/server/src/machine-record.ts';

/** Wall time of the events made here, ms since 1970. */
export const testTimeMs: number = Date.UTC(2026, 0, 1);

/** Machine number `n`, as events name it. */
export function machineReference(n: number): VmReference {
  return { id: `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`, name: `web-${n}` };
}

/** Machine number `n`, as stored. */
export function machineRecord(n: number, change: Partial<MachineRecord> = {}): MachineRecord {
  const { id, name } = machineReference(n);
  return {
    id,
    hypervisor: 'fake',
    configuration: plainConfiguration({ name, memoryMiB: 512 }),
    activeConfiguration: null,
    createdMs: testTimeMs,
    process: null,
    runningAtQuit: false,
    additions: { version: null, osName: null, computerName: null },
    watch: { armed: false, intervalMs: null, lastTickWallMs: null, bootMs: [] },
    ...change,
  };
}

/** A heartbeatStopped of machine `n`, with evidence of the usual length. */
export function stoppedDraft(n: number, timeMs: number = testTimeMs): EventDraft {
  return {
    type: 'heartbeatStopped',
    vm: machineReference(n),
    timeMs,
    data: {
      verdict: 'hung',
      cause: 'silence',
      evidence: {
        lastTickAt: new Date(timeMs - 1_550).toISOString(),
        sinceLastTickMs: 1_550.25,
        silenceMs: 1_540,
        subtracted: { suspendedMs: 0, runDelayMs: 10.25 },
        intervalMs: 1_000,
        marginMs: 500,
        witnesses: [
          { witness: 'agent', answer: 'no answer in 50 ms', tookMs: 50 },
          { witness: 'processor', answer: 'idle (0.4 % of 1.54 s)', tookMs: 0.2 },
        ],
      },
    },
  };
}

/** A heartbeatResumed of machine `n`. */
export function resumedDraft(n: number, timeMs: number = testTimeMs): EventDraft {
  return {
    type: 'heartbeatResumed',
    vm: machineReference(n),
    timeMs,
    data: { outageMs: 5_000, stoppedSeq: null },
  };
}

/** A stateChanged of machine `n` to running. */
export function runningDraft(n: number, timeMs: number = testTimeMs): EventDraft {
  const data = { state: 'running', stateCode: 5, previousState: 'turningOn' } as const;
  return { type: 'stateChanged', vm: machineReference(n), timeMs, data };
}

/** A holdStarted of machine `n`, or of all with null, for `forMs`. */
export function holdDraft(n: number | null, reason: string, forMs: number): EventDraft {
  const until = new Date(testTimeMs + forMs).toISOString();
  const data = { scope: n === null ? 'all' : 'vm', reason, until } as const;
  return {
    type: 'holdStarted',
    ...(n === null ? {} : { vm: machineReference(n) }),
    timeMs: testTimeMs,
    data,
  };
}

/** The end of such a hold. */
export function holdEndedDraft(n: number | null, reason: string): EventDraft {
  const data = { scope: n === null ? 'all' : 'vm', reason, how: 'released', heldMs: 1 } as const;
  return { type: 'holdEnded', ...(n === null ? {} : { vm: machineReference(n) }), timeMs: testTimeMs, data };
}
