/** What the guest's ticker says, and what that means for its watch. */
import type { ByeReason, Hello, PulseListener, TickListener } from '../tick/source.ts';
import { coldMarginMs, shutdownWindowMs } from './deadline.ts';
import type { Guest } from './guest.ts';
import { armed } from './phase.ts';
import { attentive } from './registry.ts';
import type { Teller } from './teller.ts';

/** A guest agent often starts before the ticker does; it is the heartbeat when no ticker was heard for this long. */
const tickerHeadStartMs = 10_000;

/** One guest's ears. */
export class Hearing implements TickListener, PulseListener {
  private readonly guest: Guest;
  private readonly teller: Teller;

  constructor(guest: Guest, teller: Teller) {
    this.guest = guest;
    this.teller = teller;
  }

  onTick(seq: number, uptimeMs: number): void {
    const { guest } = this;
    if (guest.phase.is === 'off' || !guest.trust.trusted) return;
    if (!guest.host.registry.tick(guest.slot, guest.nowMs)) return;
    const taken = guest.source !== 'ticker';
    guest.source = 'ticker';
    guest.unconnectedSinceMs = null;
    guest.tickerSpoke();
    if (guest.pace.measure(seq, uptimeMs) || taken) guest.setPace();
    this.onAwaitedTick();
  }

  onHello(hello: Hello): void {
    const { guest } = this;
    if (guest.phase.is === 'off' || !guest.trust.trusted) return;
    guest.unconnectedSinceMs = null;
    guest.tickerSpoke();
    guest.hello = { version: hello.version, osName: hello.os, computerName: hello.host };
    guest.pace.hear(hello);
    guest.setPace();
    const { phase } = guest;
    if (phase.is !== 'armed' && phase.is !== 'suspected' && phase.is !== 'window') return;
    // It crashed all the same: what speaks may be the kernel that writes the dump.
    if (phase.is === 'window' && phase.kind === 'dump') return;
    // A ticker that begins anew after its bye: the shutdown was called off.
    if (phase.is === 'window' && phase.kind === 'shutdown') {
      guest.enter(guest.started ? armed : { ...phase, kind: 'boot' });
      guest.onMemoryChanged();
    }
    // It lives; its first tick has an interval's time, whenever the last one was.
    guest.reprieve(guest.intervalMs + coldMarginMs);
  }

  onBye(reason: ByeReason): void {
    const { guest } = this;
    const { phase, nowMs } = guest;
    if (!guest.trust.trusted) return;
    const booting = phase.is === 'window' && phase.kind === 'boot';
    if (phase.is !== 'armed' && phase.is !== 'suspected' && !booting) return;
    if (reason === 'stop') {
      guest.tickerGone = 'bye';
      // One that ticks on takes it back.
      guest.host.registry.set(guest.slot, attentive, true);
    }
    // A boot keeps its own window: saying bye again and again does not put its end off.
    if (reason !== 'stop' && !booting) {
      guest.enter({ is: 'window', kind: 'shutdown', openedMs: nowMs, untilMs: nowMs + shutdownWindowMs });
      guest.onMemoryChanged();
    }
  }

  onRejected(bytes: number): void {
    this.guest.host.observer.rejected(bytes);
  }

  onConnection(connected: boolean): void {
    const { guest } = this;
    const { phase, nowMs } = guest;
    if (phase.is === 'off') return;
    if (!connected) {
      guest.unconnectedSinceMs ??= nowMs;
    } else if (guest.unconnectedSinceMs !== null) {
      // What it could not be heard to say does not count, and it has time to say it now.
      guest.silence.excuse(nowMs - guest.unconnectedSinceMs);
      guest.unconnectedSinceMs = null;
      guest.recallLateness();
      guest.reprieve(coldMarginMs);
    }
  }

  wantedEveryMs(): number | null {
    const { guest } = this;
    const { phase, source, suspensions } = guest;
    if (phase.is === 'off' || suspensions.any) return null;
    // Of a ticker that stopped the agent takes the place: the guest goes on being watched.
    return source === 'ticker' && phase.is !== 'additionsStopped' ? null : guest.pingEveryMs;
  }

  onPulse(): void {
    const { guest } = this;
    const { phase, nowMs, host, slot } = guest;
    if (this.wantedEveryMs() === null) return;
    if (guest.source !== 'agent') {
      guest.agentAloneSinceMs ??= nowMs;
      if (phase.is !== 'additionsStopped' && nowMs - guest.agentAloneSinceMs < tickerHeadStartMs) return;
      guest.source = 'agent';
      guest.setPace();
    }
    host.registry.tick(slot, nowMs);
    this.onAwaitedTick();
  }

  /** A tick that ends something. */
  private onAwaitedTick(): void {
    const { guest } = this;
    const { phase } = guest;
    // The last ticks before a shutdown or dump; a ticker that goes on after all says hello first.
    if (phase.is === 'window' && phase.kind !== 'boot') return;
    const first = !guest.started;
    guest.boots.ticked(guest.nowMs);
    guest.heard = true;
    guest.armed = true;
    guest.started = true;
    this.teller.ticking(first);
    guest.enter(armed);
    if (first) guest.onMemoryChanged();
  }
}
