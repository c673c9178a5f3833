/** A recovery's policy: what is asked for, checked strictly, and what it comes to for a machine. */
import {
  type CompleteRecoveryDefault,
  type RecoveryConfiguration,
  type RecoveryPolicy,
  recoveryActions,
} from '@vmpulse/wire';
import type { z } from 'zod';
import { flag, oneOf, strict, violation, whole } from './configuration-shape.ts';

const bounds = {
  attempts: whole(1, 100).exactOptional(),
  windowMs: whole(60_000, 604_800_000).exactOptional(),
  minRunningMs: whole(0, 3_600_000).exactOptional(),
  backoffMs: whole(1_000, 3_600_000).exactOptional(),
  settleMs: whole(1_000, 3_600_000).nullable().exactOptional(),
  nmi: flag.exactOptional(),
  memoryDumpMiB: whole(1, 16_777_216).nullable().exactOptional(),
  dryRun: flag.exactOptional(),
};
const [first = 'none', ...others] = recoveryActions;

/** A machine's `recovery`; what is left out stays out, so that its default may follow the service. */
export const recoverySchema: z.ZodType<RecoveryConfiguration> = strict({
  action: oneOf(first, ...others, 'default'),
  ...bounds,
});

const defaultSchema = strict({
  action: oneOf(first, ...others),
  ...bounds,
  atOnce: whole(1, 100).exactOptional(),
});

/** What a policy is where it says nothing. */
const presets: CompleteRecoveryDefault = {
  action: 'none',
  attempts: 3,
  windowMs: 3_600_000,
  minRunningMs: 60_000,
  backoffMs: 10_000,
  settleMs: null,
  nmi: false,
  memoryDumpMiB: null,
  dryRun: false,
  atOnce: 2,
};

/** The server's default with everything filled in. Errors: VM_E_PREF_ILLEGAL_VALUE with `field`. */
export function completeRecoveryDefault(asked: unknown): CompleteRecoveryDefault {
  const parsed = defaultSchema.safeParse(asked);
  if (!parsed.success) throw violation(parsed.error.issues);
  return { ...presets, ...parsed.data };
}

/** The policy of a machine with `own` under the server's default. */
export function recoveryPolicy(
  own: RecoveryConfiguration,
  serverDefault: CompleteRecoveryDefault,
): RecoveryPolicy {
  const { atOnce: _atOnce, ...inherited } = serverDefault;
  if (own.action === 'default') return inherited;
  const { atOnce: _preset, ...preset } = presets;
  return { ...preset, ...own, action: own.action };
}
