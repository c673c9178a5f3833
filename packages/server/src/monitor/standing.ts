/** How a guest's watch stands, for people and clients. */
import type { Verdict } from '@vmpulse/wire';
import type { Guest } from './guest.ts';
import type { Suspicion } from './phase.ts';

/** What of a guest its standing rests on. */
export type Standing = Pick<Guest, 'phase' | 'policy' | 'held'> & {
  readonly suspensions: Pick<Guest['suspensions'], 'any'>;
  readonly announcer: Pick<Guest['announcer'], 'stopVerdict' | 'isOpen'>;
};

/** The verdict to show. What was told stands until its end is told. `ticking`: no tick is overdue. */
export function standingVerdict(guest: Standing, ticking: boolean): Verdict {
  const { phase, announcer } = guest;
  const told = announcer.stopVerdict;
  if (phase.is === 'off') return told ?? 'notObserved';
  if (phase.is === 'stopped') return told ?? 'unknown';
  if (guest.suspensions.any) return 'suspended';
  const suspicion = phase.is === 'suspected' ? suspected(phase) : null;
  if (announcer.isOpen('visibilityLost')) return suspicion === 'starved' ? 'starved' : 'unknown';
  if (suspicion !== null) return suspicion;
  if (phase.is === 'window') return phase.kind === 'boot' ? 'booting' : 'suspended';
  // Its agent may be its heartbeat by now; the ticker is awaited all the same.
  if (announcer.isOpen('additionsStopped')) return 'additionsStopped';
  // Where silence is not judged, nobody can say what it means.
  if (phase.is === 'armed' && guest.held && !ticking) return 'suspended';
  return phase.is === 'armed' && (ticking || guest.policy.watch) ? 'alive' : 'notObserved';
}

/** While witnesses are asked, what the last of them said of the host's part. */
function suspected({ verdict }: Suspicion): 'starved' | 'suspended' | 'suspected' {
  return verdict === 'starved' || verdict === 'suspended' ? verdict : 'suspected';
}
