/** Hard times: all guests are recovered, while the service and its host have troubles and operators meddle. */
import type { Trial } from './scenario.ts';

const times: readonly Omit<Trial, 'kinds'>[] = [
  { service: ['kill', 'mass'], meddleShare: 0.1 },
  { service: ['stop', 'disk'], meddleShare: 0.2 },
  { service: ['kill', 'disk', 'stall'], meddleShare: 0.2 },
  { service: ['kill', 'wall', 'sleep'], meddleShare: 0.1 },
];

/** What a seed has: each of them in turn, with every kind of fault. */
export function hardTimes(seed: number): Trial {
  return { kinds: null, ...(times[seed % times.length] as Omit<Trial, 'kinds'>) };
}
