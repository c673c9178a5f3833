/**
 * Whether the last of what a guest wrote to its serial port is a kernel that panicked. The text is the guest's own
 * word: it never decides anything by itself.
 */

/** What kernels print when they stop for good. */
const panics: readonly RegExp[] = [
  // Linux: kernel/panic.c.
  /Kernel panic - not syncing: ?([^\r\n]*)/gu,
  /end Kernel panic - not syncing: ?([^\r\n]*)/gu,
  // FreeBSD, OpenBSD, NetBSD.
  /(?:^|\n)panic: ?([^\r\n]*)/gu,
];

/** What firmware, boot loaders and kernels print when they begin: a panic before it is of an earlier boot. */
const boots = /SeaBIOS|BdsDxe|iPXE|GNU GRUB|Linux version \d|Booting `|FreeBSD\/\w+ bootstrap/gu;

/** Longest text kept of a panic, characters. */
const maxPanicLength = 160;

/** The panic that `tail` ends with, printable and bounded, or null. */
export function kernelPanicIn(tail: string): string | null {
  let last: { at: number; text: string } | null = null;
  for (const pattern of panics) {
    for (const match of tail.matchAll(pattern)) {
      if (last === null || match.index >= last.at) last = { at: match.index, text: match[1] ?? '' };
    }
  }
  if (last === null) return null;
  for (const match of tail.matchAll(boots)) if (match.index > last.at) return null;
  const text = last.text
    .replaceAll(/[^\x20-\x7e]/gu, '')
    .trim()
    .slice(0, maxPanicLength);
  return text === '' ? 'kernel panic' : text;
}
