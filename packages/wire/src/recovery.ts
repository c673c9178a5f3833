/** Recovery: what the server does about a guest that stopped, as requests, answers and events name it. */
import type { ErrorInfo, VmReference } from './event.ts';
import {
  type JsonSchema,
  type NamedSchema,
  flag,
  listOf,
  milliseconds,
  named,
  number,
  objectOf,
  oneOf,
  orNull,
  refer,
  text,
  timestamp,
} from './schema-builder.ts';
import type { StopVerdict } from './verdict.ts';

/**
 * What is done about a guest that stopped. `restart` turns it off and starts it; `staged` injects an NMI where the
 * policy says `nmi`, then resets, then turns off and starts, then gives up. One whose process is gone is started.
 */
export type RecoveryAction = 'none' | 'notify' | 'reset' | 'restart' | 'staged';

/** Every action. */
export const recoveryActions: readonly RecoveryAction[] = ['none', 'notify', 'reset', 'restart', 'staged'];

/** One step of a recovery. */
export type RecoveryStepName = 'evidence' | 'injectNmi' | 'reset' | 'turnOff' | 'start';

/** Bounds of a recovery. Durations are milliseconds. */
export interface RecoveryBounds {
  /** Resets and restarts within `windowMs`, 1 to 100; default 3. Then it gives up until an operator acts. */
  attempts?: number;
  /** 60,000 to 604,800,000; default 3,600,000. */
  windowMs?: number;
  /** How long the machine must have run before the first step, 0 to 3,600,000; default 60,000. */
  minRunningMs?: number;
  /** Pause before the second attempt, doubled for each further one, 1,000 to 3,600,000; default 10,000. */
  backoffMs?: number;
  /** How long a heartbeat is awaited after a step, 1,000 to 3,600,000; default (null): the machine's boot window. */
  settleMs?: number | null;
  /** The guest is set up for an NMI (it panics and writes a dump): `staged` begins with one. Default false. */
  nmi?: boolean;
  /**
   * With the evidence, a dump of the guest's memory is kept where its memory and 64 MiB are no more than so many MiB,
   * 1 to 16,777,216. The guest stands still meanwhile, a minute at most. Default (null): none.
   */
  memoryDumpMiB?: number | null;
  /** Everything is planned and told, nothing is done. Default false. */
  dryRun?: boolean;
}

/** A machine's recovery; `default` is what the server's default says, all of it. */
export interface RecoveryConfiguration extends RecoveryBounds {
  action: RecoveryAction | 'default';
}

/** PUT /v1/recovery: what machines do whose own `recovery` is `default`, and the brake for all. */
export interface RecoveryDefault extends RecoveryBounds {
  action: RecoveryAction;
  /** When many fail together, so many recover at once at most, 1 to 100; default 2. */
  atOnce?: number;
}

/** The server's default with everything filled in. */
export type CompleteRecoveryDefault = Required<RecoveryDefault>;

/** A machine's policy with everything filled in. */
export type RecoveryPolicy = Omit<CompleteRecoveryDefault, 'atOnce'>;

/** Why a recovery is held back. */
export type HeldBackReason =
  | 'busy'
  | 'starved'
  | 'additionsStopped'
  | 'unknown'
  /** Paused, asleep, shutting down, or writing its own dump. */
  | 'suspended'
  /** It was reset, by its guest or by someone, and may come back by itself. */
  | 'booting'
  | 'hold'
  /** An operation is under way on it. */
  | 'operation'
  /** Many fail together, and as many as may recover at once do. */
  | 'fleetBrake'
  /** Many fail together, and the host itself is not well. */
  | 'hostUnwell'
  /** It was given up before: an operator must act (`vmpulse recovery rearm`). */
  | 'gaveUp';

/** One attempt of the past. */
export interface RecoveryAttempt {
  at: string;
  step: RecoveryStepName;
  stoppedSeq: number;
  outcome: 'begun' | 'done' | 'failed' | 'succeeded';
  dryRun: boolean;
}

