// One set-up at a time in one checkout. The lock is an abstract Unix socket: binding it is atomic, and the
// kernel frees it when its holder ends, however it ends, so there is no stale lock to recognise or break.
import { createHash } from 'node:crypto';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const RETRY_MS = 250;

/** @param {string} address @returns {Promise<import('node:net').Server | undefined>} */
function bind(address) {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.on('error', () => {}).end(String(process.pid)));
    server.once('error', (/** @type {NodeJS.ErrnoException} */ error) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else reject(error);
    });
    server.listen(address, () => {
      server.unref();
      resolve(server);
    });
  });
}

/** @param {string} address @returns {Promise<string>} the holder's process id, empty when it does not say */
function holder(address) {
  return new Promise((resolve) => {
    let said = '';
    const socket = connect(address).setEncoding('utf8').setTimeout(RETRY_MS);
    socket.on('data', (text) => (said += String(text)));
    socket.on('timeout', () => socket.destroy());
    socket.on('error', () => {});
    socket.on('close', () => resolve(said));
  });
}

/**
 * Runs `work` while no other process runs work on the same folder.
 * @template T
 * @param {string} folder
 * @param {number} deadlineMs  how long to wait for the other process
 * @param {(pid: string) => void} onWait  told once, when there is somebody to wait for
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function alone(folder, deadlineMs, onWait, work) {
  const address = `\0vmpulse-setup-${createHash('sha256').update(folder).digest('hex').slice(0, 32)}`;
  const since = performance.now();
  let told = false;
  let server = await bind(address);
  while (server === undefined) {
    const pid = await holder(address);
    if (!told) onWait(pid);
    told = true;
    if (performance.now() - since > deadlineMs) {
      throw new Error(
        `another set-up (process ${pid}) has not ended in ${Math.round(deadlineMs / 60_000)} minutes: end it`,
      );
    }
    await sleep(RETRY_MS);
    server = await bind(address);
  }
  try {
    return await work();
  } finally {
    server.close();
  }
}
