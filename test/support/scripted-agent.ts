/** A guest agent that does what the test says, on the socket of its port. */
import { GuestPort } from './guest-port.ts';

/** A command as the agent got it. */
export interface AgentCommand {
  readonly execute: string;
  readonly arguments?: Record<string, unknown>;
}

/** An agent that does what the test says: what each command gives, written as it is; null writes nothing. */
export class ScriptedAgent extends GuestPort {
  readonly seen: AgentCommand[] = [];
  /** Answers to come, by command; a sync not scripted is answered as an agent does. */
  readonly script = new Map<string, (command: AgentCommand) => string | Uint8Array | null>();
  silent = false;
  #input = '';

  constructor(path: string) {
    super(path);
    this.onData = (chunk) => this.#data(chunk);
  }

  /** The commands seen, syncs left out. */
  get commands(): string[] {
    return this.seen.map((command) => command.execute).filter((name) => name !== 'guest-sync-delimited');
  }

  get syncs(): number {
    return this.seen.length - this.commands.length;
  }

  answer(execute: string, value: unknown): void {
    this.script.set(execute, () => `${JSON.stringify({ return: value })}\n`);
  }

  /** The answer to the latest sync. */
  syncAnswer(): Uint8Array {
    const sync = this.seen.findLast((command) => command.execute === 'guest-sync-delimited');
    return Buffer.from(`\xff{"return": ${String(sync?.arguments?.['id'])}}\n`, 'latin1');
  }

  #data(chunk: Buffer): void {
    this.#input += chunk.toString('latin1');
    for (let end = this.#input.indexOf('\n'); end >= 0; end = this.#input.indexOf('\n')) {
      const line = this.#input.slice(0, end);
      this.#input = this.#input.slice(end + 1);
      this.#command(
        JSON.parse(Buffer.from(line.replace('\xff', ''), 'latin1').toString()) as AgentCommand,
        line,
      );
    }
  }

  #command(command: AgentCommand, line: string): void {
    if (line.startsWith('\xff') !== (command.execute === 'guest-sync-delimited')) {
      throw new Error('a sync, and nothing else, begins with 0xFF');
    }
    this.seen.push(command);
    if (this.silent) return;
    const scripted = this.script.get(command.execute);
    const sync = command.execute === 'guest-sync-delimited' ? this.syncAnswer() : null;
    const answer = scripted === undefined ? sync : scripted(command);
    if (answer !== null) this.write(answer);
  }
}
