/**
 * Holds recovery against what really is. It knows the guests, what is on disk, who was asked for what, and what came
 * to QEMU; it shares no code with recovery. Rules (each `recovery: ` in front):
 *
 *  alive      a step on a guest that ticks                 unstopped  a step for a stop that was not told, or is over
 *  verdict    a step under a verdict that forbids it       hold, dump a step under a hold, or over the guest's own dump
 *  theirs     a step after an operator, or the guest itself, turned the machine off, or after it was deleted
 *  durable    a step that is not on disk as begun          twice      one step came to QEMU more than once
 *  attempts   more of them in the window than allowed      brake      more at once in a cohort than allowed
 *  gaveUp     a step after it was given up                 policy     a step by a policy that takes none
 *  forgotten  a stop of which nothing becomes              success    success told without a heartbeat, or a step
 *  sight      a guest that runs is disturbed before it was listened to since the service began, or stood still
 *  host       one of many is disturbed while the host counts as not well
 *  cancelled  told as not carried out, and it came to QEMU
 */
import type { RecoveryPolicy, RecoveryStepName } from '@vmpulse/wire';
import type { TaskOperation } from '../../packages/server/src/vm/machine-service.ts';
import type { VirtualServer } from '../../packages/server/src/vm/server.ts';
import type { SimGuest } from './guest.ts';
import type { Oracle } from './oracle.ts';
import {
  type Known,
  type Step,
  forbidding,
  forgetPast,
  newKnown,
  quietBoundMs,
  sightMs,
  stepOf,
  takeBack,
  takesSteps,
} from './recovery-known.ts';
import type { World } from './world.ts';

/** What was told a moment ago may not have been read back yet. */
const readMs = 250;
/** Stops so near each other are one cohort to the brake, and so long a machine is being recovered after a step. */
const [cohortMs, recoveringMs] = [60_000, 120_000];
const lookEveryMs = 2_000;
/** From two seconds on a stall counts (one that is hardly longer may be measured as shorter): for so long after it. */
const [stallCountsMs, unwellMs] = [2_200, 60_000];

/** How much there was to recover. */
export interface RecoveryCounts {
  /** Told of machines whose policy takes steps. */
  stops: number;
  /** That came to the lifecycle. */
  steps: number;
  successes: number;
  givenUp: number;
}

interface Told {
  readonly seq: number;
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Holds recovery to its promises in one run. */
export class RecoveryOracle {
  /** How many may recover at once in a cohort. */
  atOnce = 2;
  /** Something of recovery happens: a good moment for trouble. */
  onMoment: (guest: SimGuest, moment: 'begun' | 'performing' | 'done') => void = () => undefined;
  readonly counts: RecoveryCounts = { stops: 0, steps: 0, successes: 0, givenUp: 0 };
  private readonly world: World;
  private readonly oracle: Oracle;
  private readonly known = new Map<string, Known>();
  /** When the service last went on after a stall, or came back. */
  private stalledUntilMs = Number.NEGATIVE_INFINITY;
  private upSinceMs = 0;
  /** When the last stall that counts of this service ended. */
  private stoodStillMs = Number.NEGATIVE_INFINITY;
  private server: VirtualServer | null = null;
  private wallStepped = false;

  constructor(world: World, oracle: Oracle, guests: readonly SimGuest[]) {
    this.world = world;
    this.oracle = oracle;
    for (const guest of guests) this.known.set(guest.id, newKnown(guest));
    this.look();
  }

  /** Was it given up, and not been armed again? */
  isGivenUp(guest: SimGuest): boolean {
    return this.of(guest.id).gaveUp;
  }

  /** A service is there. */
  came(server: VirtualServer): void {
    this.server = server;
    this.upSinceMs = this.world.nowMs;
    this.stoodStillMs = Number.NEGATIVE_INFINITY;
    // Between two services only the wall clock goes on: who moves it moves the window.
    if (this.wallStepped) for (const known of this.known.values()) forgetPast(known);
    this.wallStepped = false;
    for (const known of this.known.values()) known.quietSinceMs = this.world.nowMs;
  }

  /** It is gone. */
  died(): void {
    this.server = null;
    for (const known of this.known.values()) {
      known.performing = null;
      known.guest.dumping = false;
    }
  }

  stalled(lengthMs: number): void {
    this.stalledUntilMs = this.world.nowMs;
    if (lengthMs >= stallCountsMs) this.stoodStillMs = this.world.nowMs;
  }

