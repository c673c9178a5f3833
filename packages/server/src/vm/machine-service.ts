/** What can be asked of the virtual server: the face that HTTP shows. `{vm}` is a name (any case) or a UUID. */
import type {
  GuestExecutionResult,
  GuestFreezeResult,
  GuestInfo,
  GuestParameter,
  HoldInfo,
  HoldRequest,
  ServerInfo,
  TaskInfo,
  VmChange,
  VmConfiguration,
  VmInfo,
  VmOperation,
} from '@vmpulse/wire';

/** The operations that run as a task; `delete` is answered at once. */
export type TaskOperation = Exclude<VmOperation, 'delete'>;

/**
 * Holds on watches. `vm`: a machine, or null for all of them. Both calls resolve when their events are durable. Errors:
 * VMPULSE_E_LOG_UNAVAILABLE, VM_E_APP_SHUTTING_DOWN.
 */
export interface HoldService {
  /** That on all first, then by the machines' names. */
  list(): HoldInfo[];
  /** Machines whose watch is held, by whichever hold. */
  countHeld(): number;
  /** Begins a hold; one that is there already is replaced. Errors: VMPULSE_E_REQUEST_INVALID (with `field`). */
  hold(vm: string | null, request: HoldRequest): Promise<HoldInfo>;
  /**
   * Ends a hold: silence counts from zero, unless the other hold (on all, or the machine's own) goes on.
   * Errors: VMPULSE_E_NOT_FOUND where there is none, so that who meant another learns of it.
   */
  release(vm: string | null): Promise<void>;
}

/**
 * What is asked of guests by their agents. Requests are whatever a client sent. Errors of all: VM_E_VM_NOT_RUNNING,
 * VM_E_VM_PAUSED, VM_E_ADDITIONS_NOT_AVAIL, VM_E_ADDITIONS_FEATURE_NOT_AVAIL, VM_E_TIMED_OUT, E_INVALIDARG (with
 * `field`), VM_E_OUT_OF_RESOURCE.
 */
export interface GuestService {
  /**
   * Runs a program (GuestExecution) without a shell and waits for its end. One that is late goes on in the guest.
   * Errors: E_FILE_NOT_FOUND, E_BUFFER_OVERFLOW, E_FAIL.
   */
  execute(vm: string, request: unknown): Promise<GuestExecutionResult>;
  /** Errors: E_INVALIDARG also where it is not set. */
  parameter(vm: string, name: string): Promise<GuestParameter>;
  /** `request`: {value}. */
  setParameter(vm: string, name: string, request: unknown): Promise<GuestParameter>;
  /** Freezes the guest's file systems for a time (GuestFreeze), after which they are thawed. Errors: E_FAIL. */
  freeze(vm: string, request: unknown): Promise<GuestFreezeResult>;
  thaw(vm: string): Promise<GuestFreezeResult>;
}

/** The virtual server's machines. All errors are VmError; unknown machines are VM_E_VM_UNKNOWN. */
export interface MachineService {
  info(): Promise<ServerInfo>;
  list(): VmInfo[];
  get(vm: string): VmInfo;
  guest(vm: string): GuestInfo;
  readonly holds: HoldService;
  readonly guests: GuestService;
  /**
   * Checks and stores a new machine (turnedOff). `id` registers it under a UUID of the caller's.
   * Errors: VM_E_CONFIG_*, VM_E_PREF_ILLEGAL_VALUE (with `field`), E_ALREADY_EXISTS, VM_E_TOO_MANY_VMS.
   */
  create(configuration: VmConfiguration, id?: string): Promise<VmInfo>;
  /** Errors: those of create; VM_E_PREF_VM_ACTIVE for what a running machine cannot take. */
  change(vm: string, change: VmChange): Promise<VmInfo>;
  /** Forgets the machine and removes its own directory, never a disk image. Errors: VM_E_VM_RUNNING. */
  delete(vm: string): Promise<void>;
  /**
   * Begins an operation. Errors at once: the refusal code of the states' table, VMPULSE_E_OPERATION_IN_PROGRESS
   * while another one is under way.
   */
  operate(vm: string, operation: TaskOperation): TaskInfo;
  tasks(): TaskInfo[];
  /** Errors: VMPULSE_E_NOT_FOUND. */
  task(id: string): TaskInfo;
  /** Errors: VMPULSE_E_NOT_FOUND, E_FAIL when it cannot be cancelled (any more). */
  cancelTask(id: string): TaskInfo;
}
