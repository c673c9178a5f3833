/** A virtual server on simulated time over scripted hypervisor and log in memory; it can be killed and restarted. */
import type { EventDraft, EventType, TaskInfo, VmConfiguration, VmEvent, VmState } from '@vmpulse/wire';
import { eventTypeOf, isEvent } from '@vmpulse/wire';
import type { EventLog } from '../../packages/server/src/event/log.ts';
import { FakeHost, FakeHypervisor } from '../../packages/server/src/hypervisor/fake.ts';
import type {
  DocumentStore,
  MachineEffect,
  MachineRecord,
  MachineStore,
} from '../../packages/server/src/machine-record.ts';
import type {
  AgentPing,
  TickListener,
  TickSource,
  TickSubscription,
} from '../../packages/server/src/tick/source.ts';
import type { TaskOperation } from '../../packages/server/src/vm/machine-service.ts';
import type {
  FileSystems,
  GuestAgentPort,
  GuestProgramOptions,
  GuestProgramResult,
} from '../../packages/server/src/vm/ports.ts';
import { VirtualServer, type VirtualServerOptions } from '../../packages/server/src/vm/server.ts';
import { MemoryEventLog } from './memory-event-log.ts';
import { RecordedWatches, type RecordedWatch } from './recorded-watch.ts';
import { SimulatedClock } from './simulated-clock.ts';

/** A tick source whose ticks are the test's. */
export class ScriptedTicks implements TickSource {
  readonly kind = 'ticker';
  readonly listeners: Map<string, TickListener> = new Map();
  backlogged = false;

  listen(address: string, listener: TickListener): TickSubscription {
    this.listeners.set(address, listener);
    return { close: () => void this.listeners.delete(address), backlogged: () => this.backlogged };
  }
}

/** A guest agent that answers while `answers`, and otherwise never does. */
export class ScriptedAgent implements GuestAgentPort {
  answers = true;
  busy = false;
  asked: string[] = [];
  onShutdown: () => void = () => undefined;
  closed = false;
  frozen = false;
  /** File systems that can be frozen. */
  fileSystems = 1;
  /** Files of the guest, by path. */
  readonly files: Map<string, Uint8Array> = new Map();
  /** What a command of the name fails with, once. */
  readonly failures: Map<string, Error> = new Map();
  /** How programs end. */
  onExecute: (path: string, args: readonly string[], options: GuestProgramOptions) => GuestProgramResult =
    () => ({ exitCode: 0, signal: null, stdout: Buffer.alloc(0), stderr: Buffer.alloc(0), truncated: false });

  ping(_timeoutMs: number): Promise<AgentPing> {
    return this.#answer('ping', () => ({ answered: true, latencyMs: 1 }));
  }

  info(): Promise<{ version: string | null }> {
    return this.#answer('info', () => ({ version: '7.2.0' }));
  }

  osInfo(): Promise<{ prettyName: string | null }> {
    return this.#answer('osInfo', () => ({ prettyName: 'Debian\u0007 12' }));
  }

  hostName(): Promise<string | null> {
    return this.#answer('hostName', () => 'guest-1');
  }

  async shutdown(): Promise<void> {
    await this.#answer('shutdown', () => undefined);
    this.onShutdown();
  }

  freezeStatus(): Promise<FileSystems> {
    return this.#answer('freezeStatus', () => (this.frozen ? 'frozen' : 'thawed'));
  }