/** How a machine's recovery stands. */
export type RecoveryState =
  /** Nothing is to be recovered. */
  | 'idle'
  /** The next step waits for its time (`nextAt`). */
  | 'waiting'
  | 'heldBack'
  /** A step is being carried out. */
  | 'step'
  /** A step was carried out; a heartbeat is awaited until `nextAt`. */
  | 'settling'
  /** The policy is to tell only. */
  | 'notified'
  | 'gaveUp';

/** GET /v1/vms/{vm}/recovery. */
export interface RecoveryInfo {
  vm: VmReference;
  policy: RecoveryPolicy;
  /** The policy is the server's default. */
  inherited: boolean;
  state: RecoveryState;
  /** For a person: why it waits, is held back or gave up. */
  reason: string | null;
  /** The step under way, or the one that comes next. */
  step: RecoveryStepName | null;
  /** When it goes on by itself. */
  nextAt: string | null;
  /** seq of the heartbeatStopped that is being recovered from. */
  stoppedSeq: number | null;
  verdict: StopVerdict | null;
  /** Newest last. */
  history: RecoveryAttempt[];
}

/** The data of recovery's events; `dryRun`: told only, nothing is done. */
export interface RecoveryEventData {
  recoveryPlanned: {
    messageId: number;
    stoppedSeq: number;
    verdict: StopVerdict;
    action: RecoveryAction;
    /** Those to come, as far as they can be foreseen. */
    steps: readonly RecoveryStepName[];
    dryRun?: true;
  };
  recoveryStep: {
    messageId: number;
    stoppedSeq: number;
    step: RecoveryStepName;
    /** cancelled: it was told as begun, and was not carried out; `reason` says why. */
    phase: 'begun' | 'done' | 'failed' | 'cancelled';
    /** Number of the attempt within the policy's window. */
    attempt: number;
    reason: string;
    error?: ErrorInfo;
    dryRun?: true;
  };
  recoveryHeldBack: {
    messageId: number;
    stoppedSeq: number;
    reason: HeldBackReason;
    detail: string;
    dryRun?: true;
  };
  recoverySucceeded: {
    messageId: number;
    stoppedSeq: number;
    /** The step after which the heartbeat came back. */
    step: RecoveryStepName;
    attempts: number;
    /** From the stop to the heartbeat. */
    outageMs: number;
    /** From the first step to the heartbeat. */
    recoveryMs: number;
  };
  recoveryGaveUp: {
    messageId: number;
    stoppedSeq: number;
    reason: 'attempts' | 'stages';
    attempts: number;
    detail: string;
    dryRun?: true;
  };
}

const steps: Record<RecoveryStepName, true> = {
  evidence: true,
  injectNmi: true,
  reset: true,
  turnOff: true,
  start: true,
};
const stepName = oneOf(Object.keys(steps));
const heldReasons: Record<HeldBackReason, true> = {
  busy: true,
  starved: true,
  additionsStopped: true,
  unknown: true,
  suspended: true,
  booting: true,
  hold: true,
  operation: true,
  fleetBrake: true,
  hostUnwell: true,
  gaveUp: true,
};
const messageId = number('The number that OnEventLogged tells.');
const stoppedSeq = number('seq of the heartbeatStopped that is being recovered from.');
const dryRun: JsonSchema = { const: true, description: 'Told only; nothing is done.' };

