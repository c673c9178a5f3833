/**
 * Asks the witnesses of one machine, side by side and bounded together: a witness that does not answer in time is
 * silent, and nobody waits for it.
 */
import type { WitnessAnswer } from '@vmpulse/wire';
import { type Clock, withDeadline } from '../clock.ts';
import type { ProcessSample, RunningMachine, RunState } from '../hypervisor/hypervisor.ts';
import { witnessTimeoutMs } from '../limits.ts';
import { type Answers, type Load, loadBetween, percent } from './verdict.ts';

/** What a round begins with. */
export interface Question {
  /** The first round of a suspicion: what a witness answered too late before it is of no interest. */
  readonly first: boolean;
  /** An earlier sample; without one, two are taken `sampleGapMs` apart. */
  readonly baseline: ProcessSample | null;
  /** How far apart two samples must be to be compared, ms; see deadline.ts. */
  readonly sampleGapMs: number;
  readonly portClosed: boolean;
  readonly connected: boolean;
}

/** What one round learned. */
export interface Round {
  readonly answers: Answers;
  /** The same, for people. */
  readonly told: readonly WitnessAnswer[];
  /** To compare the next round with. */
  readonly sample: ProcessSample | null;
}

interface StateAnswer {
  readonly answer: RunState | 'silent';
  readonly tookMs: number;
}

/** One machine's witnesses. */
export class Witnesses {
  private readonly clock: Clock;
  private readonly machine: RunningMachine;
  /** A question still out: a stuck monitor gets no second one. */
  private runStateOut: Promise<RunState> | undefined;
  /** An answer that came too late for its round: the next one has it, lest a slow monitor never be heard. */
  private late: StateAnswer | undefined;

  constructor(clock: Clock, machine: RunningMachine) {
    this.clock = clock;
    this.machine = machine;
  }

  /** Processor times now; null when they cannot be read. */
  async sample(): Promise<ProcessSample | null> {
    try {
      return await withDeadline(
        this.clock,
        this.machine.sample(),
        witnessTimeoutMs,
        () => new Error('no sample'),
      );
    } catch {
      return null;
    }
  }

  /** One round. Never rejects; `signal` cuts the wait between two samples short. */
  async ask(question: Question, signal: AbortSignal): Promise<Round> {
    const askedMs = this.clock.monotonicMs();
    const { baseline, sampleGapMs, portClosed, connected } = question;
    if (question.first) this.late = undefined;
    const before = baseline ?? (await this.sample());
    const waitMs = before === null ? 0 : before.atMs + sampleGapMs - this.clock.monotonicMs();
    if (waitMs > 0) await this.clock.sleep(waitMs, signal);
    const [state, sample] = await Promise.all([this.runState(), this.sample()]);
    const load = before === null || sample === null ? null : loadBetween(before, sample);
    const tookMs = this.clock.monotonicMs() - askedMs;
    // A sample that could not be read says nothing of the process; '?' is no state of the kernel's.
    const processState = sample === null ? '?' : sample.processState;
    const seen = { runState: state.answer, processState, load, portClosed, connected };
    return {
      answers: { ...seen, agent: 'absent', ioMoved: null },
      told: describe(seen, state.tookMs, tookMs),
      sample,
    };
  }

  /** Never rejects. */
  private async runState(): Promise<StateAnswer> {
    const { late } = this;
    this.late = undefined;
    if (late !== undefined) return late;
    const askedMs = this.clock.monotonicMs();
    let answer: RunState | 'silent' = 'silent';
    try {
      const silent = (): Error => new Error('silent');
      answer = await withDeadline(this.clock, this.askRunState(), witnessTimeoutMs, silent);
      this.late = undefined;
    } catch {
      // Silent, or an error instead of an answer.
    }
    return { answer, tookMs: this.clock.monotonicMs() - askedMs };
  }

  private askRunState(): Promise<RunState> {
    if (this.runStateOut !== undefined) return this.runStateOut;
    const askedMs = this.clock.monotonicMs();
    const asked = this.machine.runState();
    this.runStateOut = asked;
    const answered = (answer?: RunState): void => {
      this.runStateOut = undefined;
      // Where a round waits for it, the round takes it from here.
      if (answer !== undefined) this.late = { answer, tookMs: this.clock.monotonicMs() - askedMs };
    };
    asked.then(answered, () => answered());
    return asked;
  }
}

type Seen = Omit<Answers, 'agent' | 'ioMoved'>;

function describe(seen: Seen, stateTookMs: number, tookMs: number): WitnessAnswer[] {
  const { runState, processState, load } = seen;
  const vcpus = describeLoad(load);
  const port = seen.portClosed ? 'closed by the guest' : 'not closed by the guest';
  return [
    {
      witness: 'runState',
      answer: runState === 'silent' ? `no answer in ${witnessTimeoutMs} ms` : runState,
      tookMs: stateTookMs,
    },
    { witness: 'process', answer: processState ?? 'gone', tookMs },
    { witness: 'vcpus', answer: load?.blocked === true ? `${vcpus}, blocked by the host` : vcpus, tookMs },
    { witness: 'tickerPort', answer: seen.connected ? port : 'not connected', tookMs: 0 },
  ];
}

function describeLoad(load: Load | null): string {
  if (load === null) return 'cannot be read';
  return `ran ${percent(load.runShare)}, waited ${percent(load.delayShare)} of ${Math.round(load.overMs)} ms`;
}
