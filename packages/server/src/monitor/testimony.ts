/** What the witnesses of one round said, for people. */
import type { WitnessAnswer } from '@vmpulse/wire';
import { type Answers, type Load, percent } from './verdict.ts';

/** How long answers took, milliseconds. */
export interface RoundTimes {
  readonly runState: number;
  readonly agent: number;
  /** The whole round, the wait between two samples included. */
  readonly all: number;
}

const agentAnswers: Readonly<Record<Exclude<Answers['agent'], 'absent'>, string>> = {
  answered: 'answers',
  frozen: 'answers: the file systems are frozen',
  busy: 'busy with another command',
  silent: 'no answer',
};

/** Only who is there is quoted: a guest without an agent has one witness fewer. */
export function describeRound(answers: Answers, tookMs: RoundTimes): WitnessAnswer[] {
  const { runState, processState, load, agent, ioMoved, serialPanic } = answers;
  const vcpus = describeLoad(load);
  const port = answers.portClosed ? 'closed by the guest' : 'not closed by the guest';
  const told: WitnessAnswer[] = [
    {
      witness: 'runState',
      answer: runState === 'silent' ? `no answer in ${Math.round(tookMs.runState)} ms` : runState,
      tookMs: tookMs.runState,
    },
    {
      witness: 'process',
      answer: `${processState ?? 'gone'}${answers.frozen ? ', its cgroup is frozen' : ''}`,
      tookMs: tookMs.all,
    },
    {
      witness: 'vcpus',
      answer: load?.blocked === true ? `${vcpus}, blocked by the host` : vcpus,
      tookMs: tookMs.all,
    },
    { witness: 'heartbeatPort', answer: answers.connected ? port : 'not connected', tookMs: 0 },
  ];
  if (agent !== 'absent')
    told.push({ witness: 'agent', answer: describeAgent(agent, tookMs.agent), tookMs: tookMs.agent });
  if (ioMoved !== null) {
    const answer = ioMoved === 'silent' ? 'no answer' : ioMoved ? 'moves' : 'stands still';
    told.push({ witness: 'io', answer, tookMs: tookMs.all });
  }
  if (serialPanic !== null)
    told.push({ witness: 'serialLog', answer: `kernel panic: ${serialPanic}`, tookMs: tookMs.all });
  return told;
}

function describeAgent(agent: Exclude<Answers['agent'], 'absent'>, tookMs: number): string {
  return agent === 'silent' ? `${agentAnswers.silent} in ${Math.round(tookMs)} ms` : agentAnswers[agent];
}

function describeLoad(load: Load | null): string {
  if (load === null) return 'cannot be read';
  return `ran ${percent(load.runShare)}, waited ${percent(load.delayShare)} of ${Math.round(load.overMs)} ms`;
}
