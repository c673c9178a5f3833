/**
 * Ticks as they come out of QEMU's virtio-serial ports, one Unix socket for each guest. Nothing is ever written to a
 * port. A guest may flood its port: it gets one read a turn of the event loop, and beyond what any ticker sends its
 * port is read ten times a second at most, where QEMU's own flow control stops the guest's writes. The ticks among a
 * flood still count.
 */
import { watch, type FSWatcher } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { Clock, Timer } from '../clock.ts';
import { PortSocket } from './port-socket.ts';
import { TickerParser } from './protocol.ts';
import type { ByeReason, Hello, TickListener, TickSource, TickSubscription } from './source.ts';

/** First wait before connecting again; QEMU starts in about this time. */
const minReconnectMs = 50;
/** Longest wait before connecting again; a watch on the folder usually ends it earlier. */
const maxReconnectMs = 2_000;
/** Input a port may always have, bytes per ms: a ticker at its fastest, 100 ms, has below 5 KiB/s with `readCost`. */
const sustainedBytesPerMs: number = (64 * 1024) / 1000;
/** Input beyond that which is no flood yet, bytes: twice what a socket holds after vmpulse itself was stopped. */
const burstBytes: number = 512 * 1024;
/** What a read costs whatever it brings, as bytes: one byte at a time is a flood too. */
const readCost = 256;
/** How long a flooding port is left unread after each read, at least. */
const floodPauseMs = 100;
/** A flooding port gets at most this part of the event loop's time, whatever its bytes cost to read. */
const floodShare: number = 1 / 200;
/** How long a flooding port is left unread at most; its guest shows as backlogged meanwhile, never as silent. */
const maxFloodPauseMs = 2_000;

/** Listens to the ticker. Addresses are paths that fit `sockaddr_un`. */
export class VirtioSerialSource implements TickSource {
  readonly kind = 'ticker';
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  listen(address: string, listener: TickListener): TickSubscription {
    const port = new TickerPort(this.#clock, address, listener);
    return { close: () => port.close(), backlogged: () => port.backlogged };
  }
}

/** One port, connected again and again until closed. */
class TickerPort {
  readonly #clock: Clock;
  readonly #address: string;
  readonly #listener: TickListener;
  readonly #parser: TickerParser;
  readonly #attempts: Reconnection;
  #socket: PortSocket | null = null;
  #connected = false;
  #closed = false;
  /** Input that counts towards a flood, bytes, as of `#levelAtMs`. */
  #level = 0;
  #levelAtMs: number;

  constructor(clock: Clock, address: string, listener: TickListener) {
    this.#clock = clock;
    this.#address = address;
    this.#listener = listener;
    this.#levelAtMs = clock.monotonicMs();
    this.#parser = new TickerParser({
      onHello: (hello: Hello) => this.#closed || listener.onHello(hello),
      onTick: (seq: number, uptimeMs: number) => this.#closed || listener.onTick(seq, uptimeMs),
      onBye: (reason: ByeReason) => this.#closed || listener.onBye(reason),
      onRejected: (bytes: number) => this.#closed || listener.onRejected(bytes),
    });
    this.#attempts = new Reconnection(clock, address, () => this.#connect());
    this.#connect();
  }

  get backlogged(): boolean {
    return this.#socket?.backlogged ?? false;
  }

  close(): void {
    this.#closed = true;
    this.#attempts.close();
    this.#socket?.destroy();
    this.#socket = null;
  }

  #connect(): void {
    this.#socket = new PortSocket(this.#clock, this.#address, {
      opened: () => this.#opened(),
      read: (bytes, length) => this.#read(bytes, length),
      closed: () => this.#lost(),
    });
  }

  #opened(): void {
    this.#connected = true;
    this.#attempts.succeeded();
    this.#listener.onConnection(true);
  }

  #read(bytes: Uint8Array, length: number): number {
    const flooding = this.#level > burstBytes;
    const beforeMs = flooding ? this.#clock.monotonicMs() : 0;
    this.#parser.feed(bytes, length);
    const now = this.#clock.monotonicMs();
    const leaked = (now - this.#levelAtMs) * sustainedBytesPerMs;
    this.#levelAtMs = now;
    this.#level = Math.max(0, this.#level - leaked) + length + readCost;
    if (this.#level <= burstBytes) return 0;
    // Forgets what lies further back, so that a flood's end is noticed within about a second.
    this.#level = Math.min(this.#level, burstBytes + sustainedBytesPerMs * 1000);
    const costMs = flooding ? now - beforeMs : 0;
    return Math.min(Math.max(costMs / floodShare, floodPauseMs), maxFloodPauseMs);
  }

  #lost(): void {
    this.#socket = null;
    this.#parser.reset();
    // Before the listener is called, which may close the port.
    this.#attempts.failed();
    if (!this.#connected) return;
    this.#connected = false;
    if (!this.#closed) this.#listener.onConnection(false);
  }
}

/**
 * When to connect again: after a wait that doubles from 50 ms to 2 s, or at once when a socket of that name appears in
 * its folder (QEMU was started).
 */
class Reconnection {
  readonly #clock: Clock;
  readonly #address: string;
  readonly #attempt: () => void;
  #delayMs = minReconnectMs;
  #connectedAtMs: number | null = null;
  #timer: Timer | null = null;
  #watcher: FSWatcher | null = null;
  /** The socket appeared while an attempt was under way. */
  #appeared = false;
  #closed = false;

  constructor(clock: Clock, address: string, attempt: () => void) {
    this.#clock = clock;
    this.#address = address;
    this.#attempt = attempt;
  }

  succeeded(): void {
    this.#connectedAtMs = this.#clock.monotonicMs();
    this.#appeared = false;
    this.#unwatch();
  }

  /** The attempt, or the connection it made, is over. */
  failed(): void {
    if (this.#closed) return;
    // One that accepts and hangs up at once must not be called as fast as we can.
    const lasted = this.#connectedAtMs === null ? 0 : this.#clock.monotonicMs() - this.#connectedAtMs;
    this.#connectedAtMs = null;
    if (this.#appeared || lasted >= maxReconnectMs) this.#delayMs = minReconnectMs;
    this.#watch();
    this.#timer = this.#clock.setTimer(() => this.#go(), this.#appeared ? 0 : this.#delayMs);
    this.#appeared = false;
    this.#delayMs = Math.min(this.#delayMs * 2, maxReconnectMs);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#unwatch();
  }

  #go(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#attempt();
  }

  #watch(): void {
    if (this.#watcher !== null) return;
    const name = basename(this.#address);
    try {
      this.#watcher = watch(dirname(this.#address), { persistent: false }, (event, changed) => {
        if (event !== 'rename' || changed !== name || this.#closed) return;
        this.#delayMs = minReconnectMs;
        if (this.#timer === null) this.#appeared = true;
        else this.#go();
      });
      this.#watcher.on('error', () => this.#unwatch());
    } catch {
      // No folder yet, or no more watches to be had: the wait alone does it.
      this.#watcher = null;
    }
  }

  #unwatch(): void {
    this.#watcher?.close();
    this.#watcher = null;
  }
}
