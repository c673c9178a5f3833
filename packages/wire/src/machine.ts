/** Machines, guests, tasks and the server, as requests and answers name them. */
import type { ErrorInfo, HoldScope, VmReference } from './event.ts';
import type { RecoveryConfiguration } from './recovery.ts';
import type { VmOperation, VmState } from './states.ts';
import type { Verdict } from './verdict.ts';

/** A disk image attached to a machine. */
export interface DiskConfiguration {
  /** Absolute path of the image. */
  file: string;
  /** Default: by the file's ending (`.qcow2`, `.vhd` -> vpc, else raw). */
  format?: 'qcow2' | 'raw' | 'vpc';
  /** Default virtio. */
  bus?: 'virtio' | 'ide';
  readOnly?: boolean;
}

/** Direct kernel boot. */
export interface BootConfiguration {
  /** Absolute path. */
  kernel: string;
  /** Absolute path. */
  initrd?: string;
  cmdline?: string;
}

/** A network adapter: `user` is QEMU's own NAT; `tap` and `bridge` need a device the operator made. */
export interface NetworkConfiguration {
  type: 'user' | 'tap' | 'bridge';
  /** Tap device or bridge; not for `user`. */
  device?: string;
  /** `52:54:00:xx:xx:xx`; default: derived from the machine's id. */
  mac?: string;
}

/** How long vmpulse waits before it tells a stop whose witnesses still show life. */
export interface PatienceConfiguration {
  /** Default 10,000 ms. */
  spinningMs?: number;
  /** Default 60,000 ms. */
  busyMs?: number;
  /** Default 10,000 ms. */
  additionsStoppedMs?: number;
}

/** A machine's watch. */
export interface HeartbeatConfiguration {
  /** 100 to 60,000; default 1,000. The ticker's hello overrules it. */
  intervalMs?: number;
  patience?: PatienceConfiguration;
  /** Upper bound of the learned boot window, 10,000 to 3,600,000 ms; default 600,000. */
  bootWindowMaxMs?: number;
  /** false: the guest's ticks are shown, never judged. Default true. */
  watch?: boolean;
}

/** What the server does with a machine when the server starts. */
export interface AutostartConfiguration {
  action: 'never' | 'always' | 'ifRunningAtQuit';
  /** Default 0. */
  delaySeconds?: number;
}

/** What becomes of a running machine when the service stops in order. */
export type ShutdownActionOnQuit = 'leaveRunning' | 'save' | 'turnOff' | 'shutdown';

/** What one configures of a machine. */
export interface VmConfiguration {
  /** Case-insensitive, at most 256 characters, none of `*?:<>/\|"`, unique. */
  name: string;
  /** 16 to 16,777,216; default 512. */
  memoryMiB?: number;
  /** 1 to 255; default 1. */
  cpus?: number;
  boot?: BootConfiguration;
  /** At most 24. */
  disks?: DiskConfiguration[];
  /** At most 8. */
  networks?: NetworkConfiguration[];
  /** A VNC server on the machine's own Unix socket; default false. */
  vnc?: boolean;
  /** A watchdog device the guest may arm, and what QEMU does when it is not fed. */
  watchdog?: { model: 'i6300esb'; action: 'reset' | 'pause' | 'none' };
  heartbeat?: HeartbeatConfiguration;
  /** What is done when the guest stops; default: what the server's default says. */
  recovery?: RecoveryConfiguration;
  autostart?: AutostartConfiguration;
  /** Default leaveRunning. */
  shutdownActionOnQuit?: ShutdownActionOnQuit;
  notes?: string;
  /** Values by slash path, the original's heartbeat keys among them; user-defined keys are kept as they are. */
  values?: Record<string, string | number | boolean>;
}

/** A configuration with every default filled in. */
export type CompleteVmConfiguration = Required<Omit<VmConfiguration, 'boot' | 'watchdog'>> & {
  boot: BootConfiguration | null;
  watchdog: { model: 'i6300esb'; action: 'reset' | 'pause' | 'none' } | null;
};

/** A change: what is named is replaced; null takes `boot`, `watchdog` or one of `values` away. */
export type VmChange = Partial<Omit<VmConfiguration, 'boot' | 'watchdog' | 'values'>> & {
  boot?: BootConfiguration | null;
  watchdog?: VmConfiguration['watchdog'] | null;
  values?: Record<string, string | number | boolean | null>;
};

