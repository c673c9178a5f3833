import { describe, expect, test } from 'vitest';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { ScriptedAgentWitness } from '../../../../test/support/watched-guest.ts';
import { watchedGuests } from '../../../../test/support/watched-guests.ts';
import type { AgentPing } from '../tick/source.ts';
import { AgentQuestion } from './agent-question.ts';

const guest = watchedGuests();

/** Answers a ping so long after it was put; a hung one never does. */
class SlowAgent extends ScriptedAgentWitness {
  answersAfterMs = 0;
  readonly lasted: number[] = [];
  readonly #clock: SimulatedClock;

  constructor(clock: SimulatedClock) {
    super();
    this.#clock = clock;
  }

  override ping(timeoutMs?: number): Promise<AgentPing> {
    const lastsMs = timeoutMs ?? 0;
    this.pings += 1;
    this.lasted.push(lastsMs);
    const answered = this.answersAfterMs < lastsMs;
    return new Promise((resolve) => {
      this.#clock.setTimer(
        () =>
          resolve(
            answered
              ? { answered, latencyMs: this.answersAfterMs }
              : { answered, reason: this.busy ? 'busy' : 'silent' },
          ),
        Math.min(this.answersAfterMs, lastsMs),
      );
    });
  }
}

function asked(): { clock: SimulatedClock; agent: SlowAgent; question: AgentQuestion } {
  const clock = new SimulatedClock();
  const agent = new SlowAgent(clock);
  return { clock, agent, question: new AgentQuestion(clock, agent) };
}

describe('a ping that outlasts its round', () => {
  test('is the one the next round waits for, and is told with all the time it took', async () => {
    const { clock, agent, question } = asked();
    agent.answersAfterMs = 70;
    const first = question.ask(50, 100, false);
    await clock.advanceAsync(50);
    expect(await first).toEqual({ answer: 'silent', tookMs: 50 });
    const second = question.ask(50, 100, false);
    await clock.advanceAsync(20);
    expect(await second).toEqual({ answer: 'answered', tookMs: 70 });
    expect(agent.pings).toBe(1);
  });

  test('ends the wait of the next round by its own end', async () => {
    const { clock, agent, question } = asked();
    agent.answersAfterMs = Number.POSITIVE_INFINITY;
    question.put(100);
    await clock.advanceAsync(80);
    const round = question.ask(50, 100, false);
    await clock.advanceAsync(20);
    expect(await round).toEqual({ answer: 'silent', tookMs: 100 });
    void question.ask(50, 100, false);
    expect(agent.pings).toBe(2);
  });

  test('that was answered before a round is put again by it', async () => {
    const { clock, agent, question } = asked();
    agent.answersAfterMs = 10;
    question.put(100);
    await clock.advanceAsync(20);
    agent.answersAfterMs = Number.POSITIVE_INFINITY;
    const round = question.ask(50, 100, false);
    await clock.advanceAsync(50);
    expect(await round).toEqual({ answer: 'silent', tookMs: 50 });
  });

  test('is not put to an agent that is not there, unless it is expected', async () => {
    const { clock, agent, question } = asked();
    agent.present = false;
    question.put(100);
    expect(await question.ask(50, 100, false)).toEqual({ answer: 'absent', tookMs: 0 });
    expect(agent.pings).toBe(0);
    const round = question.ask(50, 100, true);
    await clock.advanceAsync(1);
    expect((await round).answer).toBe('answered');
  });
});

describe('a fast ticker with an agent', () => {
  async function live(answersAfterMs: number) {
    const it = guest();
    it.intervalMs = 100;
    const agent = new SlowAgent(it.clock);
    it.agent = agent;
    await it.live();
    it.process.setLoad({ run: 0.003, runDelay: 0 });
    agent.answersAfterMs = answersAfterMs;
    return { it, agent };
  }

  test('that hangs with it is told 240 ms after its last tick', async () => {
    const { it } = await live(Number.POSITIVE_INFINITY);
    // The last tick was an interval ago.
    await it.pass(140);
    expect(it.told).toEqual(['heartbeatStarted', 'heartbeatStopped']);
    expect(it.dataOf(1)).toMatchObject({ verdict: 'hung' });
  });

  test('that is late is not hung, though its agent takes 90 ms to answer', async () => {
    const { it } = await live(90);
    await it.pass(600);
    expect(it.told).not.toContain('heartbeatStopped');
  });

  test('that ticks in time has no agent asked', async () => {
    const { it, agent } = await live(0);
    await it.beat(20);
    expect(agent.pings).toBe(0);
  });
});