  freeze(): Promise<number> {
    return this.#answer('freeze', () => {
      this.frozen = this.fileSystems > 0;
      return this.fileSystems;
    });
  }

  thaw(): Promise<number> {
    return this.#answer('thaw', () => {
      const thawed = this.frozen ? this.fileSystems : 0;
      this.frozen = false;
      return thawed;
    });
  }

  execute(path: string, args: readonly string[], options: GuestProgramOptions): Promise<GuestProgramResult> {
    return this.#answer(['execute', path, ...args].join(' '), () => this.onExecute(path, args, options));
  }

  writeFile(path: string, content: Uint8Array): Promise<void> {
    return this.#answer(`writeFile ${path}`, () => void this.files.set(path, content));
  }

  readFile(path: string): Promise<Uint8Array | null> {
    return this.#answer(`readFile ${path}`, () => this.files.get(path) ?? null);
  }

  close(): void {
    this.closed = true;
  }

  async #answer<T>(word: string, value: () => T): Promise<T> {
    this.asked.push(word);
    if (!this.answers) return Promise.race<T>([]);
    const [name = ''] = word.split(' ');
    const failure = this.failures.get(name);
    this.failures.delete(name);
    if (failure !== undefined) throw failure;
    return value();
  }
}

/** A log and store that a killed service can write to no more, and whose disk can be slow. */
class Cut {
  readonly #memory: MemoryEventLog;
  isCut = false;
  /** Writes wait for it, in order, while the log calls itself writable. */
  stalled: Promise<void> | null = null;

  constructor(memory: MemoryEventLog) {
    this.#memory = memory;
  }

  get log(): EventLog {
    const memory = this.#memory;
    return {
      serverId: memory.serverId,
      append: (draft: EventDraft, effect?: MachineEffect) =>
        this.#unlessCut(() => memory.append(draft, effect)),
      read: (query) => memory.read(query),
      onCommit: (listener) => memory.onCommit(listener),
      state: () => memory.state(),
      close: () => memory.close(),
    };
  }

  get store(): MachineStore {
    const memory = this.#memory;
    return {
      loadMachines: () => memory.loadMachines(),
      loadHolds: () => memory.loadHolds(),
      putMachine: (record: MachineRecord) => this.#unlessCut(() => memory.putMachine(record)),
      getValue: (key) => memory.getValue(key),
      setValue: (key, value) => this.#unlessCut(() => memory.setValue(key, value)),
    };
  }

  get documents(): DocumentStore {
    const memory = this.#memory;
    return {
      loadDocuments: (kind) => memory.loadDocuments(kind),
      putDocuments: (documents) => this.#unlessCut(() => memory.putDocuments(documents)),
    };
  }

  #unlessCut<T>(write: () => Promise<T>): Promise<T> {
    const unlessCut = (): Promise<T> => (this.isCut ? Promise.race<T>([]) : write());
    return this.stalled === null ? unlessCut() : this.stalled.then(unlessCut);
  }
}

/** Everything a test of the lifecycle wants to look at. */
export class ServedMachines {
  readonly clock: SimulatedClock = new SimulatedClock();
  readonly memory: MemoryEventLog = new MemoryEventLog({ wallMs: () => this.clock.wallMs() });
  readonly host: FakeHost = new FakeHost(this.clock);
  readonly ticks: ScriptedTicks = new ScriptedTicks();
  readonly agents: Map<string, ScriptedAgent> = new Map();
  readonly logged: { readonly level: string; readonly message: string; readonly details: object }[] = [];
  hypervisor: FakeHypervisor;
  server: VirtualServer;
  watches: RecordedWatches;
  #cut: Cut;

