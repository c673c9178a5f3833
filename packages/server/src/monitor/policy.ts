/** A machine's watch policy from its configuration: patiences, boot window, and the original's classic keys. */
import type { CompleteVmConfiguration, StopVerdict } from '@vmpulse/wire';
import { minIntervalMs } from './deadline.ts';

const prefix = 'integration/microsoft/heartbeat/';

/** The original's four heartbeat keys and their defaults. */
export const classicKeys: Record<
  'time' | 'rate' | 'failureInterval' | 'failureAttempts',
  readonly [string, number]
> = {
  time: [`${prefix}time`, 60],
  rate: [`${prefix}rate`, 10],
  failureInterval: [`${prefix}failure_interval`, 10],
  failureAttempts: [`${prefix}failure_attempts`, 12],
};

/** Contact attempts as the original made them, before a machine counts as stopped. */
export interface ClassicPolicy {
  readonly attemptEveryMs: number;
  readonly attempts: number;
}

/** How one machine is watched. Durations are milliseconds. */
export interface WatchPolicy {
  /** False: ticks are shown, silence is never judged. */
  readonly watch: boolean;
  /** Interval expected before a hello says otherwise. */
  readonly intervalMs: number;
  readonly patience: {
    readonly spinningMs: number;
    readonly busyMs: number;
    readonly additionsStoppedMs: number;
  };
  readonly bootWindowMaxMs: number;
  /** Set when any of the classic keys is: then it rules interval and patience. */
  readonly classic: ClassicPolicy | null;
}

/** The policy a configuration asks for. */
export function watchPolicy(configuration: CompleteVmConfiguration): WatchPolicy {
  const { heartbeat, values } = configuration;
  const classic = Object.values(classicKeys).some(([key]) => values[key] !== undefined);
  const value = ([key, preset]: readonly [string, number]): number => {
    const given = values[key];
    return typeof given === 'number' && given > 0 ? given : preset;
  };
  return {
    watch: heartbeat.watch ?? true,
    intervalMs: classic
      ? Math.max((value(classicKeys.time) * 1000) / value(classicKeys.rate), minIntervalMs)
      : (heartbeat.intervalMs ?? 1000),
    patience: {
      spinningMs: heartbeat.patience?.spinningMs ?? 10_000,
      busyMs: heartbeat.patience?.busyMs ?? 60_000,
      additionsStoppedMs: heartbeat.patience?.additionsStoppedMs ?? 10_000,
    },
    bootWindowMaxMs: heartbeat.bootWindowMaxMs ?? 600_000,
    classic: classic
      ? {
          attemptEveryMs: value(classicKeys.failureInterval) * 1000,
          attempts: value(classicKeys.failureAttempts),
        }
      : null,
  };
}

/**
 * Silence after which a verdict is told. In classic mode every verdict waits for all contact attempts, the first of
 * them one failure interval after the first missed tick.
 */
export function patienceMs(
  policy: WatchPolicy,
  verdict: StopVerdict | 'additionsStopped',
  intervalMs: number,
): number {
  const { classic, patience } = policy;
  if (classic !== null) return intervalMs + classic.attemptEveryMs * classic.attempts;
  if (verdict === 'spinning') return patience.spinningMs;
  if (verdict === 'busy') return patience.busyMs;
  return verdict === 'additionsStopped' ? patience.additionsStoppedMs : 0;
}
