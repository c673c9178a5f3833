/** One guest of the fake hypervisor under the real monitor, on simulated time: what tests of detection stand on. */
import {
  type CompleteVmConfiguration,
  type EventDraft,
  type Evidence,
  eventTypeOf,
  toCloudEvent,
  type VmEvent,
} from '@vmpulse/wire';
import type { EventLog } from '../../packages/server/src/event/log.ts';
import { FakeHost, FakeHypervisor } from '../../packages/server/src/hypervisor/fake.ts';
import type { FakeProcess } from '../../packages/server/src/hypervisor/fake-process.ts';
import type { RunningMachine, RunState } from '../../packages/server/src/hypervisor/hypervisor.ts';
import type { OpenCondition, WatchMemory } from '../../packages/server/src/machine-record.ts';
import { Monitor } from '../../packages/server/src/monitor/monitor.ts';
import type { Beginning, Watch } from '../../packages/server/src/monitor/watch.ts';
import type { AgentPing, AgentWitness } from '../../packages/server/src/tick/source.ts';
import { plainConfiguration } from './plain-configuration.ts';
import { SimulatedClock } from './simulated-clock.ts';

/** Records drafts in order; nothing is written. */
export class RecordingLog implements Pick<EventLog, 'append'> {
  readonly events: VmEvent[] = [];

  append(draft: EventDraft): Promise<VmEvent> {
    const event = toCloudEvent(draft, this.events.length + 1, 'test');
    this.events.push(event);
    return Promise.resolve(event);
  }
}

