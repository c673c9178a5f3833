/**
 * One guest as it is: what runs in it, when it ticks, what its machine's ports hold. It knows nothing of the monitor.
 * It ticks while nothing halts it; a pause holds its clock, and it goes on where it was.
 */
import type { FakeProcess } from '../../packages/server/src/hypervisor/fake-process.ts';
import type { HypervisorEvent } from '../../packages/server/src/hypervisor/hypervisor.ts';
import type { TickListener, TickSubscription } from '../../packages/server/src/tick/source.ts';
import type { ServiceLoop } from './loop.ts';
import type { Random } from './random.ts';
import type { GuestKind } from './scenario.ts';
import { type Lot, bootByLot } from './lot.ts';
import type { World } from './world.ts';

/** Why a guest does not tick at present. */
export type Halt = 'hung' | 'host' | 'late' | 'qemu';

/** Sockets of one machine: those of different ones are read in any order. */
const channelsPerGuest = 3;

/** One guest. */
export class SimGuest {
  readonly number: number;
  readonly id: string;
  readonly name: string;
  readonly kind: GuestKind;
  readonly random: Random;
  process: FakeProcess | null = null;
  /** What its ticker runs at now. */
  intervalMs: number;
  /** Ticks sent since it booted. */
  sent = 0;
  /** When it sent the last one since it booted; null before the first. */
  lastSentMs: number | null = null;
  /** When it last sent one at all. */
  lastEverMs: number | null = null;
  /** Greatest lateness of a tick since it booted. */
  greatestLateMs = 0;
  /** Of them, those that a service was there to hear. */
  heard = 0;
  /** A service heard the hello of its ticker. */
  helloHeard = false;
  /** Ticks sent since something last disturbed its rhythm. */
  steadyTicks = 0;
  /** The ticker's process runs. */
  ticking = false;
  /** The agent's process runs. */
  agentUp = false;
  /** A backup froze its file systems. */
  fileSystemsFrozen = false;
  /** Since when it ticks without a break; null while it does not. */
  tickingSinceMs: number | null = null;
  /** It writes its own crash dump, and the service knows. */
  dumping = false;
  /** How it takes what is done about it; null: it comes back. */
  lot: Lot | null = null;
  /** More input lies on its port than is read in a turn. */
  flooding = false;
  /** A stop was told of it, and not taken back; the oracle's. */
  isTold = false;
  /** Something happens to it at present. */
  engaged = false;
  trace: ((text: string) => void) | null = null;
  private readonly world: World;
  readonly halts: Set<Halt> = new Set();
  private loop: ServiceLoop | null = null;
  private listener: TickListener | null = null;
  private seq = 0;
  private upSinceMs = 0;
  private dueMs = Number.POSITIVE_INFINITY;
  /** What was left of the present interval when it was halted. */
  private leftMs = 0;
  boots = 0;
  /** QEMU held it since its last tick: the gap is no lateness. */
  private wasHeld = false;

  constructor(world: World, random: Random, number: number, kind: GuestKind) {
    this.world = world;
    this.random = random;
    this.number = number;
    this.kind = kind;
    this.intervalMs = kind.intervalMs;
    this.name = `guest-${number}`;
    this.id = `00000000-0000-4000-8000-${number.toString(16).padStart(12, '0')}`;
  }

  get tickChannel(): number {
    return this.number * channelsPerGuest;
  }

  get qmpChannel(): number {
    return this.number * channelsPerGuest + 1;
  }

  get agentChannel(): number {
    return this.number * channelsPerGuest + 2;
  }

  /** Its processor runs and nothing keeps it from running. */
  get runs(): boolean {
    return this.halts.size === 0 && this.process?.end === null;
  }

  /** A process was made for it: it boots when QEMU lets it run. */
  attach(process: FakeProcess): void {
    if (this.process === process) return;
    this.process = process;
    this.halts.clear();
    this.halts.add('qemu');
    this.stopTicker();
    this.agentUp = false;
    const emit = process.emit.bind(process);
    let booted = false;
    process.emit = (event) => {
      emit(event);
      if (this.process !== process) return;
      if (event.kind === 'resumed' && !booted) {
        booted = true;
        this.unhalt('qemu');
        if (this.restored) this.wakeRestored();
        else bootByLot(this, this.world, 'start');
        return;
      }
      this.happened(event.kind);
    };
  }

  /** It is started from its saved state. */
  restored = false;
  private savedTicker = false;
  private savedAgent = false;

