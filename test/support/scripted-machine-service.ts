/** A machine service that answers from a script: what it has, and what it throws next. */
import {
  type GuestInfo,
  type HoldInfo,
  type HoldRequest,
  type ServerInfo,
  type TaskInfo,
  type VmChange,
  type VmConfiguration,
  VmError,
  type VmInfo,
  checkName,
  nameKey,
  operationsIn,
  refusal,
  stateCodes,
  vmStates,
} from '@vmpulse/wire';
import { checkHoldRequest } from '../../packages/server/src/vm/hold-request.ts';
import type {
  GuestService,
  HoldService,
  MachineService,
  TaskOperation,
} from '../../packages/server/src/vm/machine-service.ts';

/** A guest that ticks. */
const scriptedGuest: GuestInfo = {
  isHeartbeating: true,
  heartbeatPercentage: 100,
  verdict: 'alive',
  lastTickAgoMs: 12.5,
  intervalMs: 1000,
  source: 'ticker',
  additions: { version: '1.0.0' },
  osName: 'Debian GNU/Linux 12',
  computerName: 'web-1',
  canShutdown: true,
  stoppedSeq: null,
  fileSystems: 'thawed',
  hold: null,
};

/** A machine with every field set. */
export function scriptedVm(name: string, id: string): VmInfo {
  return {
    id,
    name,
    hypervisor: 'fake',
    state: 'running',
    stateCode: stateCodes.running,
    pid: 4711,
    accelerator: 'tcg',
    startedAt: '2026-01-01T00:00:00.000Z',
    pausedFor: null,
    createdAt: '2026-01-01T00:00:00.000Z',
    operations: operationsIn('running'),
    task: null,
    files: { directory: '/d', serialLog: '/d/serial.log', serialSocket: '/d/serial.sock', vncSocket: null },
    changesPending: false,
    guest: scriptedGuest,
    memoryMiB: 512,
    cpus: 1,
    boot: { kernel: '/boot/vmlinuz', initrd: '/boot/initrd', cmdline: 'console=ttyS0' },
    disks: [{ file: '/d/disk.qcow2', format: 'qcow2', bus: 'virtio', readOnly: false }],
    networks: [{ type: 'user', mac: '52:54:00:00:00:01' }],
    vnc: false,
    watchdog: { model: 'i6300esb', action: 'reset' },
    heartbeat: {
      intervalMs: 1000,
      patience: { spinningMs: 1, busyMs: 2, additionsStoppedMs: 3 },
      watch: true,
    },
    recovery: { action: 'none' },
    autostart: { action: 'never', delaySeconds: 0 },
    shutdownActionOnQuit: 'leaveRunning',
    notes: 'ünï\u2028code',
    values: { 'a/b': 1, 'c/d': true, e: 'f' },
  };
}

/** The service. */
export class ScriptedMachineService implements MachineService {
  readonly machines: VmInfo[] = [scriptedVm('web-1', 'aaaaaaaa-0000-4000-8000-000000000001')];
  readonly #tasks: TaskInfo[] = [];
  readonly #holds = new Map<string | null, HoldInfo>();
  /** Calls that reached it. */
  readonly calls: string[] = [];
  /** What the next call throws. */
  failure: unknown;
  /** What `info`, `create`, `change` and `delete` wait for. */
  pending: Promise<void> = Promise.resolve();

  readonly guests: GuestService = {
    execute: async (vm, request) => {
      this.get(vm);
      this.#call(`execute ${JSON.stringify(request)}`);
      const stdout = { text: 'out\n', base64: null };
      const stderr = { text: '\ufffd', base64: '/w==' };
      return { exitCode: 3, signal: null, stdout, stderr, truncated: false, durationMs: 12.5 };
    },
    parameter: async (vm, name) => {
      this.get(vm);
      this.#call(`parameter ${name}`);
      return { name, value: 'v' };
    },
    setParameter: async (vm, name, request) => {
      this.get(vm);
      this.#call(`setParameter ${name} ${JSON.stringify(request)}`);
      return { name, value: (request as { value: string }).value };
    },
    freeze: async (vm, request) => {
      this.get(vm);
      this.#call(`freeze ${JSON.stringify(request)}`);
      return { fileSystems: 2 };
    },
    thaw: async (vm) => {
      this.get(vm);
      this.#call('thaw');
      return { fileSystems: 2 };
    },
  };

