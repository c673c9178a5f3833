/** The demo's screen: events as they come, and below them a table of the guests that is drawn anew each second. */
import type { VirtualMachine, VmEvent } from '@vmpulse/client';
import { eventLine } from './event-sentence.ts';

/** Where a terminal draws; process.stdout is one. */
type Terminal = Pick<NodeJS.WriteStream, 'write' | 'isTTY' | 'columns'>;

/** Draws to a terminal; to anything else only what is new, a line each. */
export class LiveScreen {
  readonly #out: Terminal;
  /** Lines of the table on the screen, which the next drawing replaces. */
  #drawn = 0;
  #last = '';

  constructor(out: Terminal) {
    this.#out = out;
  }

  /** Text above the table. */
  say(text: string): void {
    this.#clear();
    this.#out.write(`${text}\n`);
    if (this.#last !== '' && this.#out.isTTY) this.#draw(this.#last);
  }

  event(event: VmEvent): void {
    this.say(eventLine(event));
  }

  /** The guests as they are now. Where nothing can be redrawn, only a changed state or verdict is worth a line. */
  table(machines: readonly VirtualMachine[]): void {
    const rows = machines.map((machine) => row(machine));
    const text = [row0, ...rows.map(({ full }) => full)].join('\n');
    if (this.#out.isTTY) {
      this.#clear();
      this.#draw(text);
      this.#last = text;
      return;
    }
    const plain = rows.map(({ brief }) => brief).join('  ');
    if (plain !== this.#last) this.#out.write(`${plain}\n`);
    this.#last = plain;
  }

  /** Leaves the table where it is. */
  close(): void {
    this.#drawn = 0;
  }

  #draw(text: string): void {
    const width = Math.max(20, (this.#out.columns ?? 80) - 1);
    const lines = text.split('\n').map((line) => line.slice(0, width));
    this.#out.write(`${lines.join('\n')}\n`);
    this.#drawn = lines.length;
  }

  #clear(): void {
    if (this.#drawn > 0) this.#out.write(`\u001B[${this.#drawn}A\u001B[0J`);
    this.#drawn = 0;
  }
}

const row0 = `${'machine'.padEnd(10)}${'state'.padEnd(14)}${'heart'.padEnd(16)}${'ticks'.padEnd(7)}last tick`;

function row(machine: VirtualMachine): { full: string; brief: string } {
  const { name, state, info } = machine;
  const { guest } = info;
  const percentage = guest.heartbeatPercentage === null ? '-' : `${guest.heartbeatPercentage} %`;
  const last = guest.lastTickAgoMs === null ? '-' : `${(guest.lastTickAgoMs / 1_000).toFixed(1)} s ago`;
  const heart = state === 'running' && guest.verdict === 'notObserved' ? 'booting' : guest.verdict;
  return {
    full: `${name.padEnd(10)}${state.padEnd(14)}${heart.padEnd(16)}${percentage.padEnd(7)}${last}`,
    brief: `[${name} ${state} ${heart}]`,
  };
}
