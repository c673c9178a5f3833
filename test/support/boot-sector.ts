/**
 * Guests of 512 bytes: a disk whose boot sector does one thing a fraction of a second after the machine was started,
 * and again after each reset. What they do needs no operating system: x86 real mode, COM1, and the registers of q35.
 */
import { writeFile } from 'node:fs/promises';

/** One instruction or a few, in order. */
type Code = readonly number[];

/** Where the firmware puts a boot sector. */
const origin = 0x7c00;
const sectorBytes = 512;
/** Some sectors more, as a disk of one is refused. */
const diskBytes = 1024 * 1024;

const clearInterrupts: Code = [0xfa];

const word = (value: number): Code => [value & 0xff, value >> 8];

/** mov dx, port; mov al, value; out dx, al */
const outByte = (port: number, value: number): Code => [0xba, ...word(port), 0xb0, value, 0xee];

/** mov dx, port; mov ax, value; out dx, ax */
const outWord = (port: number, value: number): Code => [0xba, ...word(port), 0xb8, ...word(value), 0xef];

const print = (text: string): Code => [...Buffer.from(text)].flatMap((byte) => outByte(0x3f8, byte));

/** hlt; jmp back to it */
const rest: Code = [0xf4, 0xeb, 0xfd];

/** mov cx, rounds; outer: push cx; xor cx, cx; inner: loop inner; pop cx; loop outer */
const wait = (rounds: number): Code => [
  0xb9,
  ...word(rounds),
  0x51,
  0x31,
  0xc9,
  0xe2,
  0xfe,
  0x59,
  0xe2,
  0xf8,
];

/** SeaBIOS puts the power management registers of q35 at 0x600: bit 13 of PM1a_CNT does it, bits 10 to 12 say what. */
const sleep = (type: number): Code => outWord(0x604, 0x2000 | (type << 10));

/** Interrupt table of no length at the sector's end, then an interrupt: it faults, and so does telling of that. */
const fault: Code = [0x31, 0xc0, 0x8e, 0xd8, 0x0f, 0x01, 0x1e, ...word(origin + 500), 0xcc];

/** What each guest does. */
const programs = {
  /** Prints a line and idles. */
  idle: [...print('booted\n'), ...rest],
  /** Prints a line, waits some 100 ms and meets a triple fault. */
  tripleFault: [...print('booted\n'), ...wait(0x200), ...fault],
  /** The same wait, and a reset as operating systems do it. */
  reboot: [...wait(0x200), ...outByte(0xcf9, 0x06), ...rest],
  /** S3. */
  suspend: [...sleep(1), ...rest],
  /** S4. */
  hibernate: [...sleep(2), ...rest],
} satisfies Record<string, Code>;

/** A guest of this kind. */
export type BootSector = keyof typeof programs;

/** Writes the disk image of such a guest. */
export async function writeBootDisk(file: string, kind: BootSector): Promise<void> {
  const disk = Buffer.alloc(diskBytes);
  disk.set([...clearInterrupts, ...programs[kind]]);
  disk.set([0x55, 0xaa], sectorBytes - 2);
  await writeFile(file, disk);
}