  constructor() {
    this.#cut = new Cut(this.memory);
    this.hypervisor = new FakeHypervisor({ clock: this.clock, host: this.host });
    this.watches = new RecordedWatches(this.#cut.log);
    this.server = this.#serve();
  }

  /** The log as the present service has it: cut off when it is killed. */
  get log(): EventLog {
    return this.#cut.log;
  }

  /** Its documents. */
  get documents(): DocumentStore {
    return this.#cut.documents;
  }

  /** kill -9 and a new service over the same log and host. The new one is not started yet. */
  kill(options: Partial<VirtualServerOptions> = {}): VirtualServer {
    this.#cut.isCut = true;
    // Its timers still fire on the simulated clock; what is dead starts nothing.
    this.hypervisor.start = () => Promise.race<never>([]);
    this.#cut = new Cut(this.memory);
    this.hypervisor = new FakeHypervisor({ clock: this.clock, host: this.host });
    this.watches = new RecordedWatches(this.#cut.log);
    this.server = this.#serve(options);
    return this.server;
  }

  /**
   * The disk writes nothing until the function that this answers was called; the log calls itself writable. Once more:
   * what is written from then on waits for the second function.
   */
  stallWrites(): () => void {
    const cut = this.#cut;
    let resume = (): void => undefined;
    const stalled = new Promise<void>((resolve) => {
      resume = resolve;
    });
    cut.stalled = stalled;
    return () => {
      if (cut.stalled === stalled) cut.stalled = null;
      resume();
    };
  }

  /** Makes a machine; answers its id. */
  async create(configuration: Partial<VmConfiguration> = {}): Promise<string> {
    const { id } = await this.server.create({ name: 'web-1', ...configuration });
    return id;
  }

  /** An operation, to its end. No time passes. */
  async run(vm: string, operation: TaskOperation): Promise<TaskInfo> {
    const { id } = this.server.operate(vm, operation);
    // Files are really looked at, which takes as many turns as it takes.
    for (let turn = 0; turn < 20_000 && !this.server.task(id).isComplete; turn += 1)
      await this.clock.settle();
    await this.settle();
    return this.server.task(id);
  }

  /** Brings a machine that is off into a state. */
  async bring(vm: string, state: 'turnedOff' | 'saved' | 'running' | 'paused'): Promise<void> {
    if (state === 'turnedOff') return;
    await this.run(vm, 'startup');
    if (state === 'paused') await this.run(vm, 'pause');
    if (state === 'saved') await this.run(vm, 'save');
  }

  watch(vmId: string): RecordedWatch {
    return this.watches.of(vmId);
  }

  agent(vmId: string): ScriptedAgent {
    const address = `/fake/vms/${vmId}/agent.sock`;
    const agent = this.agents.get(address) ?? new ScriptedAgent();
    this.agents.set(address, agent);
    return agent;
  }

  state(vm: string): VmState {
    return this.server.get(vm).state;
  }

  /** Promises and file checks run; no time passes. */
  async settle(): Promise<void> {
    // File checks go through the thread pool: a few turns.
    for (let turn = 0; turn < 12; turn += 1) await this.clock.settle();
  }

  async events(after = 0): Promise<VmEvent[]> {
    return (await this.memory.read({ after, limit: 1_000 })).events;
  }

  async types(after = 0): Promise<EventType[]> {
    return (await this.events(after)).map(eventTypeOf);
  }

  /** States told after `after`, in order. */
  async states(after = 0): Promise<VmState[]> {
    return (await this.events(after)).flatMap((event) =>
      isEvent(event, 'stateChanged') ? [event.data.state] : [],
    );
  }

  get seq(): number {
    return this.memory.state().lastSeq;
  }

  async record(vmId: string): Promise<MachineRecord> {
    const stored = (await this.memory.loadMachines()).find(({ record }) => record.id === vmId);
    if (stored === undefined) throw new Error(`${vmId} is not stored.`);
    return stored.record;
  }

  #serve(options: Partial<VirtualServerOptions> = {}): VirtualServer {
    const note = (level: string) => (details: object, message: string) => {
      this.logged.push({ level, details, message });
    };
    return new VirtualServer({
      clock: this.clock,
      log: this.#cut.log,
      store: this.#cut.store,
      hypervisors: [this.hypervisor],
      watches: this.watches,
      tickSource: this.ticks,
      connectAgent: (address) => {
        const agent = this.agents.get(address) ?? new ScriptedAgent();
        this.agents.set(address, agent);
        return agent;
      },
      logger: { info: note('info'), warn: note('warn'), error: note('error') },
      version: '0.1.0',
      pid: 4711,
      ...options,
    });
  }
}
