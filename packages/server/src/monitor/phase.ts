/** Where one machine's watch stands: one union, every variant named. Times are monotonic milliseconds. */
import type { Sight } from './sight.ts';
import type { Reading } from './witnesses.ts';

/** See each variant. */
export type Phase =
  /** No process. */
  | { readonly is: 'off' }
  /** A process, and no tick since it booted: not observed, never stopped by silence. */
  | { readonly is: 'unarmed' }
  | Window
  | Armed
  /** Ticks miss; witnesses are asked round by round. */
  | Suspicion
  /** heartbeatStopped was told; ticks are awaited. */
  | { readonly is: 'stopped' }
  /** additionsStopped was told; ticks are awaited. */
  | { readonly is: 'additionsStopped' };

/** Reset, shutting itself down or writing its dump: silence is not judged before `untilMs`. */
export interface Window {
  readonly is: 'window';
  readonly kind: 'boot' | 'shutdown' | 'dump';
  readonly openedMs: number;
  readonly untilMs: number;
}

/** Ticks are expected. */
export interface Armed {
  readonly is: 'armed';
  /** A reading taken when a tick was late already, of the tick at `lastMs`. */
  readonly late: { readonly lastMs: number; readonly reading: Reading } | null;
}

/** Ticks miss. */
export interface Suspicion {
  readonly is: 'suspected';
  readonly cause: 'silence' | 'bootWindowEnded' | 'guestPanicked';
  /** Reading of the last round, or the one taken when the tick was late. */
  readonly baseline: Reading | null;
  /** What the last round said; `suspected` before the first. */
  readonly verdict:
    | 'suspected'
    | 'gone'
    | 'starved'
    | 'busy'
    | 'spinning'
    | 'additionsStopped'
    | 'unknown'
    | 'suspended'
    | 'hung'
    | 'panicked';
  /** Time the vCPUs waited for a host processor since the suspicion began. */
  readonly runDelayMs: number;
  /** Short stalls of the service since `baseline` was read, ms: that long the whole host may have stood still. */
  readonly stalledMs: number;
  /** Since when nothing could be seen; null when something could. */
  readonly unseenSinceMs: number | null;
  /** Since when the host keeps it from running; null when it does not. */
  readonly starvedSinceMs: number | null;
  /** When the last round was settled; null before the first. */
  readonly settledAtMs: number | null;
  readonly sight: Sight;
  /** A round found it idle, over a gap so short that a hiccup of the host could be most of it. */
  readonly idleOnce: boolean;
  /** When its disks or network were last found to have moved since the suspicion began; null: never. */
  readonly ioMovedAtMs: number | null;
  /** When its processors were last found to work, not at full speed; null: never. */
  readonly busyAtMs: number | null;
  /** A round that did not hear of its disks was followed by one that waited longer for them. */
  readonly ioAskedAgain: boolean;
  /** Since when the process is found gone; null when it is not. */
  readonly goneSinceMs: number | null;
  /** The next round is not before. */
  readonly nextRoundMs: number;
}

/** Ticks are expected from here on. */
export const armed: Armed = { is: 'armed', late: null };

/** What a suspicion goes back to when it is given up: judged again from the beginning, for the same cause. */
export function withoutSuspicion(phase: Phase, nowMs: number): Phase {
  if (phase.is !== 'suspected') return phase;
  if (phase.cause === 'silence') return armed;
  const kind = phase.cause === 'guestPanicked' ? 'dump' : 'boot';
  return { is: 'window', kind, openedMs: nowMs, untilMs: nowMs };
}

/** The same window, ending later by what of the last `lengthMs` it was open. */
export function extended(window: Window, lengthMs: number, nowMs: number): Window {
  const openMs = Math.max(0, Math.min(lengthMs, nowMs - window.openedMs));
  return { ...window, untilMs: window.untilMs + openMs };
}