  private wakeRestored(): void {
    this.restored = false;
    this.ticking = this.savedTicker;
    this.agentUp = this.savedAgent;
    this.steadyTicks = 0;
    if (this.ticking) {
      this.process?.setPort('heartbeat', true);
      this.lay(this.world.nowMs + this.leftMs);
    }
    if (this.agentUp) this.process?.setPort('agent', true);
  }

  /** Its state is on disk now; what ran in it goes on when it is restored. */
  noteSaved(): void {
    this.restored = true;
    this.savedTicker = this.ticking;
    this.savedAgent = this.agentUp;
  }

  /** It boots: the ticker is up after `bootMs`; Infinity: it never comes up. */
  boot(bootMs: number = this.kind.bootMs * this.random.between(0.8, 1.2)): void {
    this.stopTicker();
    this.agentUp = false;
    this.restored = false;
    this.sent = 0;
    this.heard = 0;
    this.lastSentMs = null;
    this.greatestLateMs = 0;
    this.boots += 1;
    this.upSinceMs = this.world.nowMs;
    const boot = this.boots;
    this.process?.writeSerial('[    0.000000] Linux version 6.1.0-sim (gcc) #1 SMP\n');
    this.trace?.(`boots, ${Math.round(bootMs)} ms`);
    this.process?.setLoad({ run: 0.5, runDelay: 0 });
    this.process?.setIoRate({});
    if (!Number.isFinite(bootMs)) return;
    this.world.after(bootMs, () => {
      this.whenRunning(boot, () => {
        this.idle();
        if (this.kind.agent) this.startAgent();
        if (this.kind.ticker) this.startTicker();
      });
    });
  }

  /** The ticker starts, and says hello. */
  startTicker(): void {
    this.ticking = true;
    this.seq = 0;
    this.steadyTicks = 0;
    this.trace?.('ticker starts');
    this.process?.setPort('heartbeat', true);
    this.helloHeard = false;
    this.say((listener) => {
      this.helloHeard = true;
      listener.onHello({
        protocol: 1,
        version: '1.0.0',
        intervalMs: this.intervalMs,
        os: 'Sim',
        host: this.name,
      });
    });
    this.lay(this.world.nowMs + this.random.between(0.1, 5));
  }

  /** The ticker is gone, and nobody says so. */
  stopTicker(): void {
    this.ticking = false;
    this.tickingSinceMs = null;
    this.world.ticks.remove(this.number);
    this.dueMs = Number.POSITIVE_INFINITY;
  }

  /** Its port is read to the end again: the ticks that lay behind all else come last. */
  endFlood(): void {
    // To whoever reads it, its next tick is as late as the flood was long.
    this.greatestLateMs = Number.POSITIVE_INFINITY;
    const { uptimeMs } = this;
    this.say((listener) => {
      listener.onTick(this.seq, uptimeMs);
      this.flooding = false;
    });
    this.seq += 1;
    if (this.loop === null || this.listener === null) this.flooding = false;
  }

  /** The ticker's process stands still, its port open: SIGSTOP, a blocked write. */
  holdTicker(): void {
    this.ticking = false;
    this.tickingSinceMs = null;
    this.steadyTicks = 0;
    this.world.ticks.remove(this.number);
  }

  /** It goes on where it stood. */
  releaseTicker(): void {
    this.ticking = true;
    if (this.runs) this.lay(Math.max(this.world.nowMs + 0.5, this.dueMs));
  }

  /** The host has no time for it; then it needs up to `thawMs` to get going. */
  stand(lengthMs: number, thawMs: number): void {
    if (this.halts.has('host')) return;
    this.halt('host');
    this.world.after(lengthMs + this.random.between(0.5, thawMs), () => this.unhalt('host'));
  }

  /** The guest's own clock jumps. */
  jumpClock(ms: number): void {
    this.upSinceMs -= ms;
  }

  startAgent(): void {
    this.agentUp = true;
    this.process?.setPort('agent', true);
  }

  /** It shuts itself down in order: the ticker says bye, and a moment later it is off. */
  shutDown(): void {
    const { boots } = this;
    this.say((listener) => listener.onBye('shutdown'));
    this.stopTicker();
    this.process?.setPort('heartbeat', false);
    const end = (): void => {
      if (boots !== this.boots || this.process?.end !== null) return;
      if (this.runs) this.process.guestShutdown();
      // It goes on shutting down once it runs again.
      else this.world.after(200, end);
    };
    this.world.after(this.random.between(200, 3_000), end);
  }

  /** What an idle guest does. */
  idle(): void {
    this.process?.setLoad({ run: 0.02, runDelay: 0 });
    this.process?.setIoRate({});
  }

