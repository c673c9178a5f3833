/**
 * The ticker's protocol, read byte by byte as it comes: `hello`, `tick` and `bye` lines of at most 512 bytes, newline
 * included. Everything else is dropped and counted. The bytes are a guest's:
 *
 * 1. Whatever comes, nothing throws, and at most 512 bytes are retained.
 * 2. How the bytes are cut into chunks changes nothing of what is heard.
 * 3. A valid line is heard whatever came before its preceding newline.
 *
 * After the two numbers of a tick and the reason of a bye, ` key=value` words may follow and are ignored, as unknown
 * keys are everywhere: a later ticker keeps being heard by an older server.
 */
import { maxTickLineBytes } from '../limits.ts';
import { parseHello } from './hello.ts';
import type { ByeReason, TickListener } from './source.ts';

/** What the parser calls; `onRejected` at most once for each `feed`. */
export type TickerHandler = Pick<TickListener, 'onHello' | 'onTick' | 'onBye' | 'onRejected'>;

const newline = 0x0a;
const space = 0x20;
const equals = 0x3d;
const zero = 0x30;
const nine = 0x39;
const tickWord = [0x74, 0x69, 0x63, 0x6b, space] as const;

const byeLine = /^bye (shutdown|reboot|stop)( [!-<>-~]+=[!-~]*)*$/;

/** Are `bytes` from `at` to `end` nothing but ` key=value` words? */
function areWords(bytes: Uint8Array, from: number, end: number): boolean {
  let at = from;
  while (at < end) {
    if (bytes[at] !== space) return false;
    const start = ++at;
    let keyEnd = -1;
    for (; at < end && bytes[at] !== space; at++) {
      const byte = bytes[at] ?? 0;
      if (byte < 0x21 || byte > 0x7e) return false;
      if (byte === equals && keyEnd < 0) keyEnd = at;
    }
    if (keyEnd <= start) return false;
  }
  return true;
}

/** Reads one port's input. */
export class TickerParser {
  readonly #handler: TickerHandler;
  /** A line's beginning whose end has not come yet; made when first needed, since most lines come whole. */
  #partial: Uint8Array | null = null;
  #partialLength = 0;
  /** The line is too long already: everything up to its newline goes. */
  #skipping = false;
  #rejected = 0;
  /** Where the number that `#number` read ends, or -1 when there was none. */
  #numberEnd = -1;

  constructor(handler: TickerHandler) {
    this.#handler = handler;
  }

  /** Bytes kept until more input comes; never more than 512. */
  get retainedBytes(): number {
    return this.#partialLength;
  }

  /** Takes the first `length` bytes; they may be overwritten once the call returns. */
  feed(bytes: Uint8Array, length: number = bytes.length): void {
    let at = 0;
    while (at < length) {
      const waiting = this.#skipping || this.#partialLength > 0;
      const afterTick = waiting ? -1 : this.#tick(bytes, at, length);
      if (afterTick >= 0) {
        at = afterTick;
        continue;
      }
      let end = at;
      while (end < length && bytes[end] !== newline) end++;
      if (end < length) this.#lineEnded(bytes, at, end);
      else this.#keep(bytes, at, length);
      at = end + 1;
    }
    this.#tellRejected();
  }

  /** The connection ended: what it left unfinished is no line. */
  reset(): void {
    this.#rejected += this.#partialLength;
    this.#partialLength = 0;
    this.#skipping = false;
    this.#tellRejected();
  }

  /** Hears the tick line at `at` straight from the bytes. Returns where the next line begins, -1 if this is not one. */
  #tick(bytes: Uint8Array, at: number, length: number): number {
    for (let i = 0; i < tickWord.length; i++) if (bytes[at + i] !== tickWord[i]) return -1;
    const seq = this.#number(bytes, at + tickWord.length, length);
    const seqEnd = this.#numberEnd;
    if (seqEnd < 0 || bytes[seqEnd] !== space) return -1;
    const uptimeMs = this.#number(bytes, seqEnd + 1, length);
    let end = this.#numberEnd;
    if (end < 0) return -1;
    if (bytes[end] !== newline) {
      const wordsFrom = end;
      while (end < length && bytes[end] !== newline) end++;
      if (end >= length || !areWords(bytes, wordsFrom, end)) return -1;
    }
    if (end >= length || end - at >= maxTickLineBytes) return -1;
    this.#handler.onTick(seq, uptimeMs);
    return end + 1;
  }

  #number(bytes: Uint8Array, from: number, length: number): number {
    let value = 0;
    let at = from;
    for (; at < length; at++) {
      const byte = bytes[at] ?? 0;
      if (byte < zero || byte > nine) break;
      value = value * 10 + (byte - zero);
      if (value > Number.MAX_SAFE_INTEGER) {
        this.#numberEnd = -1;
        return 0;
      }
    }
    this.#numberEnd = at === from || at >= length ? -1 : at;
    return value;
  }

  /** The newline of the current line is at `end`. */
  #lineEnded(bytes: Uint8Array, from: number, end: number): void {
    const kept = this.#partialLength;
    const lineBytes = kept + end - from + 1;
    const dropped = this.#skipping || lineBytes > maxTickLineBytes;
    const line = dropped || kept === 0 ? null : this.#append(bytes, from, end + 1);
    this.#partialLength = 0;
    this.#skipping = false;
    if (dropped) this.#rejected += lineBytes;
    else if (line === null) this.#line(bytes, from, end);
    else if (this.#tick(line, 0, lineBytes) < 0) this.#line(line, 0, lineBytes - 1);
  }

  /** No newline yet. */
  #keep(bytes: Uint8Array, from: number, length: number): void {
    // A line that fits has at most 511 bytes before its newline.
    if (this.#skipping || this.#partialLength + length - from >= maxTickLineBytes) {
      this.#rejected += this.#partialLength + length - from;
      this.#partialLength = 0;
      this.#skipping = true;
      return;
    }
    this.#append(bytes, from, length);
  }

  #append(bytes: Uint8Array, from: number, to: number): Uint8Array {
    // A Buffer, as what sockets read: one kind of array keeps the fast path fast.
    this.#partial ??= Buffer.allocUnsafeSlow(maxTickLineBytes);
    const partial = this.#partial;
    // A loop beats `set(subarray())` on the few bytes of a line and makes no object.
    for (let i = from; i < to; i++) partial[this.#partialLength++] = bytes[i] ?? 0;
    return partial;
  }

  /** A whole line that is no tick. */
  #line(bytes: Uint8Array, from: number, end: number): void {
    const first = bytes[from];
    if (first === 0x68 || first === 0x62) {
      const line = Buffer.from(bytes.buffer, bytes.byteOffset + from, end - from).toString('latin1');
      const bye = byeLine.exec(line);
      if (bye !== null) return this.#handler.onBye(bye[1] as ByeReason);
      const hello = parseHello(line);
      if (hello !== null) return this.#handler.onHello(hello);
    }
    this.#rejected += end - from + 1;
  }

  #tellRejected(): void {
    if (this.#rejected === 0) return;
    const rejected = this.#rejected;
    this.#rejected = 0;
    this.#handler.onRejected(rejected);
  }
}
