/** The guest agent at the end of its socket, as one life of the service asks it. */
import { VmError } from '@vmpulse/wire';
import type { AgentPing } from '../../packages/server/src/tick/source.ts';
import type { FileSystems, GuestAgentPort } from '../../packages/server/src/vm/ports.ts';
import type { SimGuest } from './guest.ts';
import type { ServiceLoop } from './loop.ts';
import type { World } from './world.ts';

/** So often a channel tries to get in sync with an agent that does not answer yet, ms. */
const resyncMs = 1_000;

function notHere(): VmError {
  return new VmError('VM_E_ADDITIONS_FEATURE_NOT_AVAIL', 'The simulated agent cannot do that.');
}

/** Answers while it runs, after a moment; what it does not answer times out. */
export class SimAgent implements GuestAgentPort {
  readonly busy = false;
  private readonly guest: SimGuest;
  private readonly loop: ServiceLoop;
  private readonly world: World;
  private closed = false;

  constructor(guest: SimGuest, loop: ServiceLoop, world: World) {
    this.guest = guest;
    this.loop = loop;
    this.world = world;
  }

  ping(timeoutMs: number): Promise<AgentPing> {
    const askedMs = this.world.nowMs;
    return this.ask<AgentPing>(
      timeoutMs,
      () => ({ answered: true, latencyMs: this.world.nowMs - askedMs }),
      (resolve) => resolve({ answered: false, reason: 'silent' }),
    );
  }

  info(): Promise<{ readonly version: string | null }> {
    return this.word({ version: '7.2.0' });
  }

  osInfo(): Promise<{ readonly prettyName: string | null }> {
    return this.word({ prettyName: 'Sim' });
  }

  hostName(): Promise<string | null> {
    return this.word(this.guest.name);
  }

  async shutdown(): Promise<void> {
    await this.word(null);
    this.guest.shutDown();
  }

  freezeStatus(timeoutMs: number): Promise<FileSystems> {
    return this.ask<FileSystems>(
      timeoutMs,
      () => (this.guest.fileSystemsFrozen ? 'frozen' : 'thawed'),
      (_resolve, reject) => reject(new VmError('VM_E_TIMED_OUT', 'late')),
    );
  }

  freeze(): Promise<number> {
    return Promise.reject(notHere());
  }

  thaw(): Promise<number> {
    return Promise.reject(notHere());
  }

  execute(): Promise<never> {
    return Promise.reject(notHere());
  }

  writeFile(): Promise<void> {
    return Promise.reject(notHere());
  }

  readFile(): Promise<Uint8Array | null> {
    return Promise.reject(notHere());
  }

  close(): void {
    this.closed = true;
  }

  private word<T>(value: T): Promise<T> {
    return this.ask<T>(
      5_000,
      () => value,
      (_resolve, reject) => reject(new VmError('VM_E_TIMED_OUT', 'late')),
    );
  }

  private ask<T>(
    timeoutMs: number,
    answer: () => T,
    late: (resolve: (value: T) => void, reject: (error: Error) => void) => void,
  ): Promise<T> {
    const { loop, world, guest } = this;
    loop.dirty = true;
    return new Promise((resolve, reject) => {
      let isOver = false;
      const timer = loop.setTimer(() => {
        isOver = true;
        late(resolve, reject);
      }, timeoutMs);
      const attempt = (): void => {
        if (isOver || this.closed || loop.killed) return;
        world.after(resyncMs, attempt);
        // What is asked of a guest that stands still lies in its port, and is answered once it runs again.
        guest.whenRunning(guest.boots, () => {
          if (isOver || this.closed || loop.killed || !guest.agentUp) return;
          isOver = true;
          const value = answer();
          loop.input(guest.agentChannel, () => {
            loop.dirty = true;
            timer.cancel();
            resolve(value);
          });
        });
      };
      world.after(world.random.between(0.3, 6), attempt);
    });
  }
}
