/**
 * The heartbeat of a guest that has an agent and no ticker: pings, as often as the watch wants them.
 *
 * 1. One ping is out at a time, and each ends by its own deadline, after which the channel seeks sync anew.
 * 2. Pings keep their phase, which differs between machines: a thousand of them are not pinged in one millisecond.
 * 3. While no pings are wanted it looks once a second whether they are again, without a timer of its own; stopped it
 *    does nothing at all.
 * 4. An answer that comes after `stop` says nothing.
 */
import type { Clock, Timer } from '../clock.ts';
import { IdleRound } from './idle-round.ts';
import type { AgentPing, PulseListener } from './source.ts';

/** Over this long the first pings of guests that are found to want them in one look are spread. */
const wantedSpreadMs = 250;
/** A ping has at least this long: an agent is an ordinary process of its guest. */
const minPingTimeoutMs = 1_000;

/** What a pulse is made of. */
export interface AgentPulseRequest {
  readonly clock: Clock;
  /** Any text that differs between machines: the phase comes from it. */
  readonly key: string;
  readonly pulses: PulseListener;
  /** Never rejects. */
  readonly ping: (timeoutMs: number) => Promise<AgentPing>;
}

/** The pulse of one guest. It begins stopped. */
export class AgentPulse {
  readonly #request: AgentPulseRequest;
  readonly #phase: number;
  readonly #idle: IdleRound;
  readonly #idleLook = (): void => {
    // Its deadline runs already; and yet not all who go on together are pinged together.
    if (this.#request.pulses.wantedEveryMs() !== null) this.#resume(this.#phase * wantedSpreadMs);
  };
  /** Counts stops and starts, so that an answer of before one is not taken for one of after it. */
  #run = 0;
  #running = false;
  #out = false;
  #timer: Timer | null = null;
  /** When the next ping is due, monotonic ms; null while none are wanted. */
  #dueMs: number | null = null;

  constructor(request: AgentPulseRequest) {
    this.#request = request;
    this.#phase = phaseOf(request.key);
    this.#idle = IdleRound.of(request.clock);
  }

  /** From here on it pings, the first time within an interval. Idempotent. */
  start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#run += 1;
    const everyMs = this.#request.pulses.wantedEveryMs();
    if (everyMs === null) this.#rest();
    else this.#resume(this.#phase * everyMs);
  }

  /** Idempotent. */
  stop(): void {
    this.#running = false;
    this.#run += 1;
    this.#out = false;
    this.#dueMs = null;
    this.#timer?.cancel();
    this.#idle.leave(this.#idleLook);
  }

  /** The guest goes on after a pause: looks at once whether pings are wanted. */
  nudge(): void {
    const isIdle = this.#running && !this.#out && this.#dueMs === null;
    if (isIdle && this.#request.pulses.wantedEveryMs() !== null) this.#resume(0);
  }

  /** No pings are wanted. */
  #rest(): void {
    this.#dueMs = null;
    this.#timer?.cancel();
    this.#idle.join(this.#idleLook);
  }

  /** They are, the next one after `delayMs`. */
  #resume(delayMs: number): void {
    this.#idle.leave(this.#idleLook);
    this.#dueMs = this.#request.clock.monotonicMs() + delayMs;
    this.#look();
  }

  #wait(delayMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#request.clock.setTimer(() => this.#look(), Math.max(delayMs, 0));
  }

  #look(): void {
    const { clock, pulses } = this.#request;
    const nowMs = clock.monotonicMs();
    const everyMs = pulses.wantedEveryMs();
    if (everyMs === null) {
      this.#rest();
      return;
    }
    const dueMs = this.#dueMs ?? nowMs;
    if (nowMs < dueMs) {
      this.#wait(dueMs - nowMs);
      return;
    }
    // What was missed is not made up for.
    this.#dueMs = dueMs + Math.floor((nowMs - dueMs) / everyMs) * everyMs;
    void this.#ping(everyMs);
  }

  async #ping(everyMs: number): Promise<void> {
    const { ping, pulses } = this.#request;
    const run = this.#run;
    this.#out = true;
    this.#timer?.cancel();
    const { answered } = await ping(Math.max(everyMs, minPingTimeoutMs));
    if (run !== this.#run) return;
    this.#out = false;
    if (answered) pulses.onPulse();
    this.#next(everyMs);
  }

  /** The next ping is an interval after the last one was due; one that is overdue goes out at once. */
  #next(everyMs: number): void {
    const nowMs = this.#request.clock.monotonicMs();
    this.#dueMs = (this.#dueMs ?? nowMs) + everyMs;
    this.#wait(this.#dueMs - nowMs);
  }
}

/** 0 to 1, from a hash of `key` (FNV-1a, 32 bits). */
function phaseOf(key: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < key.length; at += 1) {
    hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193) >>> 0;
  }
  return hash / 2 ** 32;
}
