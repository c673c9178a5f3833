/** What the devices of a scripted machine have done. */
import type { CompleteVmConfiguration } from '@vmpulse/wire';
import type { IoCounters } from './hypervisor.ts';

/** What the guest's devices do a second while it runs; what is not named does nothing. */
export interface FakeIoRate {
  readonly diskOperations?: number;
  readonly packetsSent?: number;
}

/** Counters without their time. */
export type FakeCounts = Omit<IoCounters, 'atMs'>;

/** Counters that go on with the time the guest runs. */
export class FakeCounters {
  #counts: FakeCounts;
  #rate: FakeIoRate = {};

  /** As QEMU's: a machine without disks or taps has nothing to count. */
  constructor({ disks, networks }: CompleteVmConfiguration) {
    this.#counts = {
      diskOperations: disks.length > 0 ? 0 : null,
      packetsSent: networks.some(({ type }) => type === 'tap') ? 0 : null,
    };
  }

  /** Whole operations and packets. */
  get counts(): FakeCounts {
    const { diskOperations, packetsSent } = this.#counts;
    return { diskOperations: whole(diskOperations), packetsSent: whole(packetsSent) };
  }

  set(counts: FakeCounts): void {
    this.#counts = counts;
  }

  /** A device that is named is there from now on. */
  setRate(rate: FakeIoRate): void {
    this.#rate = rate;
    const { diskOperations, packetsSent } = this.#counts;
    this.#counts = {
      diskOperations: rate.diskOperations === undefined ? diskOperations : (diskOperations ?? 0),
      packetsSent: rate.packetsSent === undefined ? packetsSent : (packetsSent ?? 0),
    };
  }

  /** The guest ran for so long. */
  accrue(elapsedNs: number): void {
    const { diskOperations, packetsSent } = this.#counts;
    this.#counts = {
      diskOperations: later(diskOperations, this.#rate.diskOperations, elapsedNs),
      packetsSent: later(packetsSent, this.#rate.packetsSent, elapsedNs),
    };
  }
}

function later(count: number | null, perSecond: number | undefined, elapsedNs: number): number | null {
  return count === null ? null : count + ((perSecond ?? 0) * elapsedNs) / 1e9;
}

function whole(count: number | null): number | null {
  return count === null ? null : Math.floor(count);
}
