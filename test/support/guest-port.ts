/** The side of a virtio-serial port that QEMU and the guest have: a Unix socket server that takes one connection. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A folder of its own for sockets; its removal. */
export function socketFolder(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'port-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** One port. */
export class GuestPort {
  readonly path: string;
  /** What the host wrote, as it comes. */
  onData: (chunk: Buffer) => void = () => undefined;
  /** Connections taken so far. */
  accepted = 0;
  /** False before `open`: what the host writes stays in the kernel until `read`. */
  reading = true;
  #server: Server | null = null;
  #sockets = new Set<Socket>();

  constructor(path: string) {
    this.path = path;
  }

  /** Listens, as QEMU does from its start. */
  async open(): Promise<void> {
    rmSync(this.path, { force: true });
    const server = createServer({ pauseOnConnect: !this.reading }, (socket) => {
      this.accepted += 1;
      this.#sockets.add(socket);
      socket.on('data', (chunk) => this.onData(chunk));
      if (!this.reading) socket.pause();
      socket.on('error', () => undefined);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    this.#server = server;
    server.listen(this.path);
    await once(server, 'listening');
  }

  /** Bytes written that the host's kernel has not taken. */
  get unsentBytes(): number {
    let bytes = 0;
    for (const socket of this.#sockets) bytes += socket.writableLength;
    return bytes;
  }

  /** Reads what came meanwhile. */
  read(): void {
    for (const socket of this.#sockets) socket.resume();
  }

  write(bytes: string | Uint8Array): void {
    for (const socket of this.#sockets) socket.write(bytes);
  }

  /** Hangs up on the host but goes on listening. */
  hangUp(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** The process is gone, and its socket with it. */
  async close(): Promise<void> {
    const server = this.#server;
    if (server === null) return;
    this.#server = null;
    const closed = once(server, 'close');
    server.close();
    this.hangUp();
    await closed;
  }
}
