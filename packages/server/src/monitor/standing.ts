/** How a guest's watch stands, for people and clients. */
import type { Verdict } from '@vmpulse/wire';
import type { Guest } from './guest.ts';

/** What of a guest its standing rests on. */
export type Standing = Pick<Guest, 'phase' | 'policy'> & {
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
  if (announcer.isOpen('visibilityLost')) return 'unknown';
  if (phase.is === 'unarmed' && announcer.isOpen('additionsStopped')) return 'additionsStopped';
  if (phase.is === 'window') return phase.kind === 'boot' ? 'booting' : 'suspended';
  // Where silence is not judged, nobody can say what it means.
  if (phase.is === 'armed') return ticking || guest.policy.watch ? 'alive' : 'notObserved';
  if (phase.is === 'suspected') return phase.verdict === 'starved' ? 'starved' : 'suspected';
  return phase.is === 'additionsStopped' ? 'additionsStopped' : 'notObserved';
}