function withChange(machine: RunningMachine, change: Partial<RunningMachine>): RunningMachine {
  return new Proxy(machine, {
    get: (target, key) => {
      if (Object.hasOwn(change, key)) return Reflect.get(change, key) as unknown;
      const value = Reflect.get(target, key, target) as unknown;
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

/** A guest agent whose answers the test sets. */
export class ScriptedAgentWitness implements AgentWitness {
  present = true;
  busy = false;
  answers = true;
  frozen = false;
  pings = 0;

  ping(): Promise<AgentPing> {
    this.pings += 1;
    if (this.answers) return Promise.resolve({ answered: true, latencyMs: 1 });
    return Promise.resolve({ answered: false, reason: this.busy ? 'busy' : 'silent' });
  }

  fileSystems(): Promise<'thawed' | 'frozen' | null> {
    return Promise.resolve(this.answers ? (this.frozen ? 'frozen' : 'thawed') : null);
  }
}

/** Nothing remembered. */
export const blankMemory: WatchMemory = { armed: false, intervalMs: null, lastTickWallMs: null, bootMs: [] };

/** How a watched guest begins. */
export interface WatchedGuestOptions {
  readonly configuration?: Partial<CompleteVmConfiguration>;
  readonly memory?: WatchMemory;
  readonly conditions?: readonly OpenCondition[];
  /** Shares clock, host, log and monitor with this guest; its id must be another. */
  readonly beside?: WatchedGuest;
  readonly vmId?: string;
}

/** A guest whose ticker the test drives. */
export class WatchedGuest {
  readonly clock: SimulatedClock;
  readonly host: FakeHost;
  readonly hypervisor: FakeHypervisor;
  readonly log: RecordingLog;
  readonly failures: unknown[];
  readonly latenciesMs: number[] = [];
  readonly stallsMs: number[];
  /** How often the monitor that this guest made suspected one of its guests. */
  suspicions = 0;
  /** How often it told that one of them ticks again after a stop. */
  resumptions = 0;
  readonly monitor: Monitor;
  readonly watch: Watch;
  readonly configuration: CompleteVmConfiguration;
  readonly vmId: string;
  /** How often the watch said that its memory is worth storing. */
  memoryChanges = 0;
  intervalMs = 1_000;
  /** How long the host of the guest that made the monitor has slept. */
  sleptMs = 0;
  private tickSeq = 0;
  machine: RunningMachine | undefined;
  /** The guest agent of the process; null: it has none. Set before `boot`. */
  agent: ScriptedAgentWitness | null = null;

  constructor(options: WatchedGuestOptions = {}) {
    const { beside } = options;
    this.vmId = options.vmId ?? 'guest';
    this.clock = beside?.clock ?? new SimulatedClock();
    this.host = beside?.host ?? new FakeHost(this.clock);
    this.hypervisor = beside?.hypervisor ?? new FakeHypervisor({ clock: this.clock, host: this.host });
    this.log = beside?.log ?? new RecordingLog();
    this.failures = beside?.failures ?? [];
    this.stallsMs = beside?.stallsMs ?? [];
    this.monitor = beside?.monitor ?? this.makeMonitor();
    this.configuration = plainConfiguration(options.configuration);
    this.watch = this.monitor.watch({
      vm: { id: this.vmId, name: this.vmId },
      configuration: this.configuration,
      memory: options.memory ?? blankMemory,
      conditions: options.conditions ?? [],
      onMemoryChanged: () => {
        this.memoryChanges += 1;
      },
    });
  }

  private makeMonitor(): Monitor {
    return new Monitor({
      clock: this.clock,
      log: this.log as unknown as EventLog,
      hostSleptMs: () => this.sleptMs,
      observer: {
        stopped: (_verdict, _cause, latencyMs) => this.latenciesMs.push(latencyMs),
        suspected: () => {
          this.suspicions += 1;
        },
        resumed: () => {
          this.resumptions += 1;
        },
        laneLag: () => undefined,
        stalled: (lengthMs) => this.stallsMs.push(lengthMs),
        rejected: () => undefined,
        failed: (error) => this.failures.push(error),
      },
    });
  }

  /** What the test makes happen to the process. */
  get process(): FakeProcess {
    return this.host.machine(this.vmId);
  }

  /** Types of the events told so far. */
  get told(): string[] {
    return this.log.events.filter((event) => event.data.vm?.id === this.vmId).map(eventTypeOf);
  }

  /** Data of the event at `index`, evidence included where it has any. */
  dataOf(index: number): VmEvent['data'] & { readonly evidence?: Evidence } {
    const event = this.log.events[index];
    if (event === undefined) throw new Error(`Only ${this.log.events.length} events were told.`);
    return event.data;
  }

  /** Starts the process and gives it to the watch. `change`: what of the machine answers otherwise. */
  async boot(
    how: Beginning = 'booted',
    runState: RunState = 'running',
    change: Partial<RunningMachine> = {},
  ): Promise<void> {
    const started = await this.hypervisor.start({
      vmId: this.vmId,
      configuration: this.configuration,
      restore: false,
      signal: new AbortController().signal,
      onSpawned: () => undefined,
    });
    const machine = withChange(started, change);
    this.machine = machine;
    this.watch.begin(machine, how, runState, this.agent);
    this.watch.listener.onConnection(true);
    machine.setListener((event) => this.watch.hypervisorEvent(event));
    await this.clock.settle();
  }

  hello(intervalMs: number = this.intervalMs): void {
    this.intervalMs = intervalMs;
    this.tickSeq = 0;
    this.watch.listener.onHello({
      protocol: 1,
      version: '1.0.0',
      intervalMs,
      os: 'Test OS',
      host: 'guest-1',
    });
  }

  tick(): void {
    this.watch.listener.onTick(this.tickSeq, Math.round(this.clock.monotonicMs()));
    this.tickSeq += 1;
  }

  /** `count` ticks, the first at once, an interval after each. */
  async beat(count: number): Promise<void> {
    for (let each = 0; each < count; each += 1) {
      this.tick();
      await this.clock.advanceAsync(this.intervalMs);
    }
  }

  /** Boots, says hello and ticks until its pace is known; the last tick was one interval ago. */
  async live(ticks = 25): Promise<void> {
    await this.boot();
    this.hello();
    await this.beat(ticks);
  }

  /** Lets time pass in small steps, so that what awaits goes on in between. */
  async pass(ms: number): Promise<void> {
    await this.clock.advanceAsync(ms);
    await this.clock.settle();
  }
}
