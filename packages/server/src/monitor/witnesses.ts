/**
 * Asks the witnesses of one machine, side by side and bounded together: a witness that does not answer in time is
 * silent, and nobody waits for it.
 */
import type { WitnessAnswer } from '@vmpulse/wire';
import { type Clock, withDeadline } from '../clock.ts';
import type { IoCounters, ProcessSample, RunningMachine, RunState } from '../hypervisor/hypervisor.ts';
import { slowWitnessTimeoutMs, witnessTimeoutMs } from '../limits.ts';
import type { AgentWitness } from '../tick/source.ts';
import { AgentQuestion } from './agent-question.ts';
import { shortGapMs } from './deadline.ts';
import { LateAnswer, type Timed } from './late-answer.ts';
import { kernelPanicIn } from './serial-panic.ts';
import { describeRound } from './testimony.ts';
import { type Answers, loadBetween } from './verdict.ts';

/** A wait shorter than this goes in steps of so many milliseconds. */
const shortWaitMs = 100;
const waitStepMs = 10;

/**
 * How long a ping lasts where samples are compared over a short gap, and so twice: as long as two rounds would wait for
 * one ping each.
 */
const shortPingMs: number = 2 * witnessTimeoutMs;

/** What a round begins with. */
export interface Question {
  /** The first round of a suspicion: what a witness answered too late before it is of no interest. */
  readonly first: boolean;
  /** An earlier reading; without one, two are taken `sampleGapMs` apart. */
  readonly baseline: Reading | null;
  /** How far apart two samples must be to be compared, ms; see deadline.ts. */
  readonly sampleGapMs: number;
  readonly portClosed: boolean;
  readonly connected: boolean;
  /** The agent is the heartbeat: it is asked though it has not answered this service yet. */
  readonly agentExpected: boolean;
}

/** What cumulative counters showed at one moment; silent: they gave no answer in time. */
export interface Reading {
  readonly sample: ProcessSample;
  readonly io: IoCounters | 'silent';
}

/** What one round learned. */
export interface Round {
  readonly answers: Answers;
  /** The same, for people. */
  readonly told: readonly WitnessAnswer[];
  /** To compare the next round with. */
  readonly reading: Reading | null;
  /** How long the slowest witness took, or was waited for, without the wait between two samples. */
  readonly tookMs: number;
  /** How much longer the wait between two samples took than it should: the host may have stood still, ms. */
  readonly lateMs: number;
}

/** Where a round pauses. What it waits for never settles when the round is not wanted any more. */
export interface Pauses {
  wait(ms: number): Promise<void>;
  /** Lets work begin when it is its turn. */
  turn<T>(work: () => Promise<T>): Promise<T>;
}

/** One machine's witnesses. */
export class Witnesses {
  private readonly clock: Clock;
  private readonly machine: RunningMachine;
  private readonly agent: AgentQuestion;
  private readonly runState: LateAnswer<RunState>;
  private readonly counters: LateAnswer<IoCounters>;

  constructor(clock: Clock, machine: RunningMachine, agent: AgentWitness | null) {
    this.clock = clock;
    this.machine = machine;
    this.agent = new AgentQuestion(clock, agent);
    this.runState = new LateAnswer(clock, () => machine.runState());
    this.counters = new LateAnswer(clock, () => machine.counters());
  }

  /** Counters now; null when processor times cannot be read. Never rejects. */
  async read(timeoutMs: number = witnessTimeoutMs): Promise<Reading | null> {
    // What an earlier round waited for in vain shows the past.
    this.counters.forget();
    const [sample, { answer: io }] = await Promise.all([this.sample(), this.counters.ask(timeoutMs)]);
    return sample === null ? null : { sample, io };
  }

  /**
   * Counters of a guest whose tick is late. `soon`: a round over a short gap follows if it stays away; its agent is
   * asked now, so that the round need not wait for it as long. Never rejects.
   */
  readLate(soon: boolean): Promise<Reading | null> {
    if (soon) this.agent.put(shortPingMs);
    return this.read();
  }

