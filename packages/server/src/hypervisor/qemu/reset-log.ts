/**
 * What QEMU's own log (`-d cpu_reset -D FILE`) says of the resets of a machine under tcg: which was a triple fault of
 * the guest. QEMU writes `Triple fault` when a vCPU meets one, then resets the machine, writing the registers that each
 * vCPU had (`CPU Reset (CPU 0)` and so on), and only then tells RESET; so at that event the text is there. See
 * docs/adr/0011-triple-faults.md for what else is a triple fault without being a guest that failed, and for kvm.
 */
import { closeSync, fstatSync, openSync, readSync, truncateSync } from 'node:fs';
import { stat, truncate } from 'node:fs/promises';
import { maxResetLogBytes } from '../../limits.ts';

/** Resets whose events are read within this were told together, ms. */
const togetherMs = 1_000;

/** Unit of `blocks` in stat(2). */
const blockBytes = 512;

/** Was each reset in `text` one by a triple fault of the guest, in order; and what is not of a complete reset yet. */
export function resetsIn(text: string): { readonly faults: boolean[]; readonly rest: string } {
  const faults: boolean[] = [];
  // Each reset of the machine resets vCPU 0 once. What precedes its registers is the fault that led to it.
  const starts = [...text.matchAll(/^.*CPU Reset \(CPU 0\)$/gmu)].map(({ index }) => index);
  let before = text.slice(0, starts[0]);
  for (const [index, start] of starts.entries()) {
    const part = text.slice(start, starts[index + 1]);
    if (!isComplete(part)) return { faults, rest: before + part };
    faults.push(/Triple fault$/mu.test(before) && !isOnPurpose(part));
    before = part;
  }
  const fault = before.lastIndexOf('Triple fault');
  return { faults, rest: fault === -1 ? '' : before.slice(fault) };
}

/** The registers of vCPU 0 are there as far as they are looked at. */
function isComplete(part: string): boolean {
  return /^CR0=[\da-f]+ /mu.test(part.split('CPU Reset', 2)[1] ?? '');
}

/** Registers of one vCPU as QEMU prints them. */
interface Registers {
  readonly pointer: number;
  readonly interruptTableLimit: number;
  readonly paging: boolean;
}

/**
 * Firmware and kernels without a better way to reset a machine fault three times on purpose, with no interrupt table:
 * SeaBIOS at every warm boot (on vCPU 0, from its place below 1 MiB, without paging), Linux with `reboot=t` or when
 * ACPI, keyboard controller and 0xCF9 fail (on any vCPU, with paging; native_machine_emergency_restart).
 */
function isOnPurpose(part: string): boolean {
  const vcpus = part
    .split(/^.*CPU Reset \(CPU \d+\)$/mu)
    .slice(1)
    .map(registersOf);
  const withoutTable = vcpus.map((each) => each !== null && each.interruptTableLimit === 0);
  const [first] = vcpus;
  if (first !== null && first !== undefined && withoutTable[0] === true && isFirmware(first)) return true;
  return vcpus.some((each, index) => each?.paging === true && withoutTable[index] === true);
}

function isFirmware({ pointer, paging }: Registers): boolean {
  return !paging && pointer >= 0xc0000 && pointer <= 0xfffff;
}

function registersOf(text: string): Registers | null {
  const pointer = /^[ER]IP=([\da-f]{8,16}) /mu.exec(text)?.[1];
  const base = /^CS =[\da-f]{4} ([\da-f]{8,16}) /mu.exec(text)?.[1];
  const limit = /^IDT= +[\da-f]{8,16} ([\da-f]{8})$/mu.exec(text)?.[1];
  const control = /^CR0=([\da-f]{8}) /mu.exec(text)?.[1];
  if (pointer === undefined || base === undefined || limit === undefined || control === undefined)
    return null;
  return {
    pointer: Number.parseInt(pointer, 16) + Number.parseInt(base, 16),
    interruptTableLimit: Number.parseInt(limit, 16),
    paging: Number.parseInt(control, 16) >= 0x80000000,
  };
}

/** The log of one machine. */
export class ResetLog {
  readonly #path: string;
  #faults: boolean[] = [];
  #rest = '';
  #readMs = -Infinity;

  constructor(path: string) {
    this.#path = path;
  }

  /**
   * The machine was reset, as told at `atMs`: was it by a triple fault of the guest? Synchronously, so that the answer
   * comes before what is done about the reset. The log is emptied each time: a guest can reset itself without end.
   */
  reset(atMs: number): boolean {
    // Resets that were told together are in the log together, in their order. What is left of long ago was none that
    // is told (`loadvm` resets the machine without a word), and must not be taken for what comes now.
    if (atMs - this.#readMs > togetherMs) this.#faults = [];
    this.#readMs = atMs;
    const { faults, rest } = resetsIn(this.#rest + this.#take());
    this.#rest = rest.slice(-maxResetLogBytes);
    this.#faults.push(...faults);
    return this.#faults.shift() ?? false;
  }

  /** Forgets what is there: vCPUs are also reset when a machine starts and when it wakes. */
  clear(): void {
    this.#take();
    this.#faults = [];
    this.#rest = '';
  }

  /** Empties it where it has grown without a reset. It is measured by the room it takes: see #take(). */
  async trim(maxBytes: number): Promise<void> {
    const { blocks } = await stat(this.#path);
    if (blocks * blockBytes > maxBytes) await truncate(this.#path);
  }

  /** QEMU writes on where it was, so that the emptied file has a hole in front and takes no more room than is new. */
  #take(): string {
    try {
      const file = openSync(this.#path, 'r');
      try {
        const { size } = fstatSync(file);
        if (size === 0) return '';
        const start = Math.max(0, size - maxResetLogBytes);
        const buffer = Buffer.alloc(size - start);
        const text = buffer.toString('latin1', 0, readSync(file, buffer, 0, buffer.length, start));
        truncateSync(this.#path, 0);
        return text.slice(text.lastIndexOf('\0') + 1);
      } finally {
        closeSync(file);
      }
    } catch {
      // No such log: not under tcg, or a machine that an older vmpulse started.
      return '';
    }
  }
}
