/** The Unix socket: reachable by its owner alone from its first moment, and never taken from a server that lives. */
import { chmodSync } from 'node:fs';
import { lstat, unlink } from 'node:fs/promises';
import { type Server, connect } from 'node:net';
import { VmError } from '@vmpulse/wire';
import type { Clock } from '../clock.ts';
import { maxSocketPathBytes, socketProbeTimeoutMs } from '../limits.ts';

const failed = (detail: string, cause?: unknown): VmError =>
  new VmError('VMPULSE_E_LISTEN', detail, cause === undefined ? {} : { cause });

const codeOf = (thrown: unknown): string => (thrown as NodeJS.ErrnoException).code ?? String(thrown);

/** How whoever may hold `path` answers. Only a refused connection proves that nobody does. */
async function probe(path: string, clock: Clock): Promise<'lives' | 'dead'> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const done = (answer: 'lives' | 'dead'): void => {
      timer.cancel();
      socket.destroy();
      resolve(answer);
    };
    const timer = clock.setTimer(() => done('lives'), socketProbeTimeoutMs);
    socket.once('connect', () => done('lives'));
    socket.once('error', (error) => done(/ECONNREFUSED|ENOENT/.test(codeOf(error)) ? 'dead' : 'lives'));
  });
}

/** Makes room for a socket at `path`: a dead server's is removed. Errors: VMPULSE_E_LISTEN. */
async function clear(path: string, clock: Clock): Promise<void> {
  if (Buffer.byteLength(path) > maxSocketPathBytes) {
    throw failed(
      `The path of the Unix socket ${path} is ${Buffer.byteLength(path)} bytes long and Linux takes ` +
        `${maxSocketPathBytes}; choose a data directory with a shorter path.`,
    );
  }
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket()) throw failed(`${path} is in the way of the Unix socket; move it elsewhere.`);
  if ((await probe(path, clock)) === 'lives') {
    throw failed(
      `Another server answers on ${path}; stop it first, or use another data directory. ` +
        `Who holds it: ss -xlp src ${path}`,
    );
  }
  await unlink(path).catch(() => undefined);
}

/** Lets `server` listen on a new socket at `path` with mode 0600. Errors: VMPULSE_E_LISTEN. */
export async function listenOnUnixSocket(server: Server, path: string, clock: Clock): Promise<void> {
  await clear(path, clock);
  await new Promise<void>((resolve, reject) => {
    const onError = (cause: Error): void => {
      reject(
        failed(
          `The Unix socket ${path} cannot be made (${codeOf(cause)}); see that its directory exists and is yours.`,
          cause,
        ),
      );
    };
    server.once('error', onError);
    // The socket is bound within this call, so the mask covers it and nothing else of this thread. 0077 and not
    // 0177, because what another thread creates at this moment may be a directory.
    const mask = process.umask(0o077);
    try {
      server.listen({ path });
    } finally {
      process.umask(mask);
    }
    server.once('listening', () => {
      server.off('error', onError);
      try {
        chmodSync(path, 0o600);
        resolve();
      } catch (cause) {
        server.close();
        reject(failed(`The Unix socket ${path} cannot be protected (${codeOf(cause)}).`, cause));
      }
    });
  });
}