  /**
   * One round. Never rejects. After the wait between two samples it goes on when it is its turn: guests that fell
   * silent together are through with it together.
   */
  async ask(question: Question, pauses: Pauses): Promise<Round> {
    const askedMs = this.clock.monotonicMs();
    const { baseline, sampleGapMs, portClosed, connected } = question;
    if (question.first) this.runState.forget();
    // Its answer may take as long as the wait between two samples: an agent is an ordinary process of its guest.
    const agentTimeoutMs = Math.max(1.2 * sampleGapMs, witnessTimeoutMs);
    const lastsMs = sampleGapMs < shortGapMs ? shortPingMs : agentTimeoutMs;
    const agentOut = this.agent.ask(agentTimeoutMs, lastsMs, question.agentExpected);
    const timeoutMs = question.first ? witnessTimeoutMs : slowWitnessTimeoutMs;
    const before = baseline ?? (await this.read(timeoutMs));
    const beganMs = this.clock.monotonicMs();
    const waitMs = before === null ? 0 : Math.max(0, before.sample.atMs + sampleGapMs - beganMs);
    const lateMs = await this.waitFor(waitMs, pauses);
    let putMs = 0;
    const [state, reading, agent, serial] = await pauses.turn(() => {
      putMs = this.clock.monotonicMs();
      return Promise.all([this.runState.ask(timeoutMs), this.read(timeoutMs), agentOut, this.serialPanic()]);
    });
    const answers: Answers = {
      runState: state.answer,
      // A sample that could not be read says nothing of the process; '?' is no state of the kernel's.
      processState: reading === null ? '?' : reading.sample.processState,
      frozen: reading?.sample.frozen ?? false,
      load: before === null || reading === null ? null : loadBetween(before.sample, reading.sample),
      portClosed,
      connected,
      agent: agent.answer,
      ioMoved: ioMoved(before?.io ?? 'silent', reading?.io ?? 'silent'),
      serialPanic: serial.answer,
    };
    const nowMs = this.clock.monotonicMs();
    const tookMs = nowMs - askedMs;
    const told = describeRound(answers, {
      runState: state.tookMs,
      agent: agent.tookMs,
      all: tookMs,
    });
    return { answers, told, reading, tookMs: nowMs - putMs, lateMs };
  }

  /**
   * Waits `ms` of time in which this process ran; answers for how long it stood still meanwhile. A short wait goes in
   * steps: a hiccup of the whole host in the midst of it would be most of it, and is not seen at its end.
   */
  private async waitFor(ms: number, pauses: Pauses): Promise<number> {
    let lateMs = 0;
    const stepMs = ms < shortWaitMs ? waitStepMs : ms;
    for (let leftMs = ms; leftMs > 0; leftMs -= stepMs) {
      const nextMs = Math.min(leftMs, stepMs);
      const beganMs = this.clock.monotonicMs();
      await pauses.wait(nextMs);
      lateMs += Math.max(0, this.clock.monotonicMs() - beganMs - nextMs);
    }
    return lateMs;
  }

  private async sample(): Promise<ProcessSample | null> {
    try {
      const late = (): Error => new Error('no sample');
      return await withDeadline(this.clock, this.machine.sample(), witnessTimeoutMs, late);
    } catch {
      return null;
    }
  }

  private async serialPanic(): Promise<Timed<string | null>> {
    const askedMs = this.clock.monotonicMs();
    try {
      const late = (): Error => new Error('no serial log');
      const tail = await withDeadline(this.clock, this.machine.serialTail(), witnessTimeoutMs, late);
      return { answer: kernelPanicIn(tail), tookMs: this.clock.monotonicMs() - askedMs };
    } catch {
      return { answer: null, tookMs: this.clock.monotonicMs() - askedMs };
    }
  }
}

/** Did disks or network work between two readings? Null where the machine has none of either. */
function ioMoved(before: Reading['io'], now: Reading['io']): Answers['ioMoved'] {
  if (before === 'silent' || now === 'silent') return 'silent';
  const moved = (from: number | null, to: number | null): boolean | null =>
    from === null || to === null ? null : to > from;
  const disk = moved(before.diskOperations, now.diskOperations);
  const network = moved(before.packetsSent, now.packetsSent);
  if (disk === null && network === null) return null;
  return disk === true || network === true;
}
