/**
 * The process of a scripted machine, and what a test can make happen to it. It behaves as QEMU does with
 * `-action panic=pause,shutdown=pause`: events come in QEMU's order and the run state follows them.
 */
import type { CompleteVmConfiguration } from '@vmpulse/wire';
import type { Clock, Timer } from '../clock.ts';
import { maxSerialTailBytes } from '../limits.ts';
import { FakeCounters, type FakeCounts, type FakeIoRate } from './fake-counters.ts';
import { EventBuffer } from './event-buffer.ts';
import type {
  GuestPorts,
  HypervisorEvent,
  IoCounters,
  ProcessRecord,
  ProcessSample,
  RunState,
} from './hypervisor.ts';

/** An event as a script gives it: the time of receipt is added. */
type Untimed<E> = E extends unknown ? Omit<E, 'atMs'> : never;

/** Share of time, 0 to 1, that every vCPU thread runs, and waits for a processor though it could run. */
export interface FakeLoad {
  readonly run: number;
  readonly runDelay: number;
}

/** How a process ended. */
export interface FakeEnd {
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly stderr: string;
}

/** A machine's process in the fake host. It lives on when the hypervisor that started it is thrown away. */
export class FakeProcess {
  readonly record: ProcessRecord;
  readonly configuration: CompleteVmConfiguration;
  /** What the guest wrote to its serial port since its last reset. A reset clears it; see also serialTail(). */
  serial = '';
  readonly #clock: Clock;
  #runState: RunState = 'preparing';
  #end: FakeEnd | null = null;
  #hung = false;
  #processState = 'S';
  #events: EventBuffer | null = null;
  #load: FakeLoad = { run: 0.02, runDelay: 0 };
  #accruedAtMs: number;
  #runNs = 0;
  #runDelayNs = 0;
  #sample: ProcessSample | null = null;
  #lossTimer: Timer | undefined;
  #lossTold = false;
  #frozen = false;
  readonly #counters: FakeCounters;
  #adopted = false;
  #migrated = false;
  #guestPorts: GuestPorts | null = null;

  constructor(clock: Clock, record: ProcessRecord, configuration: CompleteVmConfiguration) {
    this.#clock = clock;
    this.record = record;
    this.configuration = configuration;
    this.#accruedAtMs = clock.monotonicMs();
    this.#counters = new FakeCounters(configuration);
  }

  /** Which of its ports the guest holds open; null while the test said nothing of them. */
  get guestPorts(): GuestPorts | null {
    return this.#guestPorts;
  }

  get runState(): RunState {
    return this.#runState;
  }

  /** How it ended, or null while it lives. */
  get end(): FakeEnd | null {
    return this.#end;
  }

  /** True while its monitor does not answer. */
  get hung(): boolean {
    return this.#hung;
  }