/** Schemas of the data of recovery's events; the verdicts' names are the caller's. */
export function recoveryEventSchemas(
  verdicts: readonly string[],
): Record<keyof RecoveryEventData, JsonSchema> {
  return {
    recoveryPlanned: objectOf<RecoveryEventData['recoveryPlanned']>(
      {
        messageId,
        stoppedSeq,
        verdict: oneOf(verdicts),
        action: oneOf(recoveryActions),
        steps: listOf(stepName),
      },
      { dryRun },
    ),
    recoveryStep: objectOf<RecoveryEventData['recoveryStep']>(
      {
        messageId,
        stoppedSeq,
        step: stepName,
        phase: oneOf(['begun', 'done', 'failed', 'cancelled']),
        attempt: number("Number of the attempt within the policy's window."),
        reason: text('For a person.'),
      },
      { error: refer('ErrorInfo'), dryRun },
    ),
    recoveryHeldBack: objectOf<RecoveryEventData['recoveryHeldBack']>(
      { messageId, stoppedSeq, reason: oneOf(Object.keys(heldReasons)), detail: text() },
      { dryRun },
    ),
    recoverySucceeded: objectOf<RecoveryEventData['recoverySucceeded']>(
      {
        messageId,
        stoppedSeq,
        step: stepName,
        attempts: number(),
        outageMs: milliseconds('From the stop to the heartbeat.'),
        recoveryMs: milliseconds('From the first step to the heartbeat.'),
      },
      {},
    ),
    recoveryGaveUp: objectOf<RecoveryEventData['recoveryGaveUp']>(
      {
        messageId,
        stoppedSeq,
        reason: oneOf(['attempts', 'stages']),
        attempts: number(),
        detail: text('What an operator does about it.'),
      },
      { dryRun },
    ),
  };
}

const bounds = {
  attempts: number('Within windowMs. Default 3.', { minimum: 1, maximum: 100 }),
  windowMs: number('Default 3,600,000.', { minimum: 60_000, maximum: 604_800_000 }),
  minRunningMs: number('Before the first step. Default 60,000.', { minimum: 0, maximum: 3_600_000 }),
  backoffMs: number('Doubled for each further attempt. Default 10,000.', {
    minimum: 1_000,
    maximum: 3_600_000,
  }),
  settleMs: orNull(
    number("How long a heartbeat is awaited after a step. Default null: the machine's boot window.", {
      minimum: 1_000,
      maximum: 3_600_000,
    }),
  ),
  nmi: { ...flag, description: 'staged begins with an NMI. Default false.' } as JsonSchema,
  memoryDumpMiB: orNull(
    number('A dump of the memory is kept with the evidence where it is no larger. Default null: none.', {
      minimum: 1,
      maximum: 16_777_216,
    }),
  ),
  dryRun: { ...flag, description: 'Everything is told, nothing is done. Default false.' } as JsonSchema,
};

/** A machine's `recovery`. */
export const recoveryConfigurationSchema: JsonSchema = objectOf<RecoveryConfiguration>(
  { action: oneOf([...recoveryActions, 'default'], "default (which is the default): the server's.") },
  bounds,
);

/** Named schemas of recovery; `verdicts` are the stop verdicts' names. */
export function recoverySchemas(verdicts: readonly string[]): readonly NamedSchema[] {
  const action = oneOf(recoveryActions);
  const policy = objectOf<RecoveryPolicy>({ action, ...bounds }, {});
  return [
    named(
      'RecoveryDefault',
      "What is done about guests that stop, where the machine's own recovery is `default`.",
      objectOf<RecoveryDefault>(
        { action },
        {
          ...bounds,
          atOnce: number('Recover at once when many fail together. Default 2.', { minimum: 1, maximum: 100 }),
        },
      ),
    ),
    named(
      'RecoveryInfo',
      "A machine's recovery: policy, what is under way, what was tried.",
      objectOf<RecoveryInfo>(
        {
          vm: refer('VmReference'),
          policy,
          inherited: flag,
          state: oneOf(['idle', 'waiting', 'heldBack', 'step', 'settling', 'notified', 'gaveUp']),
          reason: orNull(text('For a person.')),
          step: orNull(stepName),
          nextAt: orNull(timestamp),
          stoppedSeq: orNull(stoppedSeq),
          verdict: orNull(oneOf(verdicts)),
          history: listOf(
            objectOf<RecoveryAttempt>(
              {
                at: timestamp,
                step: stepName,
                stoppedSeq,
                outcome: oneOf(['begun', 'done', 'failed', 'succeeded']),
                dryRun: flag,
              },
              {},
            ),
          ),
        },
        {},
      ),
    ),
  ];
}