  #call(what: string): void {
    this.calls.push(what);
    const { failure } = this;
    this.failure = undefined;
    if (failure !== undefined) throw failure as Error;
  }

  async info(): Promise<ServerInfo> {
    this.#call('info');
    await this.pending;
    return {
      id: 'server',
      name: 'host-1',
      version: '1.2.3',
      uptimeMs: 1,
      seq: 0,
      oldestSeq: 1,
      host: {
        hostname: 'host-1',
        kernel: '6.1',
        cpus: 2,
        memoryMiB: 1024,
        accelerator: 'tcg',
        acceleratorReason: 'no kvm',
        qemuVersion: null,
      },
      limits: { maxMachines: 10 },
      vms: Object.fromEntries(vmStates.map((state) => [state, 0])) as ServerInfo['vms'],
    };
  }

  list(): VmInfo[] {
    this.#call('list');
    return this.machines;
  }

  get(vm: string): VmInfo {
    this.#call(`get ${vm}`);
    const found = this.machines.find(
      ({ id, name }) => id === vm.toLowerCase() || nameKey(name) === nameKey(vm),
    );
    if (found === undefined) {
      throw new VmError(
        'VM_E_VM_UNKNOWN',
        `There is no machine ${JSON.stringify(vm)}; "vmpulse vm list" shows all.`,
      );
    }
    return found;
  }

  guest(vm: string): GuestInfo {
    return this.get(vm).guest;
  }

  async create(configuration: VmConfiguration, id = 'bbbbbbbb-0000-4000-8000-000000000002'): Promise<VmInfo> {
    this.#call(`create ${JSON.stringify(configuration)}`);
    await this.pending;
    const made = {
      ...scriptedVm(checkName(configuration.name), id),
      state: 'turnedOff' as const,
      stateCode: 1,
    };
    this.machines.push(made);
    return made;
  }

  async change(vm: string, change: VmChange): Promise<VmInfo> {
    const found = this.get(vm);
    await this.pending;
    if (change.notes !== undefined) found.notes = change.notes;
    if (change.recovery !== undefined) found.recovery = change.recovery;
    return found;
  }

  async delete(vm: string): Promise<void> {
    this.machines.splice(this.machines.indexOf(this.get(vm)), 1);
    await this.pending;
  }

  readonly holds: HoldService = {
    list: () => [...this.#holds.values()],
    countHeld: () => this.#holds.size,
    hold: async (vm, request) => this.#hold(vm, request),
    release: async (vm) => {
      const key = vm === null ? null : this.get(vm).id;
      if (!this.#holds.delete(key)) throw new VmError('VMPULSE_E_NOT_FOUND', 'There is no such hold.');
      await this.pending;
    },
  };

  async #hold(vm: string | null, request: HoldRequest): Promise<HoldInfo> {
    const found = vm === null ? undefined : this.get(vm);
    const { lengthMs, reason } = checkHoldRequest(request);
    await this.pending;
    const hold: HoldInfo = {
      scope: found === undefined ? 'all' : 'vm',
      ...(found === undefined ? {} : { vm: { id: found.id, name: found.name } }),
      reason,
      since: '2026-01-01T00:00:00.000Z',
      until: new Date(Date.UTC(2026, 0, 1) + lengthMs).toISOString(),
    };
    this.#holds.set(found?.id ?? null, hold);
    return hold;
  }

  operate(vm: string, operation: TaskOperation): TaskInfo {
    const { id, name, state } = this.get(vm);
    const code = refusal(operation, state);
    if (code !== undefined) throw new VmError(code, `${name} is ${state}.`);
    const task: TaskInfo = {
      id: String(this.#tasks.length + 1),
      vm: { id, name },
      operation,
      description: `${operation} ${name}`,
      percent: 0,
      isComplete: false,
      isCancelable: true,
      result: null,
      resultCode: null,
      error: null,
      startedAt: '2026-01-01T00:00:00.000Z',
      endedAt: null,
    };
    this.#tasks.push(task);
    return task;
  }

  tasks(): TaskInfo[] {
    this.#call('tasks');
    return this.#tasks;
  }

  task(id: string): TaskInfo {
    this.#call(`task ${id}`);
    const found = this.#tasks.find((task) => task.id === id);
    if (found === undefined)
      throw new VmError('VMPULSE_E_NOT_FOUND', `There is no task ${JSON.stringify(id)}.`);
    return found;
  }

  cancelTask(id: string): TaskInfo {
    const task = this.task(id);
    Object.assign(task, { isComplete: true, result: 'cancelled', resultCode: 1 });
    return task;
  }
}