  steppedWall(): void {
    this.wallStepped = true;
  }

  /** An operator's operation was accepted. */
  operated(guest: SimGuest, operation: TaskOperation | 'rearm' | 'delete'): void {
    const known = this.of(guest.id);
    known.quietSinceMs = this.world.nowMs;
    if (operation === 'delete') {
      const { world } = this;
      Object.assign(known, newKnown(guest), { off: { by: 'deletion', atMs: world.nowMs } });
      return;
    }
    if (operation === 'rearm' || operation === 'startup' || operation === 'reset') {
      known.attempts = [];
      known.gaveUp = false;
      known.steppedMs = Number.NEGATIVE_INFINITY;
      if (operation !== 'rearm') Object.assign(known, { off: null, takenOver: true });
    }
    if (operation !== 'rearm') known.forgiven = true;
  }

  /** An operator's operation ended well. */
  operatedWell(guest: SimGuest, operation: TaskOperation): void {
    const known = this.of(guest.id);
    if (operation === 'startup' || operation === 'reset' || operation === 'turnOff') this.close(known);
    if (operation === 'turnOff') known.off = { by: 'operator', atMs: this.world.nowMs };
  }

  /** An event is on disk. */
  written(seq: number, type: string, vmId: string | null, json: string): void {
    const known = vmId === null ? undefined : this.known.get(vmId);
    if (known === undefined) return;
    known.quietSinceMs = this.world.nowMs;
    const told: Told = { seq, type, data: JSON.parse(json) as Told['data'] };
    if (type === 'heartbeatStopped') this.onStopped(known, told);
    else if (type === 'heartbeatResumed' || type === 'heartbeatStarted') {
      this.close(known);
      known.beatSeq = seq;
    } else if (type === 'recoveryStep') this.onStep(known, told);
    else if (type === 'recoveryHeldBack') known.heldBack.add(String(told.data['reason']));
    else if (type === 'recoveryGaveUp') {
      if (told.data['dryRun'] !== true) known.gaveUp ||= !known.takenOver;
      this.counts.givenUp += 1;
    } else if (type === 'recoverySucceeded') this.onSucceeded(known, told);
    else if (type === 'turnedOffByGuest' || type === 'migratedAway') {
      known.off = { by: 'guest', atMs: this.world.nowMs };
      this.close(known);
    } else if (type === 'stateChanged') this.onState(known, told);
  }

  /** Recovery asks for an operation. Answers what is to be called when that is over. */
  performing(vmId: string, operation: TaskOperation, server: VirtualServer): () => void {
    const known = this.of(vmId);
    const step = this.judge(known, operation, server);
    known.performing = step;
    this.counts.steps += 1;
    this.oracle.trace?.(known.guest.name, `RECOVERY performs ${operation}`);
    this.onMoment(known.guest, 'performing');
    return () => {
      if (known.performing !== step) return;
      known.performing = null;
      this.onMoment(known.guest, 'done');
    };
  }

  /** It says for the last time that it is to be done. */
  noReturn(vmId: string, operation: TaskOperation): void {
    const known = this.of(vmId);
    this.judgeGuest(known, `${operation}, about to be told to QEMU`);
  }

  /** A command came to QEMU. */
  reached(vmId: string, what: 'reset' | 'injectNmi' | 'quit' | 'start'): void {
    const { performing, guest } = this.of(vmId);
    if (performing === null || (what !== 'reset' && what !== 'injectNmi')) return;
    performing.reached += 1;
    if (performing.reached > 1)
      this.fail('twice', guest, `${what} of seq ${performing.seq} came to QEMU again`);
  }

  private judge(known: Known, operation: TaskOperation, server: VirtualServer): Step {
    const { guest, policy, begun, open } = known;
    const { nowMs } = this.world;
    const what = `${operation} of ${open === null ? 'no stop' : `stop ${open.seq}`}`;
    const ago = (sinceMs: number): number => nowMs - Math.max(sinceMs, this.stalledUntilMs);
    const fail = (rule: string, text: string): void => this.fail(rule, guest, `${what}: ${text}`);
    const boundMs = readMs + this.oracle.loopLateMs;
    if (begun === null || begun.step !== stepOf[operation]) fail('durable', 'it is not on disk as begun');
    if (!takesSteps(policy)) fail('policy', `the policy is ${JSON.stringify(policy)}`);
    if (known.gaveUp) fail('gaveUp', 'it was given up');
    const startsOwn = operation === 'startup' && begun?.ownStart === true;
    if (open === null && !startsOwn && ago(known.closedMs) > boundMs) fail('unstopped', 'no stop is open');
    const { off } = known;
    if (off !== null && ago(off.atMs) > boundMs) fail('theirs', `turned off by ${off.by}`);
    this.judgeGuest(known, what);
    const seenMs = nowMs - Math.max(this.upSinceMs, this.stoodStillMs);
    if (operation !== 'startup' && seenMs < sightMs(guest)) {
      fail('sight', `it is listened to for ${Math.round(seenMs)} ms only`);
    }
    if (!startsOwn) {
      this.judgeTold(guest, server, what);
      this.count(known, begun, operation, what);
      this.brake(known, what);
    }
    known.steppedMs = nowMs;
    known.tried = true;
    return begun ?? { seq: 0, step: 'reset', reached: 0, ownStart: false, before: null, succeeded: false };
  }

