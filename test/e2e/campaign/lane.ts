/** One lane of a campaign: a service of its own, and one guest after the other in it. */
import { mkdirSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { VmEvent } from '@vmpulse/client';
import { RealService } from '../../support/real-service.ts';
import type { Goldens } from './golden.ts';
import type { FaultKind } from './kind.ts';
import { type Arrival, Subject, wallMs } from './subject.ts';

/** One lane. */
export class Lane {
  readonly service: RealService;
  readonly #goldens: Goldens;
  readonly #arrivals: Arrival[] = [];
  #lastSeq: number | null = null;
  /** Events whose number does not follow that of the one before: lost or doubled ones. */
  misnumbered = 0;
  /** How its last guest ran. */
  accelerator: 'kvm' | 'tcg' | null = null;

  private constructor(service: RealService, goldens: Goldens) {
    this.service = service;
    this.#goldens = goldens;
  }

  /** Starts a service in `directory`. */
  static async open(directory: string, goldens: Goldens): Promise<Lane> {
    mkdirSync(directory, { recursive: true });
    let service: RealService;
    try {
      service = await RealService.start({ directory });
    } catch (error) {
      endProcessesIn(directory);
      throw error;
    }
    const lane = new Lane(service, goldens);
    service.server.advise({ onEvent: (event) => lane.#hear(event) });
    return lane;
  }

  /** Sees to it that the kind's guest has booted once. */
  prepare(kind: FaultKind): Promise<void> {
    return this.#goldens.prepare(this.service, kind.profile);
  }

  isPrepared(kind: FaultKind): boolean {
    return this.#goldens.isPrepared(kind.profile);
  }

  /** A guest of the kind's profile, started a moment ago. */
  async begin(kind: FaultKind, round: number): Promise<Subject> {
    // What was heard of earlier guests is of no interest, and would grow without end.
    this.#arrivals.length = 0;
    this.service.heard.events.length = 0;
    const name = `${kind.name}-${round}`;
    const vm = await this.#goldens.start(this.service, kind.profile, name);
    this.accelerator = vm.info.accelerator;
    return new Subject(vm, this.service, this.#arrivals);
  }

  #hear(event: VmEvent): void {
    this.#arrivals.push({ event, wallMs: wallMs() });
    if (this.#lastSeq !== null && event.seq !== this.#lastSeq + 1) this.misnumbered += 1;
    this.#lastSeq = event.seq;
  }

  /** Ends whatever machines there are. */
  async clear(): Promise<void> {
    await this.service.clear();
  }

  /** Ends the service and all its machines, at once. */
  async close(): Promise<void> {
    this.service.signal('SIGCONT');
    await this.service.end('SIGKILL');
    endProcessesIn(this.service.directory);
    await this.service.dispose();
  }
}

/** Ends every process that runs in a folder or was given it: none may outlive the campaign. */
export function endProcessesIn(folder: string): void {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/u.test(name))) {
    try {
      const commandLine = readFileSync(join('/proc', pid, 'cmdline'), 'utf8');
      const inside = `${readlinkSync(join('/proc', pid, 'cwd'))}/`.startsWith(`${folder}/`);
      if (inside || commandLine.includes(`${folder}/`)) process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It has ended meanwhile, or is not ours to look at.
    }
  }
}
