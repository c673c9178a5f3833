/** How low the space of a file system is: pure functions of its free bytes, what was told before, and the bounds. */
import type { DiskSpaceLevel, VmState } from '@vmpulse/wire';
import {
  diskFillBytesPerSecond,
  lowDiskLookMs,
  maxDiskLookMs,
  maxDiskSpaceMargin,
  minDiskLookMs,
} from '../limits.ts';
import type { DiskSpaceMark } from '../machine-record.ts';

/** `ok`, or how low it is. */
export type DiskLevel = DiskSpaceLevel | 'ok';

/** Free bytes below which a level begins; 0 switches it off. `errorBytes` is not above `warningBytes`. */
export interface DiskSpaceBounds {
  readonly warningBytes: number;
  readonly errorBytes: number;
}

/** Levels in order. */
export const diskLevels: readonly DiskLevel[] = ['ok', 'warning', 'error'];

/** Free bytes from which a bound counts as regained: half of it above it, so that who hovers there is told once. */
export function regainedBytes(bound: number): number {
  return bound + Math.min(bound / 2, maxDiskSpaceMargin);
}

/** The level after `level`, of a file system with `freeBytes`. */
export function nextLevel(level: DiskLevel, freeBytes: number, bounds: DiskSpaceBounds): DiskLevel {
  const { warningBytes, errorBytes } = bounds;
  if (freeBytes < (level === 'error' ? regainedBytes(errorBytes) : errorBytes)) return 'error';
  if (freeBytes < (level === 'ok' ? warningBytes : regainedBytes(warningBytes))) return 'warning';
  return 'ok';
}

/**
 * After how long to look again, ms: before a disk that fills at `diskFillBytesPerSecond` can have passed the next
 * bound, within `minDiskLookMs` to `maxDiskLookMs`.
 */
export function nextLookMs(level: DiskLevel, freeBytes: number, bounds: DiskSpaceBounds): number {
  if (level === 'error') return lowDiskLookMs;
  const bound = level === 'ok' ? bounds.warningBytes : bounds.errorBytes;
  const fullMs = ((freeBytes - bound) / diskFillBytesPerSecond) * 1_000;
  return Math.min(Math.max(fullMs, minDiskLookMs), maxDiskLookMs);
}

/** What a change of state makes of a machine's mark; any but a pause and a resumption ends it. */
export function markAfter(mark: DiskSpaceMark | null | undefined, state: VmState): DiskSpaceMark | null {
  if (mark === undefined || mark === null) return null;
  if (state === 'paused') return mark === 'pausing' ? 'paused' : mark;
  if (state === 'running') return mark === 'paused' ? 'exempt' : mark;
  return null;
}