  private judgeGuest({ guest }: Known, what: string): void {
    const { nowMs } = this.world;
    const { tickingSinceMs } = guest;
    const boundMs = readMs + this.oracle.loopLateMs;
    if (tickingSinceMs !== null && nowMs - Math.max(tickingSinceMs, this.stalledUntilMs) > boundMs) {
      const up = `the service is up for ${Math.round(nowMs - this.upSinceMs)} ms`;
      this.fail('alive', guest, `${what}: it ticks for ${Math.round(nowMs - tickingSinceMs)} ms; ${up}`);
    }
    if (guest.dumping) this.fail('dump', guest, `${what}: it writes its dump`);
  }

  private judgeTold(guest: SimGuest, server: VirtualServer, what: string): void {
    const { state, guest: told } = server.get(guest.id);
    const forbidden = state !== 'turnedOff' && forbidding.has(told.verdict);
    if (forbidden) this.fail('verdict', guest, `${what}: the verdict is ${told.verdict}`);
    if (told.hold !== null) this.fail('hold', guest, `${what}: its watch is held: ${told.hold.reason}`);
  }

  private count(known: Known, begun: Step | null, operation: TaskOperation, what: string): void {
    if (operation === 'injectNmi' || begun === null) return;
    const { policy, guest } = known;
    if (policy === null) return;
    const sinceMs = this.world.nowMs - policy.windowMs;
    const kept = known.attempts.filter(({ atMs, seq }) => atMs > sinceMs && seq !== begun.seq);
    known.attempts = [...kept, { atMs: this.world.nowMs, seq: begun.seq }];
    const { length } = known.attempts;
    if (length > policy.attempts) {
      this.fail('attempts', guest, `${what}: ${length} in ${policy.windowMs} ms, of ${policy.attempts}`);
    }
  }

  private brake(known: Known, what: string): void {
    const { open } = known;
    if (open === null) return;
    const { nowMs } = this.world;
    const near = [...this.known.values()].filter(
      (each) =>
        each.open !== null && takesSteps(each.policy) && Math.abs(each.open.atMs - open.atMs) < cohortMs,
    );
    if (!open.correlated && near.length < Math.max(2, this.atOnce) + 1) return;
    // How the host is is looked at once in a second.
    const agoMs = Math.round(nowMs - this.stoodStillMs);
    if (agoMs > 1_250 && agoMs < unwellMs - 1_250) {
      this.fail('host', known.guest, `${what}: the service stood still ${agoMs} ms ago`);
    }
    const others = [...this.known.values()].filter(
      (each) =>
        each !== known &&
        each.open !== null &&
        !each.gaveUp &&
        !each.forgiven &&
        (each.performing !== null || (!each.failed && nowMs - each.steppedMs < recoveringMs - 10_000)),
    );
    if (others.length >= this.atOnce) {
      const names = others.map(({ guest }) => guest.name).join(', ');
      const mass = open.correlated ? 'of a cohort' : `with ${near.map(({ guest }) => guest.name).join(', ')}`;
      this.fail('brake', known.guest, `${what} ${mass}: ${names} are being recovered`);
    }
  }

  private onStopped(known: Known, { seq, data }: Told): void {
    if (takesSteps(known.policy)) this.counts.stops += 1;
    if (known.open !== null) return;
    known.open = { seq, atMs: this.world.nowMs, correlated: data['correlated'] === true };
    known.tried = false;
    Object.assign(known, { forgiven: false, takenOver: false });
    known.steppedMs = Number.NEGATIVE_INFINITY;
    known.heldBack.clear();
  }

