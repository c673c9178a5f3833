/** What a campaign's kinds of fault are made of. */
import type { EventType, HeartbeatConfiguration, StopVerdict } from '@vmpulse/wire';
import type { ProfileName } from './profile.ts';
import type { Subject } from './subject.ts';

/** Where a delay is counted from: the fault itself, or the guest's last tick before it. */
export type CountedFrom = 'fault' | 'last tick';

/** What must be told of a guest that stopped. */
export interface StopExpected {
  readonly told: 'heartbeatStopped';
  readonly verdicts: readonly StopVerdict[];
  readonly from: CountedFrom;
  /** From there to the client's sink. */
  readonly boundMs: number;
}

/** What must be told of a guest that did not stop: one event, or nothing at all. */
export interface NoStopExpected {
  readonly told: Exclude<EventType, 'heartbeatStopped'> | null;
  /** Verdict of that event, where it has one. */
  readonly verdict?: string;
  /** From the fault to the client's sink; none where the guest itself decides how long it takes. */
  readonly boundMs?: number;
  /** True: it may be told, and need not. */
  readonly optional?: boolean;
}

/** How much of the host a round takes: nothing to speak of, one processor, or all that there are. */
export type Strain = 'none' | 'core' | 'all';

/** One kind of fault. */
export interface FaultKind {
  readonly name: string;
  /** What is done, for the reader of the matrix. */
  readonly what: string;
  readonly profile: ProfileName;
  readonly heartbeat?: HeartbeatConfiguration;
  readonly strain: Strain;
  /** How long the guest ticks before the fault; 500 to 1,500 ms where nothing is said. */
  readonly warmUpMs?: number;
  readonly expected: StopExpected | NoStopExpected;
  /** Does it. Answers when it was done (wall time, ms); by default the moment it returns. */
  readonly inject: (subject: Subject) => Promise<number | void>;
  /** Takes it back, where the guest is to be seen ticking again afterwards. */
  readonly mend?: (subject: Subject) => Promise<void>;
  /** What must be told when it is taken back. */
  readonly afterwards?: EventType;
  /** How the guest ends up: ticking (default where no stop is expected), or not. */
  readonly end?: 'ticking' | 'off' | 'silent';
  /**
   * How long is listened for what must not be told, after all else is over; by default 2,500 ms of a guest that ticks,
   * 1,000 ms of one that does not.
   */
  readonly quietMs?: number;
}

/** Is a stop what must be told? */
export function expectsStop(expected: FaultKind['expected']): expected is StopExpected {
  return expected.told === 'heartbeatStopped';
}
