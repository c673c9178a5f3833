/** Puts together why a verdict is what it is. */
import type { Evidence, WitnessAnswer } from '@vmpulse/wire';
import { silenceMs } from './deadline.ts';

/** What the watch knows at the moment of a verdict. Times are monotonic milliseconds. */
export interface Account {
  readonly nowMs: number;
  readonly wallMs: number;
  /** Null when no tick was heard since the process was begun with. */
  readonly lastTickMs: number | null;
  /** Wall time of the last tick known from before; used where `lastTickMs` is null. */
  readonly rememberedTickWallMs: number | null;
  readonly suspendedMs: number;
  readonly intervalMs: number | null;
  readonly marginMs: number | null;
}

/** What set the verdict off. */
export interface Circumstances {
  readonly runDelayMs?: number;
  readonly told?: readonly WitnessAnswer[];
  readonly exit?: {
    readonly exitCode: number | null;
    readonly signal: string | null;
    readonly stderr: string;
  };
  readonly detail?: string;
}

/** The evidence of one verdict. */
export function evidenceOf(account: Account, circumstances: Circumstances): Evidence {
  const { lastTickMs, nowMs, wallMs } = account;
  const runDelayMs = Math.round(circumstances.runDelayMs ?? 0);
  const suspendedMs = Math.round(account.suspendedMs);
  const sinceMs = lastTickMs === null ? null : Math.round(nowMs - lastTickMs);
  const lastWallMs = sinceMs === null ? account.rememberedTickWallMs : wallMs - sinceMs;
  return {
    lastTickAt: lastWallMs === null ? null : new Date(lastWallMs).toISOString(),
    sinceLastTickMs: sinceMs,
    silenceMs: sinceMs === null ? null : silenceMs(sinceMs, suspendedMs, runDelayMs),
    subtracted: { suspendedMs, runDelayMs },
    intervalMs: account.intervalMs === null ? null : Math.round(account.intervalMs),
    marginMs: account.marginMs === null ? null : Math.round(account.marginMs),
    witnesses: circumstances.told ?? [],
    ...(circumstances.exit === undefined ? {} : { exit: circumstances.exit }),
    ...(circumstances.detail === undefined ? {} : { detail: circumstances.detail }),
  };
}
