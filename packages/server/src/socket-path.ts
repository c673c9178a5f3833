/** Unix socket addresses, which are much shorter than paths may be. */
import { relative, resolve } from 'node:path';
import { VmError } from '@vmpulse/wire';
import { maxSocketPathBytes } from './limits.ts';

/**
 * What to give to connect() or listen() for the socket at `path`: the absolute path or the one relative to the working
 * directory, whichever is shorter. Errors: VMPULSE_E_DATA_DIRECTORY when neither fits into a socket address.
 */
export function socketAddress(path: string, workingDirectory: string = process.cwd()): string {
  const absolute = resolve(workingDirectory, path);
  const fromHere = relative(workingDirectory, absolute);
  const address = Buffer.byteLength(fromHere) < Buffer.byteLength(absolute) ? fromHere : absolute;
  const bytes = Buffer.byteLength(address);
  if (bytes <= maxSocketPathBytes) return address;
  throw new VmError(
    'VMPULSE_E_DATA_DIRECTORY',
    `The socket path ${absolute} has ${bytes} bytes and the system takes ${maxSocketPathBytes}: ` +
      'use a data directory with a shorter path (--data DIR), or start vmpulse in a directory nearer to it.',
  );
}
