/**
 * What a machine's devices have done, as QEMU and the host's kernel count it. QEMU's answer is not trusted: one that
 * has not exactly the expected shape is an error, never a number.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { VmError } from '@vmpulse/wire';
import { asObject } from './qmp.ts';

/** Counters of one drive in query-blockstats that mean work done for the guest. Source: QEMU's qapi/block-core.json. */
const driveCounters = ['rd_operations', 'wr_operations', 'flush_operations', 'unmap_operations'] as const;

/**
 * Reads, writes, flushes and discards that all drives of a `query-blockstats` completed; null when there is no drive.
 * Errors: VMPULSE_E_HYPERVISOR when it cannot be understood.
 */
export function diskOperationsOf(answer: unknown): number | null {
  if (!Array.isArray(answer)) throw unreadable();
  if (answer.length === 0) return null;
  return answer.reduce((sum: number, drive: unknown) => {
    const stats = asObject(asObject(drive)?.['stats']);
    if (stats === null) throw unreadable();
    return driveCounters.reduce((part, name) => part + count(stats[name], name === 'unmap_operations'), sum);
  }, 0);
}

/** QEMU before 4.2 counts no discards. */
function count(value: unknown, optional: boolean): number {
  if (optional && value === undefined) return 0;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw unreadable();
  return value;
}

function unreadable(): VmError {
  const text =
    'QEMU answered query-blockstats with something vmpulse does not understand; the disks are not counted.';
  return new VmError('VMPULSE_E_HYPERVISOR', text);
}

/**
 * Names of the host's tap devices that process `pid` holds open, whoever made them: a configured tap, or the one that
 * the bridge helper made and nobody told the name of. The kernel names the device of each open /dev/net/tun
 * (drivers/net/tun.c, `iff:`). Empty when it has none or they may not be looked at.
 */
export function tapDevices(pid: number): string[] {
  const names = new Set<string>();
  try {
    for (const fd of readdirSync(`/proc/${pid}/fd`)) {
      const name = tapBehind(pid, fd);
      if (name !== null) names.add(name);
    }
  } catch {
    // The process is gone, or another user's.
  }
  return [...names].toSorted();
}

function tapBehind(pid: number, fd: string): string | null {
  try {
    if (readlinkSync(`/proc/${pid}/fd/${fd}`) !== '/dev/net/tun') return null;
    return tapNameIn(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1'));
  } catch {
    // Closed meanwhile.
    return null;
  }
}

/** The device named in the fdinfo of a /dev/net/tun; null for one that has none yet. */
export function tapNameIn(fdinfo: string): string | null {
  // A device's name has up to 15 characters, no white space and no slash, and is a file's name in /sys.
  const name = /^iff:\s*([^\s/]{1,15})$/m.exec(fdinfo)?.[1];
  return name === undefined || /^\.{1,2}$/.test(name) ? null : name;
}

/**
 * Packets that came in by the tap devices together, which is what the guest sent; null when there is none, or one that
 * was there cannot be read (renamed, moved to another namespace): a sum without it would seem to run backwards.
 */
export function packetsSentBy(taps: readonly string[], directory = '/sys/class/net'): number | null {
  if (taps.length === 0) return null;
  let sum = 0;
  for (const tap of taps) {
    try {
      const text = readFileSync(`${directory}/${tap}/statistics/rx_packets`, 'latin1').trim();
      if (!/^\d{1,15}$/.test(text)) return null;
      sum += Number(text);
    } catch {
      return null;
    }
  }
  return sum;
}
