/**
 * The way between a service and its machines: what QEMU says comes in on a socket, commands take a moment, and a
 * service that stalls hears both late. Behind it is the scripted hypervisor.
 */
import type { FakeProcess } from '../../packages/server/src/hypervisor/fake-process.ts';
import { FakeHypervisor, type FakeHost } from '../../packages/server/src/hypervisor/fake.ts';
import type {
  Adoption,
  Hypervisor,
  HypervisorEvent,
  HypervisorInfo,
  IoCounters,
  ProcessSample,
  RunningMachine,
  RunState,
  StartRequest,
} from '../../packages/server/src/hypervisor/hypervisor.ts';
import type { ServiceLoop } from './loop.ts';
import type { Random } from './random.ts';
import type { World } from './world.ts';

/** What a hypervisor of one life of the service works with. */
export interface Surroundings {
  readonly world: World;
  readonly loop: ServiceLoop;
  readonly host: FakeHost;
  readonly random: Random;
  /** The number of the machine's QMP socket. */
  readonly channelOf: (vmId: string) => number;
  /** A process was made or found: whoever lives in it wants to know. */
  readonly attached: (vmId: string, process: FakeProcess) => void;
  /** A command came to QEMU. */
  readonly reached: (vmId: string, what: 'reset' | 'injectNmi' | 'quit' | 'start') => void;
}

type Methods = Pick<RunningMachine, 'record' | 'ports' | 'serialTail' | 'detach'>;

/** A machine at the end of its sockets. */
class FarMachine implements RunningMachine {
  readonly record: Methods['record'];
  readonly ports: Methods['ports'];
  private readonly inner: RunningMachine;
  private readonly around: Surroundings;
  private readonly channel: number;
  private readonly vmId: string;

  constructor(inner: RunningMachine, around: Surroundings, vmId: string) {
    this.inner = inner;
    this.around = around;
    this.vmId = vmId;
    this.channel = around.channelOf(vmId);
    this.record = inner.record;
    this.ports = inner.ports;
  }

  setListener(listener: (event: HypervisorEvent) => void): void {
    const { loop } = this.around;
    this.inner.setListener((event) => {
      loop.input(this.channel, () => {
        loop.dirty = true;
        listener({ ...event, atMs: loop.monotonicMs() });
      });
    });
  }

  runState(): Promise<RunState> {
    return this.far(() => this.inner.runState());
  }

  pause(): Promise<void> {
    return this.far(() => this.inner.pause());
  }

  resume(): Promise<void> {
    return this.far(() => this.inner.resume());
  }

  reset(): Promise<void> {
    return this.reach('reset', () => this.inner.reset());
  }

  injectNmi(): Promise<void> {
    return this.reach('injectNmi', () => this.inner.injectNmi());
  }

  pressPowerButton(): Promise<void> {
    return this.far(() => this.inner.pressPowerButton());
  }

  quit(): Promise<void> {
    return this.reach('quit', () => this.inner.quit());
  }

  save(progress: (percent: number) => void, signal: AbortSignal): Promise<void> {
    return this.far(() => this.inner.save(progress, signal));
  }

  sample(): Promise<ProcessSample> {
    this.around.loop.dirty = true;
    return this.inner.sample();
  }

  counters(): Promise<IoCounters> {
    return this.far(() => this.inner.counters());
  }

  serialTail(): Promise<string> {
    this.around.loop.dirty = true;
    return this.inner.serialTail();
  }

  detach(): Promise<void> {
    this.around.loop.dirty = true;
    return this.inner.detach();
  }

  private reach(what: 'reset' | 'injectNmi' | 'quit', ask: () => Promise<void>): Promise<void> {
    return this.far(() => {
      this.around.reached(this.vmId, what);
      return ask();
    });
  }

  private far<T>(ask: () => Promise<T>): Promise<T> {
    return far(this.around, this.channel, ask);
  }
}

/** Asks on the other side of a socket: what is done there is done whatever becomes of the service meanwhile. */
function far<T>({ world, loop, random }: Surroundings, channel: number, ask: () => Promise<T>): Promise<T> {
  loop.dirty = true;
  return new Promise((resolve, reject) => {
    const answered = (answer: () => void): void => {
      loop.input(channel, () => {
        loop.dirty = true;
        answer();
      });
    };
    world.after(random.between(0.1, 1.5), () => {
      if (loop.killed) return;
      ask().then(
        (value) => answered(() => resolve(value)),
        (error: Error) => answered(() => reject(error)),
      );
    });
  });
}

/** The hypervisor as one life of the service sees it. */
export class FarHypervisor implements Hypervisor {
  readonly kind = 'fake';
  readonly capabilities: Hypervisor['capabilities'];
  readonly fake: FakeHypervisor;
  private readonly around: Surroundings;

  constructor(around: Surroundings) {
    this.around = around;
    this.fake = new FakeHypervisor({ clock: around.loop, host: around.host, directory: '/sim' });
    this.fake.script.startDelayMs = around.random.between(5, 400);
    this.fake.script.saveDelayMs = around.random.between(20, 4_000);
    this.capabilities = this.fake.capabilities;
  }

  probe(): Promise<HypervisorInfo> {
    return this.fake.probe();
  }

  async start(request: StartRequest): Promise<RunningMachine> {
    const { vmId } = request;
    this.around.loop.dirty = true;
    const onSpawned: StartRequest['onSpawned'] = (record) => {
      this.around.reached(vmId, 'start');
      this.around.attached(vmId, this.around.host.machine(vmId));
      request.onSpawned(record);
    };
    return new FarMachine(await this.fake.start({ ...request, onSpawned }), this.around, vmId);
  }

  adopt(vmId: string, record: Parameters<Hypervisor['adopt']>[1]): Promise<Adoption> {
    const { around, fake } = this;
    return far(around, around.channelOf(vmId), async () => {
      const adoption = await fake.adopt(vmId, record);
      if (adoption.kind === 'gone') return adoption;
      return { ...adoption, machine: new FarMachine(adoption.machine, around, vmId) };
    });
  }

  files(vmId: string): ReturnType<Hypervisor['files']> {
    return this.fake.files(vmId);
  }

  hasSavedState(vmId: string): Promise<boolean> {
    return this.fake.hasSavedState(vmId);
  }

  discardSavedState(vmId: string): Promise<void> {
    return this.fake.discardSavedState(vmId);
  }

  remove(vmId: string): Promise<void> {
    return this.fake.remove(vmId);
  }
}
