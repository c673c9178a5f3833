/** What the contract of hypervisors stands on: an adapter under test, and its machines' events. */
import type { CompleteVmConfiguration, VmError } from '@vmpulse/wire';
import type {
  Hypervisor,
  HypervisorEvent,
  ProcessRecord,
  RunningMachine,
} from '../../packages/server/src/hypervisor/hypervisor.ts';

/** An adapter under test, and the hands that reach its machines from outside. */
export interface HypervisorUnderTest {
  readonly hypervisor: Hypervisor;
  /** As after a restart of the service: a new adapter over the same host. */
  restarted(): Hypervisor;
  /** Ends a machine's process with SIGKILL, from outside. */
  kill(record: ProcessRecord, vmId: string): void;
  /** Stops the process (SIGSTOP), or lets it go on. */
  freeze(record: ProcessRecord, vmId: string): void;
  thaw(record: ProcessRecord, vmId: string): void;
  /** A guest that does this as soon as it runs, or when it is made to. */
  guest(vmId: string, kind: GuestDeed): Promise<ScriptedGuest>;
  /** Wakes a guest that sleeps, from outside. */
  wake(vmId: string): Promise<void>;
  /** An operator migrates the machine by a monitor of his own; resolves when that has completed. */
  migrateAway(vmId: string): Promise<void>;
  /** A control group that holds the machine's process and can be frozen, or why there can be none. */
  controlGroup(record: ProcessRecord, vmId: string): Promise<Freezing | string>;
  /** A machine whose saved guest is refused to go on between `refuse` and `allow`. */
  refusal(vmId: string): Promise<Refusal>;
  /** Awaits on the adapter's clock. */
  settle<T>(promise: Promise<T>): Promise<T>;
  /** Ends every process that is left. */
  dispose(): Promise<void>;
}

/** What a guest does. */
export type GuestDeed = 'tripleFault' | 'suspend' | 'hibernate';

/** `act` makes it do so where it does not by itself. */
export interface ScriptedGuest {
  readonly change: Partial<CompleteVmConfiguration>;
  readonly act: () => void;
}

/** A control group. */
export interface Freezing {
  readonly freeze: () => Promise<void>;
  readonly thaw: () => Promise<void>;
}

/** How the hypervisor is brought to refuse, for a machine of such a configuration. */
export interface Refusal {
  readonly change: Partial<CompleteVmConfiguration>;
  readonly refuse: () => Promise<void>;
  readonly allow: () => Promise<void>;
}

/** Fills what the contract does not care about. */
export function configurationOf(change: Partial<CompleteVmConfiguration> = {}): CompleteVmConfiguration {
  return {
    name: 'contract, "machine"=1',
    memoryMiB: 64,
    cpus: 2,
    boot: null,
    disks: [],
    networks: [],
    vnc: false,
    watchdog: null,
    heartbeat: {},
    recovery: { action: 'none' },
    autostart: { action: 'never' },
    shutdownActionOnQuit: 'leaveRunning',
    notes: '',
    values: {},
    ...change,
  };
}

/** Events of one machine, and waiting for them. */
export class Recorder {
  readonly events: HypervisorEvent[] = [];
  #waiting: { test: (event: HypervisorEvent) => boolean; resolve: (event: HypervisorEvent) => void }[] = [];

  constructor(machine: RunningMachine) {
    machine.setListener((event) => {
      this.events.push(event);
      this.#waiting = this.#waiting.filter(({ test, resolve }) => {
        if (!test(event)) return true;
        resolve(event);
        return false;
      });
    });
  }

  get kinds(): string[] {
    return this.events.map(({ kind }) => kind);
  }

  count(kind: HypervisorEvent['kind']): number {
    return this.kinds.filter((each) => each === kind).length;
  }

  /** The first event of that kind, past or to come. */
  next<K extends HypervisorEvent['kind']>(kind: K): Promise<Extract<HypervisorEvent, { kind: K }>> {
    const test = (event: HypervisorEvent): boolean => event.kind === kind;
    const past = this.events.find(test);
    const found = past === undefined ? this.#coming(test) : Promise.resolve(past);
    return found as Promise<Extract<HypervisorEvent, { kind: K }>>;
  }

  #coming(test: (event: HypervisorEvent) => boolean): Promise<HypervisorEvent> {
    return new Promise((resolve) => {
      this.#waiting.push({ test, resolve });
    });
  }
}

/** A signal that is never given. */
export const never: AbortSignal = new AbortController().signal;

/** Starts a machine of such a configuration. */
export function startMachine(
  under: HypervisorUnderTest,
  vmId: string,
  change: Partial<CompleteVmConfiguration> = {},
  restore = false,
): Promise<RunningMachine> {
  const configuration = configurationOf(change);
  const request = { vmId, configuration, restore, signal: never, onSpawned: () => undefined };
  return under.settle(under.hypervisor.start(request));
}

/** Code of the error that `promise` ends with, or `no error`. */
export function codeOf(under: HypervisorUnderTest, promise: Promise<unknown>): Promise<string> {
  return under.settle(
    promise.then(
      () => 'no error',
      (error: VmError) => error.code,
    ),
  );
}
