/**
 * One machine's watch, as the monitor and the lifecycle of machines use it. What the guest says is heard in hearing.ts,
 * what its hypervisor says happens in happening.ts, its silence is pursued in pursuit.ts, and teller.ts tells.
 */
import type { CompleteVmConfiguration, VmReference } from '@vmpulse/wire';
import type { HypervisorEvent, RunningMachine, RunState } from '../hypervisor/hypervisor.ts';
import type { WatchMemory } from '../machine-record.ts';
import type { AgentWitness, PulseListener, TickListener } from '../tick/source.ts';
import { findings } from './found.ts';
import { agentCommandTimeoutMs } from '../limits.ts';
import { Guest, type WatchHost } from './guest.ts';
import { find, happen, openBootWindow } from './happening.ts';
import { Hearing } from './hearing.ts';
import { armed, withoutSuspicion } from './phase.ts';
import { watchPolicy } from './policy.ts';
import { Pursuit } from './pursuit.ts';
import type { Stall } from './stall.ts';
import { standingVerdict } from './standing.ts';
import { Teller } from './teller.ts';
import type { Beginning, HeartbeatInfo, SuspendReason, Watch, WatchRequest } from './watch.ts';
import { Witnesses } from './witnesses.ts';

/** The watch of one machine. After `close` every call does nothing. */
export class GuestWatch implements Watch {
  readonly listener: TickListener;
  readonly pulses: PulseListener;
  private readonly guest: Guest;
  private readonly teller: Teller;
  private readonly pursuit: Pursuit;

  constructor(host: WatchHost, slot: number, request: WatchRequest) {
    this.guest = new Guest(host, slot, request);
    this.teller = new Teller(this.guest);
    const hearing = new Hearing(this.guest, this.teller);
    this.pursuit = new Pursuit(this.guest, this.teller, () => hearing.onPulse());
    this.listener = hearing;
    this.pulses = hearing;
  }

  setBacklogProbe(backlogged: () => boolean): void {
    this.guest.backlogged = backlogged;
  }

  begin(machine: RunningMachine, how: Beginning, runState: RunState, agent: AgentWitness | null): void {
    const { guest } = this;
    if (guest.released) return;
    guest.begin(new Witnesses(guest.host.clock, machine, agent));
    if (how === 'booted') this.forget();
    // Of a guest in a window, `memory` tells that it is awaited, but not that it is armed.
    else guest.armed ||= guest.awaitedBefore || guest.pace.learnedMs !== null;
    guest.awaitedBefore = false;
    const adopted = how === 'adopted' || how === 'adoptedSilent';
    guest.portOpened = how === 'adopted';
    if (guest.armed && (adopted || guest.pace.inherited)) guest.pace.recall();
    if (!adopted || this.beganAnew) guest.retelling = 'all';
    if (how === 'adoptedSilent') {
      // It ticked when it was last seen. Whoever closed the port: staying closed is no sign of death.
      if (guest.started) guest.foundClosed();
      guest.started = false;
      guest.boots.started(guest.nowMs);
    }
    guest.silence.begin(guest.intervalMs);
    guest.recallLateness();
    // An agent may still be at work for the service before.
    if (adopted && guest.source === 'agent') guest.allow(agentCommandTimeoutMs);
    this.await(how);
    if (adopted) find(guest, this.teller, runState, 'found so when the service started');
  }

  /** Reset or turned on since its stop was told, and not heard since: whatever it is found in is news. */
  private get beganAnew(): boolean {
    const { announcer, started } = this.guest;
    return announcer.isOpen('heartbeatStopped') && announcer.stopVerdict === null && !started;
  }

  /** A machine that boots from nothing: what was known of its guest is void. */
  private forget(): void {
    const { guest } = this;
    guest.announcer.forgetVerdict();
    guest.armed = false;
    guest.started = false;
    guest.source = null;
    guest.formerSource = null;
    guest.pace.forget();
    guest.forgetLateness();
    guest.boots.started(guest.nowMs);
  }

  /** Goes to where the guest left off; what was told of it is not told again. */
  private await(how: Beginning): void {
    const { guest } = this;
    const { announcer } = guest;
    // Told since it booted last, though it never ticked since. A port that is closed by now may mean another boot.
    const toldSo = announcer.stopVerdict !== null && (how === 'adopted' || guest.toldClosed);
    if (!guest.armed) guest.enter({ is: 'unarmed' });
    else if (announcer.isOpen('heartbeatStopped') && (guest.started || toldSo))
      guest.enter({ is: 'stopped' });
    else if (announcer.isOpen('additionsStopped') && !guest.hasOtherHeartbeat)
      guest.enter({ is: 'additionsStopped' });
    else if (!guest.started) {
      // Reset since its stop was told, by whom is not known any more: told again when it does not come back.
      guest.retelling = 'all';
      openBootWindow(guest, false);
    } else guest.enter(armed);
  }

