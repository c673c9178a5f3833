/** What can be asked of the virtual server: the face that HTTP shows. `{vm}` is a name (any case) or a UUID. */
import type {
  GuestInfo,
  ServerInfo,
  TaskInfo,
  VmChange,
  VmConfiguration,
  VmInfo,
  VmOperation,
} from '@vmpulse/wire';

/** The operations that run as a task; `delete` is answered at once. */
export type TaskOperation = Exclude<VmOperation, 'delete'>;

/** The virtual server's machines. All errors are VmError; unknown machines are VM_E_VM_UNKNOWN. */
export interface MachineService {
  info(): Promise<ServerInfo>;
  list(): VmInfo[];
  get(vm: string): VmInfo;
  guest(vm: string): GuestInfo;
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
