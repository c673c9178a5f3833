/** Real QEMU machines for tests: a data directory of their own, and nothing left behind. */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type {
  Hypervisor,
  ProcessRecord,
  StartRequest,
} from '../../packages/server/src/hypervisor/hypervisor.ts';
import {
  QemuHypervisor,
  type QemuHypervisorOptions,
} from '../../packages/server/src/hypervisor/qemu/hypervisor.ts';
import { killProcess } from '../../packages/server/src/hypervisor/qemu/process.ts';
import { asObject, QmpConnection } from '../../packages/server/src/hypervisor/qemu/qmp.ts';
import { socketAddress } from '../../packages/server/src/socket-path.ts';
import { SystemClock } from '../../packages/server/src/clock.ts';

/** Adapters over one data directory; dispose() ends every process they started and removes the directory. */
export class QemuHost {
  readonly directory: string;
  readonly clock: SystemClock = new SystemClock();
  readonly records: ProcessRecord[] = [];

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async make(): Promise<QemuHost> {
    return new QemuHost(await mkdtemp(join(tmpdir(), 'vmpulse-')));
  }

  /** A new adapter, as after a restart of the service. */
  adapter(options: Partial<QemuHypervisorOptions> = {}): Hypervisor {
    const adapter = new QemuHypervisor({ directory: this.directory, clock: this.clock, ...options });
    const start = adapter.start.bind(adapter);
    adapter.start = (request: StartRequest) =>
      start({
        ...request,
        onSpawned: (record) => {
          this.records.push(record);
          request.onSpawned(record);
        },
      });
    return adapter;
  }

  /** Is there such a file in the machine's directory? */
  has(vmId: string, name: string): boolean {
    return existsSync(join(this.directory, 'vms', vmId, name));
  }

  /** The monitor a machine has for operators, beside the one that vmpulse holds. */
  operator(vmId: string): Promise<QmpConnection> {
    return QmpConnection.open(socketAddress(join(this.directory, 'vms', vmId, 'operator.sock')), this.clock, {
      onEvent: () => undefined,
      onMessage: () => undefined,
      onTimeout: () => undefined,
      onClose: () => undefined,
    });
  }

  /** The operator migrates a machine to `uri`; resolves once QEMU is through with it. */
  async migrate(vmId: string, uri: string): Promise<void> {
    const operator = await this.operator(vmId);
    try {
      await operator.execute('migrate', { uri });
      for (let status: unknown = 'setup'; status !== 'completed'; await this.clock.sleep(20)) {
        status = asObject(await operator.execute('query-migrate'))?.['status'];
        if (status === 'failed' || status === 'cancelled') throw new Error(`The migration is ${status}.`);
      }
    } finally {
      operator.close('the operator left');
    }
  }

  async dispose(): Promise<void> {
    for (const record of this.records) await killProcess(record);
    await rm(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }
}