  /** The ticker says something else than a tick. */
  say(what: (listener: TickListener) => void): void {
    const { loop, listener } = this;
    if (loop === null || listener === null) return;
    loop.input(this.tickChannel, () => {
      loop.dirty = true;
      what(listener);
    });
  }

  /** From now on it does not run, for this reason. */
  halt(reason: Halt): void {
    if (this.halts.size === 0 && this.ticking) {
      this.leftMs = Math.max(0, this.dueMs - this.world.nowMs);
      this.world.ticks.remove(this.number);
    }
    this.halts.add(reason);
    this.steadyTicks = 0;
    this.tickingSinceMs = null;
    if (reason === 'qemu') this.wasHeld = true;
  }

  /** That reason is gone; it goes on when it was the last. */
  unhalt(reason: Halt): void {
    if (!this.halts.delete(reason) || this.halts.size > 0) return;
    this.steadyTicks = 0;
    if (!this.ticking) return;
    const { nowMs } = this.world;
    // What was busy finds its timer due; what stood still has the rest of it before it.
    this.lay(
      reason === 'late' || reason === 'host' ? Math.max(nowMs + 0.5, this.dueMs) : nowMs + this.leftMs,
    );
  }

  /** Its next tick comes this much later than it would. */
  delayTick(ms: number): void {
    if (this.ticking && this.runs) this.lay(this.dueMs + ms);
  }

  /** When its next tick is due, if it runs. */
  get nextDueMs(): number {
    return this.dueMs;
  }

  /** The world says that its tick is due. */
  fire(): void {
    const { nowMs } = this.world;
    const { loop, listener } = this;
    const jitter = this.random.share() * this.kind.jitterMs;
    if (this.lastSentMs !== null && !this.wasHeld) {
      const late = nowMs - this.lastSentMs - this.intervalMs;
      if (late > this.greatestLateMs) this.greatestLateMs = late;
    }
    this.wasHeld = false;
    this.lastSentMs = nowMs;
    this.lastEverMs = nowMs;
    if (!this.flooding) this.tickingSinceMs ??= nowMs;
    this.sent += 1;
    this.steadyTicks += 1;
    if (loop !== null && listener !== null && !this.flooding) {
      this.heard += 1;
      loop.tick(this.tickChannel, listener, this.seq, this.uptimeMs);
    }
    this.seq += 1;
    this.lay(nowMs + this.intervalMs * (1 + this.kind.drift) + jitter);
  }

  /** By its own clock. */
  private get uptimeMs(): number {
    return Math.round((this.world.nowMs - this.upSinceMs) / (1 + this.kind.drift));
  }

  /** A service listens on its tick port. */
  connect(loop: ServiceLoop, listener: TickListener): TickSubscription {
    let open = true;
    this.world.after(this.random.between(0.1, 2), () => {
      if (!open || loop.killed || this.process?.end !== null) return;
      this.loop = loop;
      this.listener = listener;
      loop.input(this.tickChannel, () => {
        if (open) listener.onConnection(true);
        loop.dirty = true;
      });
    });
    return {
      close: () => {
        open = false;
        if (this.listener === listener) this.listener = null;
      },
      backlogged: () => this.flooding,
    };
  }

  /** The service is gone: nobody reads its port. */
  disconnect(): void {
    this.flooding = false;
    this.loop = null;
    this.listener = null;
  }

  private lay(atMs: number): void {
    this.dueMs = atMs;
    this.world.ticks.set(this.number, atMs);
  }

  /** Does it once it runs, if that is still the same boot. */
  whenRunning(boot: number, work: () => void): void {
    if (boot !== this.boots || this.process?.end !== null) return;
    if (this.runs) work();
    else this.world.after(50, () => this.whenRunning(boot, work));
  }

  /** What its QEMU tells, as it concerns the guest. */
  private happened(kind: HypervisorEvent['kind']): void {
    if (kind === 'stopped' || kind === 'suspended') this.halt('qemu');
    else if (kind === 'resumed' || kind === 'wakeup') this.unhalt('qemu');
    else if (kind === 'reset') {
      for (const halt of this.halts) if (halt !== 'qemu') this.halts.delete(halt);
      this.dumping = false;
      bootByLot(this, this.world, 'reset');
    } else if (kind === 'exited') {
      this.stopTicker();
      this.agentUp = false;
      const { loop, listener } = this;
      loop?.input(this.tickChannel, () => listener?.onConnection(false));
      this.disconnect();
    }
    this.trace?.(`qemu: ${kind}`);
  }
}
