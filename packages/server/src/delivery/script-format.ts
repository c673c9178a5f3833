/**
 * Does the kernel run an executable file itself? What it does not know (ENOEXEC), the C library's execvp gives to
 * /bin/sh, and node starts processes with that: a text without `#!` would be run by a shell nobody asked for. What
 * binfmt_misc was told of needs its interpreter named, too.
 */
import { constants, open } from 'node:fs/promises';
import { resolve } from 'node:path';

/** What the kernel reads of a file to know it, bytes. */
const headBytes = 256;
/** Interpreters of interpreters that it follows. */
const maxInterpreters = 4;
const elf = Buffer.from('\u007fELF', 'latin1');
const interpreted = Buffer.from('#!');

/**
 * Why the kernel would not run `file`; null where it would, or where starting it tells why not better (missing, not
 * executable, not readable). `directory`: what relative interpreters are relative to.
 */
export async function whyNoProgram(file: string, directory: string, depth = 0): Promise<string | null> {
  const head = await headOf(resolve(directory, file));
  if (head === null || head.subarray(0, elf.length).equals(elf)) return null;
  if (!head.subarray(0, interpreted.length).equals(interpreted)) {
    return `${file} is no program: it is neither ELF nor begins with #! and an interpreter; name its interpreter`;
  }
  const [line = ''] = head.subarray(interpreted.length).toString('latin1').split('\n', 1);
  const interpreter = /^[ \t]*([^ \t\0]+)(.?)/su.exec(line);
  const isCut = interpreter?.[2] === '' && !head.includes('\n') && head.length === headBytes;
  if (interpreter?.[1] === undefined || isCut || depth >= maxInterpreters) {
    return `${file} is no program: its first line names no interpreter that can be used`;
  }
  return whyNoProgram(Buffer.from(interpreter[1], 'latin1').toString(), directory, depth + 1);
}

async function headOf(file: string): Promise<Buffer | null> {
  try {
    // A pipe must not hold up who opens it.
    const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      if (!(await handle.stat()).isFile()) return null;
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(headBytes), 0, headBytes, 0);
      return buffer.subarray(0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch {
    return null;
  }
}
