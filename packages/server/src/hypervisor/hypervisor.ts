/**
 * What runs machines, as a port. Adapters: qemu/ (vmpulse starts the process), fake.ts (scripted, for tests).
 * One contract suite runs against each (test/contract/hypervisor.ts).
 */
import type { CompleteVmConfiguration } from '@vmpulse/wire';

/** QEMU's run state as the monitor needs it. */
export type RunState =
  | 'running'
  | 'paused'
  | 'saving'
  | 'restoring'
  | 'shutdown'
  | 'panicked'
  | 'internalError'
  | 'ioError'
  | 'watchdog'
  | 'suspended'
  | 'preparing'
  | 'other';

/** What a hypervisor tells by itself. `atMs` is monotonic time of receipt. Handlers record; they never block. */
export type HypervisorEvent = { readonly atMs: number } &
  /** The process is gone; once, and last. Both null for an adopted process: only its parent is told how it ended. */
  (
    | {
        kind: 'exited';
        exitCode: number | null;
        signal: string | null;
        stderr: string;
        /**
         * Its guest had gone on in another QEMU before, or in a file, where an operator migrated it to by QMP: it did
         * not stop. What was left here had shown as `paused`. A save is no migration.
         */
        migrated?: true;
      }
    | { kind: 'panicked'; action: string; detail: string | null }
    /** The guest writes its own crash dump: wait. */
    | { kind: 'crashLoaded' }
    | { kind: 'shutdown'; byGuest: boolean; reason: string }
    /** Firmware that boots warm may reset the machine again: several come within a second, the later by guest. */
    | { kind: 'reset'; byGuest: boolean; reason: string }
    | { kind: 'powerButton' }
    | { kind: 'watchdog'; action: string }
    | { kind: 'stopped' }
    | { kind: 'resumed' }
    /**
     * A vCPU met a triple fault; the `reset` that QEMU answers it with follows at once. Told where QEMU lets it be
     * known, and not where firmware or a kernel does it on purpose to reset: docs/adr/0011-triple-faults.md.
     */
    | { kind: 'tripleFault' }
    /** The guest hibernated (S4): its state is on its own disk, and `shutdown` by the guest follows. */
    | { kind: 'hibernated' }
    /** The guest went to sleep (S3), or woke. */
    | { kind: 'suspended' }
    | { kind: 'wakeup' }
    | { kind: 'ioError'; device: string; action: string }
    | { kind: 'memoryFailure'; recipient: string; action: string }
    /** The guest opened or closed one of its virtio-serial ports. */
    | { kind: 'port'; port: 'heartbeat' | 'agent'; open: boolean }
    /** QMP does not answer or its connection broke while the process lives; reconnecting goes on. */
    | { kind: 'connectionLost'; reason: string }
    | { kind: 'connectionRegained'; runState: RunState }
  );

/** How to find a machine's process again after the service was restarted; stored with the machine. */
export interface ProcessRecord {
  readonly pid: number;
  /** Field 22 of /proc/pid/stat: with the pid and the boot id it names one process for all time. */
  readonly startTicks: number;
  readonly bootId: string;
  /** Machine directory, absolute. */
  readonly directory: string;
  readonly accelerator: 'kvm' | 'tcg';
  /** Wall time of the start, ISO 8601. */
  readonly startedAt: string;
}

/** Processor time of a machine's threads, read together. Cumulative; nanoseconds as the kernel gives them. */
export interface ProcessSample {
  readonly atMs: number;
  /** State letter of the process in /proc/pid/stat (R, S, D, T, t, Z, X), or null when it is gone. */
  readonly processState: string | null;
  readonly vcpus: readonly {
    readonly tid: number;
    readonly state: string;
    readonly runNs: number;
    readonly runDelayNs: number;
  }[];
  /** The host froze its cgroup: no thread of it runs, whatever state they show. */
  readonly frozen: boolean;
  /** QEMU's main loop, which carries ticks from the guest to the socket. */
  readonly mainLoop: { readonly state: string; readonly runNs: number; readonly runDelayNs: number } | null;
}

/** What a guest's devices have done, read together. Cumulative; null where the machine has none of the kind. */
export interface IoCounters {
  readonly atMs: number;
  /** Reads, writes and flushes that its disks completed. */
  readonly diskOperations: number | null;
  /**
   * Packets the guest sent, where the host can count them (tap, bridge; never `user`). What is sent to it says nothing
   * of its life.
   */
  readonly packetsSent: number | null;
}

/** Progress of a long step: 0 to 100. */
export type Progress = (percent: number) => void;

