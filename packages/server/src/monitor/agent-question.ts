/**
 * Asks a guest's agent whether it lives. A ping may outlast the round that waits for it: the next round then waits for
 * the same one. Rounds that follow each other closely need not put it anew, and an agent that is slow is heard.
 */
import { type Clock, withDeadline } from '../clock.ts';
import { witnessTimeoutMs } from '../limits.ts';
import type { AgentPing, AgentWitness } from '../tick/source.ts';
import type { Timed } from './late-answer.ts';
import type { Answers } from './verdict.ts';

interface Ping {
  readonly askedMs: number;
  readonly answer: Promise<AgentPing>;
}

/** See the head of this file. */
export class AgentQuestion {
  private readonly clock: Clock;
  private readonly agent: AgentWitness | null;
  private out: Ping | undefined;

  constructor(clock: Clock, agent: AgentWitness | null) {
    this.clock = clock;
    this.agent = agent;
  }

  /** Puts a ping that is given up after `lastsMs`, unless one is out or there is no agent to put it to. */
  put(lastsMs: number): void {
    if (this.agent?.present === true) this.ping(this.agent, lastsMs);
  }

  /**
   * Waits `timeoutMs` at most for the ping that is out, or for one that it puts, which lasts `lastsMs`. `expected`: put
   * also to an agent that has not answered yet. Times are told since the ping was put. Never rejects.
   */
  async ask(timeoutMs: number, lastsMs: number, expected: boolean): Promise<Timed<Answers['agent']>> {
    const { agent, clock } = this;
    if (agent === null || (!agent.present && !expected)) return { answer: 'absent', tookMs: 0 };
    const ping = this.ping(agent, lastsMs);
    const answer = await this.waitFor(ping, timeoutMs);
    const tookMs = clock.monotonicMs() - ping.askedMs;
    if (!answer.answered) return { answer: answer.reason === 'busy' ? 'busy' : 'silent', tookMs };
    const leftMs = Math.max(witnessTimeoutMs, timeoutMs - tookMs);
    const frozen = (await agent.fileSystems(leftMs)) === 'frozen';
    return { answer: frozen ? 'frozen' : 'answered', tookMs: clock.monotonicMs() - ping.askedMs };
  }

  private ping(agent: AgentWitness, lastsMs: number): Ping {
    if (this.out !== undefined) return this.out;
    const answer = agent.ping(lastsMs);
    const ping = { askedMs: this.clock.monotonicMs(), answer };
    this.out = ping;
    const over = (): void => {
      this.out = undefined;
    };
    answer.then(over, over);
    return ping;
  }

  private async waitFor({ answer }: Ping, timeoutMs: number): Promise<AgentPing> {
    try {
      return await withDeadline(this.clock, answer, timeoutMs, () => new Error('not yet'));
    } catch {
      return { answered: false, reason: 'silent' };
    }
  }
}
