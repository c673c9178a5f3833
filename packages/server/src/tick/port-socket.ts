/**
 * The host's end of one virtio-serial port: a Unix socket on which QEMU listens and a guest may write what it likes.
 *
 * All sockets of the process read into one buffer, since what is read is used up before the next read. A read that
 * fills the buffer was a turn's share of work: the port is then left alone until every other socket has had its turn.
 */
import { connect, type Socket } from 'node:net';
import type { Clock, Timer } from '../clock.ts';
import { maxTickBytesPerTurn } from '../limits.ts';

const readBuffer: Buffer<ArrayBuffer> = Buffer.allocUnsafeSlow(maxTickBytesPerTurn);

/** Receives what happens on the port, in this order: at most one `opened`, reads, exactly one `closed`. */
export interface PortHandler {
  opened(): void;
  /** The first `length` bytes are valid until this returns. Returns for how many ms to leave the port unread, or 0. */
  read(bytes: Uint8Array, length: number): number;
  /** The connection ended or never came to be; `code` is the system's, such as ENOENT, or null for an orderly end. */
  closed(code: string | null): void;
}

/** One connection. It connects at once, never blocks and never throws. */
export class PortSocket {
  readonly #clock: Clock;
  readonly #handler: PortHandler;
  readonly #socket: Socket;
  #holdTimer: Timer | null = null;
  #paused = false;
  #backlogged = false;
  /** Counts pauses, so that an answer to an earlier one is not taken for the latest. */
  #pauses = 0;
  #destroyed = false;

  constructor(clock: Clock, path: string, handler: PortHandler) {
    this.#clock = clock;
    this.#handler = handler;
    let code: string | null = null;
    const onread = { buffer: readBuffer, callback: (length: number): boolean => this.#read(length) };
    this.#socket = connect({ path, onread });
    this.#socket.once('connect', () => {
      if (!this.#destroyed) handler.opened();
    });
    this.#socket.on('error', (error: NodeJS.ErrnoException) => {
      code = error.code ?? 'EIO';
    });
    this.#socket.once('close', () => {
      this.#holdTimer?.cancel();
      if (this.#destroyed) return;
      this.#destroyed = true;
      handler.closed(code);
    });
  }

  /** Is there, or may there be, input that a poll of the event loop has not read? */
  get backlogged(): boolean {
    return this.#backlogged && !this.#destroyed;
  }

  /** Bytes that wait to be taken by QEMU. */
  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  write(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  /** Ends the connection; the handler hears nothing any more, `closed` included. Idempotent. */
  destroy(): void {
    this.#destroyed = true;
    this.#holdTimer?.cancel();
    this.#socket.destroy();
  }

  #read(length: number): boolean {
    if (this.#destroyed) return false;
    const full = length === readBuffer.length;
    const holdMs = this.#handler.read(readBuffer, length);
    if (this.#destroyed) return false;
    if (holdMs === 0 && !full) {
      this.#backlogged = false;
      return true;
    }
    this.#paused = true;
    this.#backlogged = true;
    this.#pauses += 1;
    if (holdMs > 0) this.#holdTimer = this.#clock.setTimer(() => this.#resume(), holdMs);
    else this.#clock.afterPoll(() => this.#resume());
    return false;
  }

  #resume(): void {
    if (this.#destroyed) return;
    this.#paused = false;
    this.#socket.resume();
    const pauses = this.#pauses;
    this.#clock.afterPoll(() => {
      if (!this.#paused && this.#pauses === pauses) this.#backlogged = false;
    });
  }
}