  private onStep(known: Known, { seq, data }: Told): void {
    const step = data['step'] as RecoveryStepName;
    if (data['phase'] === 'begun') {
      const { steppedOf, steppedMs, tried, lastDone } = known;
      const before = { steppedOf, steppedMs, tried };
      const ownStart = step === 'start' && lastDone === 'turnOff';
      known.begun = { seq, step, reached: 0, ownStart, before, succeeded: false };
      if (step !== 'evidence' && data['dryRun'] !== true) known.steppedOf = Number(data['stoppedSeq']);
      this.onMoment(known.guest, 'begun');
    } else if (data['phase'] === 'cancelled') {
      this.onCancelled(known, seq);
    } else {
      known.begun = null;
      known.failed = data['phase'] === 'failed';
      known.lastDone = data['phase'] === 'done' ? step : null;
    }
  }

  private onCancelled(known: Known, seq: number): void {
    const { begun, guest } = known;
    known.begun = null;
    if (begun === null) return;
    const what = `seq ${seq}: ${begun.step} is told as cancelled`;
    if (begun.reached > 0) this.fail('cancelled', guest, `${what}, and came to QEMU`);
    if (begun.succeeded) this.fail('success', guest, `${what}, and was told as a success`);
    takeBack(known, begun);
  }

  private onSucceeded(known: Known, { seq, data }: Told): void {
    this.counts.successes += 1;
    const stoppedSeq = Number(data['stoppedSeq']);
    if (known.beatSeq < stoppedSeq || known.beatSeq > seq) {
      this.fail('success', known.guest, `seq ${seq} tells success; no heartbeat since seq ${stoppedSeq}`);
    }
    if (known.steppedOf !== stoppedSeq)
      this.fail('success', known.guest, `seq ${seq} tells success without a step`);
    const { begun } = known;
    if (begun !== null) begun.succeeded = begun.before?.steppedOf !== stoppedSeq;
  }

  private onState(known: Known, { data }: Told): void {
    const { state, previousState, cause } = data;
    if (state !== 'turnedOff') {
      if (state === 'running' && known.off?.by !== 'deletion') known.off = null;
      return;
    }
    // Nobody turned it off where its process ended by itself, or never ran its guest.
    const isTurnedOff = cause !== 'processExit' && previousState !== 'turningOn';
    if (known.performing === null && known.begun === null && isTurnedOff) this.close(known);
  }

  private close(known: Known): void {
    known.open = null;
    known.closedMs = this.world.nowMs;
    known.lastDone = null;
  }

  /** Is there any stop of which nothing becomes? */
  private look(): void {
    for (const known of this.known.values()) this.lookAt(known);
    this.world.after(lookEveryMs, () => this.look());
  }

  private lookAt(known: Known): void {
    const { nowMs } = this.world;
    const { open, policy, guest, gaveUp, off, forgiven } = known;
    const waits = open !== null && takesSteps(policy) && !gaveUp && off === null && !forgiven;
    if (!waits || this.oracle.away > 0 || this.server === null || this.isHeld(known, this.server)) {
      known.quietSinceMs = nowMs;
      return;
    }
    const quietMs = nowMs - known.quietSinceMs;
    if (quietMs <= quietBoundMs(policy as RecoveryPolicy, guest)) return;
    known.quietSinceMs = Number.POSITIVE_INFINITY;
    this.fail('forgotten', guest, `nothing is told of stop ${open.seq} for ${Math.round(quietMs / 1_000)} s`);
  }

  private isHeld({ guest, heldBack }: Known, server: VirtualServer): boolean {
    if (heldBack.has('hostUnwell') && this.world.nowMs - this.stoodStillMs < unwellMs + 5_000) return true;
    if (heldBack.has('fleetBrake')) {
      const recovering = [...this.known.values()].filter(
        (each) =>
          each.guest !== guest &&
          each.open !== null &&
          !each.gaveUp &&
          this.world.nowMs - each.steppedMs < recoveringMs + 5_000,
      );
      if (recovering.length >= this.atOnce) return true;
    }
    try {
      const vm = server.get(guest.id);
      if (vm.guest.hold !== null || vm.task !== null) return true;
      return vm.state !== 'turnedOff' && forbidding.has(vm.guest.verdict);
    } catch {
      return true;
    }
  }

  private fail(rule: string, guest: SimGuest, text: string): void {
    this.oracle.fail(`recovery: ${rule}`, guest, text);
  }

  private of(vmId: string): Known {
    return this.known.get(vmId) as Known;
  }
}
