/**
 * What the witnesses add up to: one pure function over their answers. Whatever is not clear is `unknown`; a guest is
 * called stopped only by what positively says so.
 */
import type { ProcessSample, RunState } from '../hypervisor/hypervisor.ts';

/** Under this share of a host processor a vCPU is idle. */
const idleShare = 0.05;
/** Over this share it runs at full speed. */
const fullShare = 0.9;
/** From this share of waiting for a host processor on, a guest is starved rather than silent. */
const starvedShare = 0.5;

/** Shares of the time between two samples, 0 to 1. */
export interface Load {
  /** Time between the samples, milliseconds. */
  readonly overMs: number;
  /** The busiest vCPU's share of a host processor. */
  readonly runShare: number;
  /** The most that one vCPU ran and waited for a host processor together: what it would have run on an idle host. */
  readonly wantShare: number;
  /** The greatest share of any vCPU, or of QEMU's main loop, spent waiting for a host processor. */
  readonly delayShare: number;
  /** A vCPU thread is in uninterruptible sleep: the host blocks it (swap, post-copy memory). */
  readonly blocked: boolean;
}

/** What was learned in one round. `null`: that witness is not there or gave no answer. */
export interface Answers {
  /** QEMU's run state; 'silent' when its monitor did not answer in time. */
  readonly runState: RunState | 'silent';
  /** State letter of the process; null when it is gone. */
  readonly processState: string | null;
  readonly load: Load | null;
  /** The guest closed the ticker's port itself, or its ticker said that it ends. */
  readonly portClosed: boolean;
  /** The host's side of the ticker's port is connected; while it is not, no tick can be heard. */
  readonly connected: boolean;
  /** An operator or manager froze the machine's cgroup: none of its threads runs. */
  readonly frozen: boolean;
  /** The guest agent: answered (with its file systems frozen), did not, was busy, or there is none to ask. */
  readonly agent: 'answered' | 'frozen' | 'silent' | 'busy' | 'absent';
  /** Disk or network counters moved; null when there are none, silent when QEMU did not say in time. */
  readonly ioMoved: boolean | 'silent' | null;
  /** A kernel panic with which the serial log ends, the guest's own word; null where there is none. */
  readonly serialPanic: string | null;
}

/** The verdict of one round of witnesses. */
export type RoundVerdict =
  /** Panicked by the guest's own word, which counts only together with silence. */
  | 'serialPanic'
  /** The process is gone: its exit event follows and tells why. */
  | 'gone'
  | 'panicked'
  | 'watchdog'
  | 'internalError'
  | 'suspended'
  | 'hung'
  | 'spinning'
  | 'busy'
  | 'starved'
  | 'additionsStopped'
  | 'unknown';

/** A verdict, and why, for people. */
export interface Judgement {
  readonly verdict: RoundVerdict;
  readonly reason: string;
}

/** What a run state says by itself; null: nothing. */
const runStateVerdicts: Readonly<Record<RunState | 'silent', RoundVerdict | null>> = {
  panicked: 'panicked',
  watchdog: 'watchdog',
  internalError: 'internalError',
  paused: 'suspended',
  saving: 'suspended',
  restoring: 'suspended',
  shutdown: 'suspended',
  suspended: 'suspended',
  ioError: 'suspended',
  preparing: 'suspended',
  other: 'unknown',
  running: null,
  silent: null,
};

