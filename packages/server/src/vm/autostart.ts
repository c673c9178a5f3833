/** Starts machines when the service starts: which, when, and not all at once. */
import { VmError } from '@vmpulse/wire';
import { maxParallelAutostarts } from '../limits.ts';
import type { Machine } from './machine.ts';
import { operate } from './operate.ts';
import { forEachParallel } from './parallel.ts';

/** A machine as found when the service started. */
export interface AutostartCandidate {
  readonly machine: Machine;
  /** It ran when the service last ended, and not only now does. */
  readonly ranAtQuit: boolean;
}

/** Machines to start, each with its delay since the start of the service, the shortest first. */
function planAutostart(candidates: readonly AutostartCandidate[]): { machine: Machine; delayMs: number }[] {
  return candidates
    .filter(({ machine, ranAtQuit }) => {
      if (machine.phase.kind !== 'off') return false;
      const { action } = machine.record.configuration.autostart;
      return action === 'always' || (action === 'ifRunningAtQuit' && ranAtQuit);
    })
    .map(({ machine }) => ({
      machine,
      delayMs: (machine.record.configuration.autostart.delaySeconds ?? 0) * 1000,
    }))
    .toSorted((a, b) => a.delayMs - b.delayMs);
}

/** Forgets that a machine ran, where it is off and not to be started for it; the others forget it as they start. */
function forgetTheRest(candidates: readonly AutostartCandidate[], planned: ReadonlySet<Machine>): void {
  for (const { machine } of candidates) {
    const { phase, record, slot } = machine;
    if (phase.kind !== 'off' || slot !== null || planned.has(machine)) continue;
    if (record.runningAtQuit) machine.remember({ runningAtQuit: false });
  }
}

/** Starts them, a few at once, each after its delay; one started by someone meanwhile is left alone. Never rejects. */
export async function autostart(
  candidates: readonly AutostartCandidate[],
  signal: AbortSignal,
): Promise<void> {
  const [first] = candidates;
  if (first === undefined) return;
  const { clock, logger } = first.machine.host;
  const startedMs = clock.monotonicMs();
  const plan = planAutostart(candidates);
  forgetTheRest(candidates, new Set(plan.map(({ machine }) => machine)));
  await forEachParallel(plan, maxParallelAutostarts, async ({ machine, delayMs }) => {
    const leftMs = startedMs + delayMs - clock.monotonicMs();
    if (leftMs > 0) await clock.sleep(leftMs, signal);
    if (signal.aborted || machine.phase.kind !== 'off' || machine.slot !== null) return;
    try {
      operate(machine, 'startup', 'autostart');
      // A failure is told as taskFailed; here only the next one's turn is awaited.
      await untilFree(machine);
    } catch (error) {
      logger.warn({ err: VmError.from(error), vm: machine.reference }, 'autostart did not begin');
    }
  });
}

async function untilFree({ slot }: Machine): Promise<void> {
  await slot?.done;
}