  /**
   * A service attaches: it gets the events from now on; whoever was attached before gets none any more. One that
   * adopted the process is not its parent, and is not told how it ended.
   */
  attach(adopted: boolean): EventBuffer {
    this.#adopted = adopted;
    if (adopted) this.serial = '';
    this.#events?.close();
    this.#events = new EventBuffer();
    this.#lossTold = false;
    if (adopted && this.#hung) this.#tellLoss();
    return this.#events;
  }

  /** Changes the run state without an event. */
  setRunState(state: RunState): void {
    this.#accrue();
    this.#runState = state;
    if (state === 'running') this.#migrated = false;
  }

  /** Emits any event as it is; nothing else changes. Silent once the process ended or while it hangs. */
  emit(event: Untimed<HypervisorEvent>): void {
    if (this.#end !== null || (this.#hung && event.kind !== 'connectionLost')) return;
    this.#events?.emit({ atMs: this.#clock.monotonicMs(), ...event });
  }

  /** The guest's kernel panics; QEMU holds it. */
  panic(detail: string | null = null): void {
    this.#stopIn('panicked', { kind: 'panicked', action: 'pause', detail });
  }

  /** The guest's kernel panics and writes its own dump: it runs on. */
  crashLoad(): void {
    this.emit({ kind: 'crashLoaded' });
  }

  /** The guest powers itself off; QEMU holds it in `shutdown`. */
  guestShutdown(): void {
    this.#stopIn('shutdown', { kind: 'shutdown', byGuest: true, reason: 'guest-shutdown' });
  }

  /** The guest resets itself: a reboot, or a triple fault where the hypervisor cannot know it for one. */
  guestReset(): void {
    this.#boot({ kind: 'reset', byGuest: true, reason: 'guest-reset' });
  }

  /** A vCPU meets a triple fault, which QEMU tells and answers with a reset. */
  tripleFault(): void {
    this.emit({ kind: 'tripleFault' });
    this.guestReset();
  }

  /** QEMU resets the machine because it was told to. */
  hostReset(): void {
    this.#boot({ kind: 'reset', byGuest: false, reason: 'host-qmp-system-reset' });
  }

  /** The guest hibernates (S4): its state is on its own disk, it powers itself off, and QEMU holds it in `shutdown`. */
  hibernate(): void {
    this.emit({ kind: 'hibernated' });
    this.guestShutdown();
  }

  /**
   * A migration that an operator began by QMP of his own completes: the guest runs on elsewhere, and QEMU holds what it
   * left. When the process ends after that (kill, exit, quit), `exited` says that it was migrated, unless the guest
   * was let run here again. One that fails at its very end is `stopped` and `resumed`, emitted as they are.
   */
  migrateAway(): void {
    const ran = this.#runState === 'running';
    this.setRunState('paused');
    this.#migrated = true;
    if (ran) this.emit({ kind: 'stopped' });
  }

  /** The watchdog device was not fed. */
  fireWatchdog(action: 'reset' | 'pause' | 'none'): void {
    if (action === 'pause') this.#stopIn('watchdog', { kind: 'watchdog', action });
    else this.emit({ kind: 'watchdog', action });
    if (action === 'reset') this.guestReset();
  }

  /** A disk fails; with `stop` QEMU holds the guest. */
  failDisk(device: string, action: 'report' | 'ignore' | 'stop'): void {
    if (action === 'stop') this.#stopIn('ioError', { kind: 'ioError', device, action });
    else this.emit({ kind: 'ioError', device, action });
  }

  /** The guest opens or closes one of its ports. */
  setPort(port: 'heartbeat' | 'agent', open: boolean): void {
    this.#guestPorts = { ...(this.#guestPorts ?? { heartbeat: false, agent: false }), [port]: open };
    this.emit({ kind: 'port', port, open });
  }

  /** The guest goes to sleep (S3). */
  suspend(): void {
    this.setRunState('suspended');
    this.emit({ kind: 'suspended' });
  }

  /** The guest wakes. */
  wake(): void {
    this.setRunState('running');
    this.emit({ kind: 'wakeup' });
  }

  /** The process is ended by a signal from outside. */
  kill(signal = 'SIGKILL', stderr = ''): void {
    this.finish({ exitCode: null, signal, stderr });
  }

  /** The process ends by itself. */
  exit(exitCode: number, stderr = ''): void {
    this.finish({ exitCode, signal: null, stderr });
  }

  /** The process is gone; `exited` is told once. */
  finish(end: FakeEnd): void {
    if (this.#end !== null) return;
    this.#accrue();
    this.#lossTimer?.cancel();
    this.#hung = false;
    const unknown = { exitCode: null, signal: null };
    const migrated = this.#migrated ? { migrated: true as const } : {};
    this.emit({ kind: 'exited', ...end, ...(this.#adopted ? unknown : {}), ...migrated });
    this.#end = end;
  }

  /**
   * Its monitor stops answering: commands time out, events stay away, `connectionLost` follows after `noticeMs`.
   * `processState` is what /proc shows: T for a stopped process, D for one blocked by the host, S for a stuck one.
   */
  hang(options: { processState?: string; noticeMs?: number } = {}): void {
    this.#accrue();
    this.#hung = true;
    this.#processState = options.processState ?? 'T';
    this.#lossTimer?.cancel();
    this.#lossTimer = this.#clock.setTimer(() => {
      this.#tellLoss();
    }, options.noticeMs ?? 2_000);
  }

  /** It answers again; what the guest did meanwhile is for the script to emit. */
  unhang(): void {
    this.#accrue();
    this.#lossTimer?.cancel();
    this.#hung = false;
    this.#processState = 'S';
    if (this.#lossTold) this.emit({ kind: 'connectionRegained', runState: this.#runState });
    this.#lossTold = false;
  }

  /** What its vCPU threads do from now on. */
  setLoad(load: FakeLoad): void {
    this.#accrue();
    this.#load = load;
  }

  /** Whether the host froze its cgroup: no thread runs, its monitor does not answer, its state shows nothing. */
  setFrozen(frozen: boolean): void {
    this.#accrue();
    this.#frozen = frozen;
    if (frozen) this.hang({ processState: 'S' });
    else this.unhang();
  }

  /** What the guest's devices have done so far; null where the machine has none of the kind. Rates count on from it. */
  setCounters(counts: FakeCounts): void {
    this.#accrue();
    this.#counters.set(counts);
  }

  /** What the guest's devices do from now on, whenever it runs. A device that is named is there from now on. */
  setIoRate(rate: FakeIoRate): void {
    this.#accrue();
    this.#counters.setRate(rate);
  }

  /** Counters of its devices now. */
  counters(): IoCounters {
    this.#accrue();
    return { atMs: this.#clock.monotonicMs(), ...this.#counters.counts };
  }

  /** The guest writes to its serial port. */
  writeSerial(text: string): void {
    this.serial = (this.serial + text).slice(-maxSerialTailBytes);
  }

  /** The last of what it wrote to its serial port since its last reset, or since a service adopted it. */
  serialTail(): string {
    return this.serial.slice(-maxSerialTailBytes);
  }

  /** Every sample is this one (its `atMs` renewed); null goes back to what the load gives. */
  setSample(sample: ProcessSample | null): void {
    this.#sample = sample;
  }

  /** What /proc shows of it now. */
  sample(): ProcessSample {
    this.#accrue();
    const atMs = this.#clock.monotonicMs();
    if (this.#sample !== null) return { ...this.#sample, atMs };
    if (this.#end !== null) return { atMs, processState: null, vcpus: [], mainLoop: null, frozen: false };
    const state = this.#processState;
    const busy = state === 'S' && this.#runState === 'running' && this.#load.run > 0.5 ? 'R' : state;
    const vcpus = Array.from({ length: this.configuration.cpus }, (_unused, index) => ({
      tid: this.record.pid + 1 + index,
      state: busy,
      runNs: this.#runNs,
      runDelayNs: this.#runDelayNs,
    }));
    return {
      atMs,
      processState: state,
      vcpus,
      mainLoop: { state, runNs: 0, runDelayNs: 0 },
      frozen: this.#frozen,
    };
  }

  #stopIn(state: RunState, event: Untimed<HypervisorEvent>): void {
    this.setRunState(state);
    this.emit(event);
    this.emit({ kind: 'stopped' });
  }

  #boot(event: Untimed<HypervisorEvent>): void {
    this.serial = '';
    // A reset closes what was open; of ports nobody spoke of nothing is known.
    if (this.#guestPorts !== null) this.#guestPorts = { heartbeat: false, agent: false };
    this.emit(event);
  }

  #tellLoss(): void {
    if (this.#lossTold) return;
    this.#lossTold = true;
    this.emit({ kind: 'connectionLost', reason: 'QEMU does not answer.' });
  }

  #accrue(): void {
    const nowMs = this.#clock.monotonicMs();
    const elapsedNs = Math.max(0, nowMs - this.#accruedAtMs) * 1e6;
    this.#accruedAtMs = nowMs;
    if (this.#runState !== 'running' || this.#end !== null || this.#processState !== 'S' || this.#frozen)
      return;
    this.#runNs += elapsedNs * this.#load.run;
    this.#runDelayNs += elapsedNs * this.#load.runDelay;
    this.#counters.accrue(elapsedNs);
  }
}