/** The verdict of one round. First match wins: what is certain before what is inferred. */
export function judge(answers: Answers): Judgement {
  const { processState, runState, load } = answers;
  if (processState === null || processState === 'Z' || processState === 'X') {
    return { verdict: 'gone', reason: 'the process of the machine is gone' };
  }
  if (processState === 'T' || processState === 't') {
    return { verdict: 'unknown', reason: `QEMU itself is stopped (state ${processState})` };
  }
  const byRunState = judgeRunState(runState);
  if (byRunState !== undefined) return byRunState;
  if (answers.frozen) return { verdict: 'starved', reason: 'the host froze the cgroup of the machine' };
  if (answers.agent === 'frozen') {
    return {
      verdict: 'suspended',
      reason: 'the guest agent answers: the file systems of the guest are frozen',
    };
  }
  if (answers.agent === 'answered') {
    return { verdict: 'additionsStopped', reason: 'the guest agent answers, the ticker is silent' };
  }
  if (answers.portClosed) {
    return { verdict: 'additionsStopped', reason: 'the guest closed the ticker’s port' };
  }
  if (!answers.connected) return { verdict: 'unknown', reason: 'the ticker’s port is not connected' };
  if (processState === 'D') return { verdict: 'unknown', reason: 'QEMU is blocked by the host (state D)' };
  if (load === null) {
    return { verdict: 'unknown', reason: 'the processor time of the machine cannot be read' };
  }
  if (load.blocked) return { verdict: 'starved', reason: 'the host blocks a vCPU (state D)' };
  if (load.delayShare >= starvedShare) {
    return {
      verdict: 'starved',
      reason: `${percent(load.delayShare)} of the time waiting for a host processor`,
    };
  }
  if (runState === 'silent') return { verdict: 'unknown', reason: 'QEMU’s monitor does not answer' };
  // An agent at work for an operator is no silent one; what it does may be what keeps the guest.
  if (answers.agent === 'busy')
    return { verdict: 'unknown', reason: 'the guest agent is busy with a command' };
  const byLoad = judgeLoad(load, answers.ioMoved);
  // A kernel that panicked halts or spins; a guest that shows life is not stopped by its own word.
  if (answers.serialPanic !== null && byLoad.verdict !== 'busy') {
    return {
      verdict: 'serialPanic',
      reason: `its serial log ends with a kernel panic: ${answers.serialPanic}`,
    };
  }
  return byLoad;
}

function judgeRunState(runState: RunState | 'silent'): Judgement | undefined {
  const verdict = runStateVerdicts[runState];
  if (verdict === null) return undefined;
  if (verdict === 'unknown') return { verdict, reason: 'QEMU is in a run state vmpulse does not know' };
  return { verdict, reason: `QEMU’s run state is ${runState}` };
}

function judgeLoad(load: Load, ioMoved: Answers['ioMoved']): Judgement {
  const ran = `the busiest vCPU ran ${percent(load.runShare)} of ${Math.round(load.overMs)} ms`;
  if (ioMoved === true) return { verdict: 'busy', reason: `${ran}, and its disk or network counters move` };
  if (isIdle(load)) return { verdict: 'hung', reason: `${ran}: nothing keeps a living guest from ticking` };
  if (load.wantShare > fullShare) return { verdict: 'spinning', reason: `${ran}, without a tick` };
  return { verdict: 'busy', reason: ran };
}

/** Waiting for a host processor looks like idling; a guest that waited at all is not called idle for it. */
export function isIdle({ runShare, delayShare }: Load): boolean {
  return runShare + delayShare < idleShare;
}

/** `3.6 %`, as evidence writes shares. */
export function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

/** The load between two samples of one machine; null when they cannot be compared or nothing could be read. */
export function loadBetween(before: ProcessSample, now: ProcessSample): Load | null {
  const overMs = now.atMs - before.atMs;
  if (overMs <= 0 || now.vcpus.length === 0) return null;
  let runShare = 0;
  let delayShare = 0;
  let wantShare = 0;
  let blocked = false;
  for (const vcpu of now.vcpus) {
    const earlier = before.vcpus.find((each) => each.tid === vcpu.tid);
    if (earlier === undefined) return null;
    const { run, delay } = shares(earlier, vcpu, overMs);
    runShare = Math.max(runShare, run);
    delayShare = Math.max(delayShare, delay);
    wantShare = Math.max(wantShare, run + delay);
    // In either: it may have been blocked for all of the time but the moment of the other sample.
    blocked ||= vcpu.state === 'D' || earlier.state === 'D';
  }
  if (now.mainLoop !== null && before.mainLoop !== null) {
    delayShare = Math.max(delayShare, shares(before.mainLoop, now.mainLoop, overMs).delay);
  }
  return { overMs, runShare, delayShare, wantShare: clamp(wantShare), blocked };
}

type ThreadSample = NonNullable<ProcessSample['mainLoop']>;

/**
 * The kernel adds the time that a thread waits to its run delay only when it runs again: one that is runnable in both
 * samples and hardly ran between them waited (an overloaded host, a processor quota).
 */
function shares(before: ThreadSample, now: ThreadSample, overMs: number): { run: number; delay: number } {
  const overNs = overMs * 1e6;
  const run = clamp((now.runNs - before.runNs) / overNs);
  const told = clamp((now.runDelayNs - before.runDelayNs) / overNs);
  const waits = before.state === 'R' && now.state === 'R' && run < idleShare;
  return { run, delay: waits ? 1 - run : told };
}

/** Clocks of the kernel and ours differ by microseconds; a share stays one. */
function clamp(share: number): number {
  return Math.min(1, Math.max(0, share));
}