/** A machine with a process. Every method has a deadline. Errors: VMPULSE_E_HYPERVISOR, VM_E_TIMED_OUT. */
export interface RunningMachine {
  readonly record: ProcessRecord;
  /** Unix socket paths of the two virtio-serial ports, null where the machine has none. */
  readonly ports: { readonly heartbeat: string | null; readonly agent: string | null };
  /** One listener; events that came before it was set are delivered to it first, in order (bounded). */
  setListener(listener: (event: HypervisorEvent) => void): void;
  runState(): Promise<RunState>;
  pause(): Promise<void>;
  /**
   * Discards a saved state that was written meanwhile: the guest leaves it behind. Cancels a save that is still under
   * way, and waits for a saved state that is still being read (an hour at most).
   */
  resume(): Promise<void>;
  /** Hard reset; the guest runs afterwards, whatever state (panicked, paused) it was in. */
  reset(): Promise<void>;
  injectNmi(): Promise<void>;
  /** ACPI power button. */
  pressPowerButton(): Promise<void>;
  /** Ends the process: asks, then kills. Resolves once it is gone and its `exited` event was delivered. */
  quit(): Promise<void>;
  /**
   * Pauses the guest and writes its state to the machine's saved-state file (complete or not there at all).
   * The process stays; `quit` follows. On abort or failure the guest goes on as before.
   * Errors: E_ABORT when `signal` aborted, VMPULSE_E_HYPERVISOR.
   */
  save(progress: Progress, signal: AbortSignal): Promise<void>;
  /** Processor time of its threads, from /proc; never through QMP. */
  sample(): Promise<ProcessSample>;
  /** Counters of its devices. Errors as for any command, also for an answer that cannot be understood. */
  counters(): Promise<IoCounters>;
  /**
   * The last of what the guest wrote to its serial port since its last reset, at most 8 KiB, as latin1; the guest's
   * own word. Of an adopted machine what it wrote since it was adopted.
   * Empty when nothing is known.
   */
  serialTail(): Promise<string>;
  /** Writes what the guest's screen shows to `file` (PNG). Absent: it cannot. */
  screenshot?(file: string): Promise<void>;
  /**
   * Writes the guest's memory to `stem`.kdump (flattened) or `stem`.elf, complete or not at all; the guest stands still
   * meanwhile, which is not told. Errors: VM_E_OUT_OF_RESOURCE (more than `maxBytes`), E_ABORT (`signal`, or another
   * operation came). Absent: it cannot.
   */
  dumpMemory?(stem: string, maxBytes: number, signal: AbortSignal): Promise<void>;
  /** The registers of the guest's processors, for people. Absent: it cannot. */
  registers?(): Promise<string>;
  /** Stops observing; the process is left alone. Idempotent. */
  detach(): Promise<void>;
}

/** How a machine is started. */
export interface StartRequest {
  readonly vmId: string;
  readonly configuration: CompleteVmConfiguration;
  /** Start from the saved state. */
  readonly restore: boolean;
  readonly signal: AbortSignal;
  /** Told as soon as the process exists, before it answers, so that it is found again after a crash of the service. */
  readonly onSpawned: (record: ProcessRecord) => void;
}

/** Whether the guest holds each of its virtio-serial ports open. */
export interface GuestPorts {
  readonly heartbeat: boolean;
  readonly agent: boolean;
}

/** What was found of a machine that had a process when the service ended. */
export type Adoption =
  /**
   * The process lives. Run state `other` and a `connectionLost` event: its monitor does not answer. `preparing` or
   * `restoring`: its start was cut off before the guest ran; resume() lets it run once its state has been read, or quit
   * it and start again. `saving`: its save was cut off; there is a saved state, or resume() lets the guest go on.
   */
  | {
      readonly kind: 'running';
      readonly machine: RunningMachine;
      readonly runState: RunState;
      /** Which of its virtio-serial ports the guest holds open: a guest that boots holds none. Missing: not known. */
      readonly guestPorts?: GuestPorts;
    }
  /** The process is gone; how it ended is not known any more, but its stderr's tail may be. */
  | { readonly kind: 'gone'; readonly stderr: string };

/** What an adapter can do; absent means no. */
export interface HypervisorCapabilities {
  readonly save: boolean;
  readonly injectNmi: boolean;
  readonly sample: boolean;
}

/** The host as the hypervisor sees it. */
export interface HypervisorInfo {
  readonly accelerator: 'kvm' | 'tcg' | null;
  /** Why kvm is not used, where it is not. */
  readonly acceleratorReason: string | null;
  readonly version: string | null;
}

/** An adapter. */
export interface Hypervisor {
  readonly kind: 'qemu' | 'libvirt' | 'fake';
  readonly capabilities: HypervisorCapabilities;
  /** Probes once (which accelerator really runs a guest, which version) and remembers. */
  probe(): Promise<HypervisorInfo>;
  /**
   * Resolves when the guest's processor runs. Leaves no process behind when it fails.
   * Errors: VMPULSE_E_HYPERVISOR (with QEMU's words), E_ABORT, VM_E_TIMED_OUT, E_FILE_NOT_FOUND, E_ACCESSDENIED (a
   * file), VM_E_VM_RUNNING, VM_E_VM_NO_SAVED_STATE, VM_E_PREF_SAVED_STATE_BAD_VERSION (saved with another
   * configuration), E_FAIL (there is a saved state, and restore was not asked for).
   */
  start(request: StartRequest): Promise<RunningMachine>;
  /** Finds the process of `record`, or of a machine whose start was cut off (`record` null); starts nothing. */
  adopt(vmId: string, record: ProcessRecord | null): Promise<Adoption>;
  /** Paths a machine has or will have. */
  files(vmId: string): {
    directory: string;
    serialLog: string;
    serialSocket: string;
    vncSocket: string;
    savedState: string;
  };
  hasSavedState(vmId: string): Promise<boolean>;
  discardSavedState(vmId: string): Promise<void>;
  /** Removes the machine's own directory, never a disk image elsewhere. Errors: VM_E_VM_RUNNING while it runs. */
  remove(vmId: string): Promise<void>;
}
