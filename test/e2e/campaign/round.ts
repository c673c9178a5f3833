/** One round: a guest ticks, something is done to it, and what is told of it is judged. */
import { setTimeout as delay } from 'node:timers/promises';
import { eventTypeOf, type VmEvent } from '@vmpulse/client';
import { eventually } from '../../support/real-service.ts';
import { judgeRound, type Observed, type Result } from './judgement.ts';
import { expectsStop, type FaultKind } from './kind.ts';
import type { Lane } from './lane.ts';
import { type Profile, profiles } from './profile.ts';
import type { Processors } from './strain.ts';
import { type Subject, wallMs } from './subject.ts';

/** A restored guest ticks within a second or two. */
const restoredTickMs = 240_000;
/** No ticker of the campaign's is slower. */
const slowestTickerMs = 1_000;
const leastWarmUpMs = 500;
/** Longer than interval, margin and samples together, so that a stop wrongly told is heard. */
const tickingQuietMs = 2_500;
const otherQuietMs = 1_000;
/** Past its bound an event is still waited for, so that a late one is told from a missed one. */
const graceMs = 240_000;

/** Plays one round. Never rejects: what could not be set up is a result too. */
export async function playRound(
  lane: Lane,
  kind: FaultKind,
  round: number,
  processors: Processors,
): Promise<Result> {
  try {
    if (!lane.isPrepared(kind)) await processors.with('core', () => lane.prepare(kind));
    const subject = await processors.alone(() => lane.begin(kind, round));
    await settle(subject, kind);
    const result = await observe(subject, kind, processors);
    await lane.clear();
    return result;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { kind: kind.name, outcome: 'notSetUp', told: '-', delayMs: null, reason };
  }
}

/** Waits until the guest is watched as any guest that has run for a while. */
async function settle(subject: Subject, kind: FaultKind): Promise<void> {
  const { ticks, cold }: Profile = profiles[kind.profile];
  if (cold === true) return;
  if (ticks) {
    // A restored ticker has said hello long ago, to another service. It says it again, lest its pace be measured first.
    await subject.tell('restart-ticker');
    await eventually(
      async () => ((await subject.vm.guestOS.info()).intervalMs ?? Infinity) <= slowestTickerMs,
      () => `the ticker of ${subject.vm.name} to say hello; heard ${subject.types()}`,
      restoredTickMs,
    );
  }
  await subject.ticking(restoredTickMs);
  // Only now: a short patience would be tried by the ticker's restart already, where the host is slow.
  if (kind.heartbeat !== undefined) await subject.vm.change({ heartbeat: kind.heartbeat });
  // At any moment between two ticks, not always at the same.
  await delay(kind.warmUpMs ?? leastWarmUpMs + Math.random() * slowestTickerMs);
}

async function observe(subject: Subject, kind: FaultKind, processors: Processors): Promise<Result> {
  const early = complaintsOf(subject.since(0).map(({ event }) => event));
  if (early !== '') throw new Error(`before the fault it was told ${early}`);
  const { sinceMs, faultMs, followed } = await processors.with(kind.strain, async () => {
    const beganMs = wallMs();
    const doneMs = (await kind.inject(subject)) ?? wallMs();
    return { sinceMs: beganMs, faultMs: doneMs, followed: await followUp(subject, kind, beganMs, doneMs) };
  });
  const failures = [...followed.failures, ...(await listenOn(subject, kind))];
  return judgeRound(kind, { ...followed, faultMs, arrivals: subject.since(sinceMs), failures });
}

/** Waits for what must be told, and takes the fault back. Answers what else went wrong. */
async function followUp(
  subject: Subject,
  kind: FaultKind,
  sinceMs: number,
  faultMs: number,
): Promise<Pick<Observed, 'failures' | 'standing'>> {
  const failures: string[] = [];
  const attempt = async (work: Promise<unknown>): Promise<void> => {
    await work.catch((error: unknown) =>
      failures.push(error instanceof Error ? error.message : String(error)),
    );
  };
  const standing = await awaitTold(subject, kind, sinceMs, faultMs);
  if (kind.mend !== undefined) await attempt(kind.mend(subject));
  if (kind.afterwards !== undefined) await attempt(subject.heard(kind.afterwards, sinceMs));
  if (endOf(kind) === 'ticking') await attempt(subject.ticking());
  if (endOf(kind) === 'off') await attempt(subject.state('turnedOff'));
  return { failures, ...(standing === undefined ? {} : { standing }) };
}

/** Listens for what must not be told any more. Answers what went wrong. */
async function listenOn(subject: Subject, kind: FaultKind): Promise<string[]> {
  const ticking = endOf(kind) === 'ticking';
  await delay(kind.quietMs ?? (ticking ? tickingQuietMs : otherQuietMs));
  if (!ticking) return [];
  return subject.ticking(240_000).then(
    () => [],
    (error: unknown) => [error instanceof Error ? error.message : String(error)],
  );
}

function endOf(kind: FaultKind): 'ticking' | 'off' | 'silent' {
  return kind.end ?? (expectsStop(kind.expected) ? 'silent' : 'ticking');
}

/** Answers how the guest stands where it did not come; that it did not is seen by the judgement. */
async function awaitTold(
  subject: Subject,
  kind: FaultKind,
  sinceMs: number,
  faultMs: number,
): Promise<string | undefined> {
  const { expected } = kind;
  if (expected.told === null) return undefined;
  if (!expectsStop(expected) && expected.optional === true) return undefined;
  const waitMs = expected.boundMs === undefined ? graceMs : expected.boundMs + graceMs;
  const leftMs = Math.max(graceMs, faultMs + waitMs - wallMs());
  try {
    await subject.heard(expected.told, sinceMs, leftMs);
    return undefined;
  } catch {
    return subject.standing();
  }
}

function complaintsOf(events: readonly VmEvent[]): string {
  const complaints = ['heartbeatStopped', 'additionsStopped', 'visibilityLost'];
  return events
    .map(eventTypeOf)
    .filter((type) => complaints.includes(type))
    .join(', ');
}