/** The guest of a machine: heartbeat and what its additions tell. */
export interface GuestInfo {
  isHeartbeating: boolean;
  /** Ticks received of those expected in the last minute, 0 to 100; null when not observed. */
  heartbeatPercentage: number | null;
  verdict: Verdict;
  lastTickAgoMs: number | null;
  intervalMs: number | null;
  /** Where the heartbeat comes from. */
  source: 'ticker' | 'agent' | null;
  /** Kept when the machine is off; null when never seen. */
  additions: { version: string | null };
  osName: string | null;
  computerName: string | null;
  canShutdown: boolean;
  /** seq of the heartbeatStopped that no heartbeatResumed has followed yet. */
  stoppedSeq: number | null;
  /** What the guest agent last said of the guest's file systems; null when it said nothing since the guest booted. */
  fileSystems: 'thawed' | 'frozen' | null;
  /** The hold on its watch, its own or that of all machines; null when there is none. */
  hold: HoldInfo | null;
}

/** A hold on the watch of one machine or of all: silence is not judged until it ends. */
export interface HoldInfo {
  scope: HoldScope;
  /** The machine, where it is one's. */
  vm?: VmReference;
  /** Why, as the operator said. */
  reason: string;
  /** ISO 8601. */
  since: string;
  /** When it ends by itself, ISO 8601. */
  until: string;
}

/** PUT /v1/holds and PUT /v1/vms/{vm}/hold. */
export interface HoldRequest {
  /** 1 to 604,800 (7 days), a fraction allowed. */
  seconds: number;
  /** 1 to 500 printable characters. */
  reason: string;
}

/** A machine as the server shows it. */
export interface VmInfo extends CompleteVmConfiguration {
  id: string;
  hypervisor: 'qemu' | 'libvirt' | 'fake';
  state: VmState;
  stateCode: number;
  /** Why the service paused it itself: it resumes it when there is room. null where it did not. */
  pausedFor: 'diskSpace' | null;
  /** QEMU's process, while there is one. */
  pid: number | null;
  accelerator: 'kvm' | 'tcg' | null;
  /** Wall time of the start of the present process, ISO 8601. */
  startedAt: string | null;
  createdAt: string;
  /** Operations its state allows now. */
  operations: VmOperation[];
  /** Task under way. */
  task: string | null;
  /** Paths of the machine's own files. */
  files: { directory: string; serialLog: string; serialSocket: string; vncSocket: string | null };
  /** True when the configuration was changed while running and the change waits for the next start. */
  changesPending: boolean;
  guest: GuestInfo;
}

/** Result of a task, `VMTaskResult` of the original. */
export const taskResultCodes = {
  success: 0,
  cancelled: 1,
  unexpectedError: 2,
  outOfMemoryError: 3,
  diskRelatedError: 4,
  incompatibleSavedStateError: 5,
  timeOutError: 6,
  illegalValueError: 7,
  threadCrashError: 8,
} as const;

/** Name of a task's result. */
export type TaskResult = keyof typeof taskResultCodes;

/** A task: an operation under way or ended (`IVMTask`). */
export interface TaskInfo {
  id: string;
  vm: { id: string; name: string };
  operation: VmOperation;
  /** For a person: `Start web-1`. */
  description: string;
  /** 0 to 100. */
  percent: number;
  isComplete: boolean;
  isCancelable: boolean;
  result: TaskResult | null;
  resultCode: number | null;
  error: ErrorInfo | null;
  startedAt: string;
  endedAt: string | null;
}

/** The virtual server. */
export interface ServerInfo {
  id: string;
  name: string;
  version: string;
  uptimeMs: number;
  /** Number of the newest event; 0 when there is none. */
  seq: number;
  /** Number of the oldest event kept. */
  oldestSeq: number;
  host: {
    hostname: string;
    kernel: string;
    cpus: number;
    memoryMiB: number;
    accelerator: 'kvm' | 'tcg' | null;
    /** Why kvm is not used, where it is not. */
    acceleratorReason: string | null;
    qemuVersion: string | null;
  };
  limits: Record<string, number>;
  vms: Record<VmState, number>;
}

/** One page of events. `next` is the `after` of the page that follows. */
export interface EventPage<E> {
  events: E[];
  next: number;
}
