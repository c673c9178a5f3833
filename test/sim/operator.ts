/** Whoever runs the machines: asks for operations as clients do, and asks again when the service was away. */
import { VmError, type VmState } from '@vmpulse/wire';
import type { TaskOperation } from '../../packages/server/src/vm/machine-service.ts';
import type { VirtualServer } from '../../packages/server/src/vm/server.ts';
import type { SimGuest } from './guest.ts';
import type { Oracle } from './oracle.ts';
import type { RecoveryOracle } from './recovery-oracle.ts';
import type { Service } from './service.ts';
import type { World } from './world.ts';

/** After this an operator has lost patience: the run is in a state that it must not be in. */
const patienceMs = 180_000;
const askEveryMs = 40;

/** Where the service is at the moment; null while it is down. */
export interface Present {
  service: Service | null;
}

/** An operator. */
export class Operator {
  private readonly world: World;
  private readonly present: Present;
  private readonly oracle: Oracle;
  private readonly recoveries: RecoveryOracle;

  constructor(world: World, present: Present, oracle: Oracle, recoveries: RecoveryOracle) {
    this.world = world;
    this.present = present;
    this.oracle = oracle;
    this.recoveries = recoveries;
  }

  /** Asks the service that is there; one that dies before it answers is asked again. */
  async ask<T>(what: (server: VirtualServer, service: Service) => T | Promise<T>): Promise<T> {
    for (;;) {
      const { service } = this.present;
      if (service !== null) {
        const answer = await service.untilKilled(
          service.request((server) => what(server, service)).then((value) => ({ value })),
        );
        if (answer !== null) return answer.value;
      }
      await this.world.sleep(200);
    }
  }

  /** Brings a machine where it is to be; does nothing when it is there. */
  async bring(guest: SimGuest, operation: TaskOperation, wanted: VmState): Promise<boolean> {
    const endMs = this.world.nowMs + patienceMs;
    while (this.world.nowMs < endMs) {
      const state = await this.ask((server) => server.get(guest.id).state);
      if (state === wanted && operation !== 'reset') return true;
      try {
        if ((await this.operate(guest, operation)) && operation === 'reset') return true;
      } catch (error) {
        if (!(error instanceof VmError)) throw error;
        // In another state than thought, or busy: look again.
        if (operation === 'startup' && error.code === 'E_FAIL') return false;
      }
      await this.world.sleep(250);
    }
    this.oracle.fail('stuck', guest, `it does not become ${wanted} by ${operation}`);
    return false;
  }

  /** One operation, to its end; false when it was refused or failed. */
  async once(guest: SimGuest, operation: TaskOperation): Promise<boolean> {
    try {
      return await this.operate(guest, operation);
    } catch (error) {
      if (error instanceof VmError) return false;
      throw error;
    }
  }

  /** Holds its watch for a time; false when the service refused. */
  async hold(guest: SimGuest, lengthMs: number): Promise<boolean> {
    try {
      const seconds = Math.round(lengthMs / 1_000);
      await this.ask((server) => server.holds.hold(guest.id, { reason: 'work', seconds }));
      return true;
    } catch (error) {
      if (error instanceof VmError) return false;
      throw error;
    }
  }

  /** Waits until nobody holds its watch. */
  async unheld(guest: SimGuest): Promise<void> {
    while ((await this.ask((server) => server.guest(guest.id).hold)) !== null) await this.world.sleep(1_000);
  }

  /** Takes the hold back. */
  async release(guest: SimGuest): Promise<void> {
    try {
      await this.ask((server) => server.holds.release(guest.id));
    } catch (error) {
      if (!(error instanceof VmError)) throw error;
    }
  }

  /** Deletes the machine, which is off, and makes it anew. */
  async remake(guest: SimGuest): Promise<void> {
    const refused = await this.untilWritten(() =>
      this.ask(async (server) => {
        await server.delete(guest.id);
        this.recoveries.operated(guest, 'delete');
      }),
    );
    if (refused !== null && refused !== 'VM_E_VM_UNKNOWN') return;
    await this.make(guest);
  }

  /** Makes its machine. */
  async make(guest: SimGuest): Promise<void> {
    const { name, id, kind } = guest;
    const patience = {
      spinningMs: kind.spinningMs,
      busyMs: kind.busyMs,
      additionsStoppedMs: kind.additionsStoppedMs,
    };
    const heartbeat = { patience, bootWindowMaxMs: kind.bootWindowMaxMs };
    const { recovery } = kind;
    const request = { name, heartbeat, ...(recovery === null ? {} : { recovery }) };
    await this.untilWritten(() => this.ask((server) => server.create(request, id)));
  }

  /** Asks again while the log cannot be written: what was asked may be done later. The code it was refused with. */
  private async untilWritten(ask: () => Promise<unknown>): Promise<string | null> {
    const endMs = this.world.nowMs + patienceMs;
    for (;;) {
      try {
        await ask();
        return null;
      } catch (error) {
        if (!(error instanceof VmError)) throw error;
        if (error.code !== 'VMPULSE_E_LOG_UNAVAILABLE' || this.world.nowMs >= endMs) return error.code;
      }
      await this.world.sleep(askEveryMs);
    }
  }

  state(guest: SimGuest): Promise<VmState> {
    return this.ask((server) => server.get(guest.id).state);
  }

  /** What was given up is taken up again; false when the service refused. */
  async rearm(guest: SimGuest): Promise<boolean> {
    try {
      await this.ask(async (_server, { recovery }) => {
        this.recoveries.operated(guest, 'rearm');
        await recovery.rearm(guest.id);
      });
      return true;
    } catch (error) {
      if (error instanceof VmError) return false;
      throw error;
    }
  }

  private async operate(guest: SimGuest, operation: TaskOperation): Promise<boolean> {
    const task = await this.ask((server) => {
      const { id } = server.operate(guest.id, operation);
      this.recoveries.operated(guest, operation);
      return id;
    });
    const isWell = (await this.ended(task)) === 'success';
    if (isWell) this.recoveries.operatedWell(guest, operation);
    return isWell;
  }

  /** The result; null of a service that died meanwhile. */
  private async ended(task: string): Promise<string | null> {
    const { service } = this.present;
    const endMs = this.world.nowMs + patienceMs;
    if (service === null) return null;
    while (!service.loop.killed && this.world.nowMs < endMs) {
      try {
        const info = await this.ask((server) => server.task(task));
        if (info.isComplete) return info.result;
      } catch {
        return null;
      }
      await this.world.sleep(askEveryMs);
    }
    return null;
  }
}