  end(how: 'ended' | 'foundDead', stderr = ''): void {
    const { guest, teller } = this;
    if (guest.released) return;
    if (how === 'foundDead') {
      const exit = { exitCode: null, signal: null, stderr };
      if (this.beganAnew) guest.retelling = 'all';
      teller.stopped('exited', 'foundDead', guest.nowMs, { exit });
    }
    teller.visible();
    guest.rememberedTickWallMs = this.lastTickWallMs();
    // A saved guest goes on where it was: it need not tick first to be watched.
    if (!guest.suspensions.has('saving')) {
      guest.armed = false;
      guest.started = false;
      guest.pace.forget();
    }
    guest.suspensions.clear();
    guest.witnesses = undefined;
    guest.heard = false;
    guest.enter({ is: 'off' });
    guest.abandon();
    guest.onMemoryChanged();
  }

  hypervisorEvent(event: HypervisorEvent): void {
    if (this.guest.phase.is !== 'off') happen(this.guest, this.teller, event);
  }

  found(runState: RunState): void {
    const { guest } = this;
    if (guest.phase.is === 'off' || findings[runState].is !== 'stopped') return;
    find(guest, this.teller, runState, 'QEMU stopped the guest and says so');
  }

  suspend(reason: SuspendReason): void {
    if (!this.guest.released) this.guest.hold(reason);
  }

  unsuspend(): void {
    if (!this.guest.released) this.guest.resume(this.guest.suspensions.endOperations());
  }

  setHeld(held: boolean): void {
    const { guest } = this;
    if (guest.released) return;
    guest.setHeld(held);
    // Nobody judged its boot meanwhile: it has a boot's time from now on.
    if (!held && guest.phase.is === 'window' && guest.phase.kind === 'boot') openBootWindow(guest, true);
  }

  /** Looks at the guest; its lane is drained up to `upToMs`. Answers when to look again, or -1. */
  visit(upToMs: number): number {
    return this.pursuit.visit(upToMs);
  }

  /** The service itself stood still. */
  forgive(stall: Stall): void {
    this.guest.forgive(stall);
  }

  /** Drops what was asked and not answered: the monitor closes. */
  abandon(): void {
    this.guest.abandon();
  }

  rename(vm: VmReference): void {
    this.guest.announcer.rename(vm);
  }

  setConfiguration(configuration: CompleteVmConfiguration): void {
    const { guest } = this;
    const before = guest.intervalMs;
    guest.policy = watchPolicy(configuration);
    if (guest.phase.is === 'off') return;
    if (guest.intervalMs !== before) guest.setPace();
    // A suspicion under the old policy begins anew under the new one.
    guest.enter(withoutSuspicion(guest.phase, guest.nowMs));
  }

  info(): HeartbeatInfo {
    const { guest } = this;
    const { phase, suspensions, host, slot, nowMs } = guest;
    const observed = guest.armed && phase.is !== 'off';
    // A suspended guest misses no ticks.
    const countedTo = suspensions.any ? suspensions.startedMs : nowMs;
    const ticking = phase.is === 'armed' && nowMs <= guest.deadlineMs;
    return {
      isHeartbeating: ticking && guest.heard && !suspensions.any,
      heartbeatPercentage: observed ? host.registry.percentage(slot, countedTo) : null,
      verdict: standingVerdict(guest, ticking),
      lastTickAgoMs: observed && guest.heard ? Math.round(nowMs - guest.silence.lastTickMs) : null,
      intervalMs: observed ? guest.intervalMs : null,
      source: observed ? guest.source : null,
      additions: { version: guest.hello.version },
      stoppedSeq: guest.announcer.seqOf('heartbeatStopped'),
      hello: guest.hello,
    };
  }

  memory(): WatchMemory {
    const { guest } = this;
    return {
      // Silence does not count in a window, nor for the next service that finds the guest in one; see `begin`.
      armed: guest.armed && guest.started && guest.phase.is !== 'window',
      intervalMs: guest.pace.learnedMs,
      lastTickWallMs: this.lastTickWallMs(),
      bootMs: guest.boots.learnedMs,
      source: guest.source ?? guest.formerSource,
      awaited: guest.armed,
      additionsLost: guest.additionsLost,
      toldClosed: guest.toldClosed,
      latenessMs: guest.host.registry.latenessMs(guest.slot),
    };
  }

  close(): void {
    if (!this.guest.released) this.guest.release();
  }

  private lastTickWallMs(): number | null {
    const { guest } = this;
    if (!guest.heard) return guest.rememberedTickWallMs;
    return Math.round(guest.host.clock.wallMs() - (guest.nowMs - guest.silence.lastTickMs));
  }
}
