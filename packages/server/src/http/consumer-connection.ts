/**
 * One consumer's connection to its subscription, as server-sent events. What is unsent is bounded by what may be in
 * flight; a consumer that takes nothing for `streamStallTimeoutMs` is cut off, so that the next one is served.
 */
import type { ServerResponse } from 'node:http';
import type { SubscriptionLease, SubscriptionLoss, SubscriptionRewind, VmEvent } from '@vmpulse/wire';
import type { Clock, Timer } from '../clock.ts';
import type { Consumer } from '../delivery/consumer.ts';
import {
  maxConsumerBacklogBytes,
  streamHeartbeatMs,
  streamRetryMs,
  streamStallTimeoutMs,
} from '../limits.ts';
import { type FrameCache, commentFrame } from './event-frame.ts';
import type { Metrics } from './metrics.ts';

/** What a connection needs of its server. */
export interface ConsumerSurroundings {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly frames: FrameCache;
}

/** See the head of this file. */
export class ConsumerConnection implements Consumer {
  readonly #response: ServerResponse;
  readonly #surroundings: ConsumerSurroundings;
  #standing = 'waiting for the consumer that is served to leave';
  #heartbeat: Timer | undefined;
  #stall: Timer | undefined;

  /** Its headers were written. */
  constructor(response: ServerResponse, surroundings: ConsumerSurroundings) {
    this.#response = response;
    this.#surroundings = surroundings;
    response.once('close', () => {
      this.#heartbeat?.cancel();
      this.#stall?.cancel();
    });
    // A connection that broke says so by `close` too; without a listener its error would end the service.
    response.on('error', () => response.destroy());
    response.on('drain', () => {
      if (response.writableEnded) return;
      this.#stall?.cancel();
      this.#stall = undefined;
    });
  }

  /** Says that it is connected, and from then on that it lives. */
  begin(): void {
    this.#write(Buffer.from(`: vmpulse\nretry: ${streamRetryMs}\n\n`));
    this.#beat();
  }

  served(lease: SubscriptionLease): void {
    this.#standing = 'served';
    this.#message('lease', lease);
  }

  deliver(event: VmEvent, attempt: number): void {
    if (attempt > 1) this.#write(commentFrame(`attempt ${attempt}`));
    const frame = this.#surroundings.frames.frame(event);
    this.#surroundings.metrics.streamWrote(1, frame.length);
    this.#write(frame);
  }

  rewind(rewind: SubscriptionRewind): void {
    this.#message('rewind', rewind);
  }

  lostPlace(loss: SubscriptionLoss): void {
    this.#message('lostPlace', loss);
  }

  end(remark: string): void {
    if (this.#stall !== undefined) {
      this.#response.destroy();
      return;
    }
    this.#write(commentFrame(remark));
    this.#response.end();
    // One that hangs takes not even the end.
    this.#stall ??= this.#cutLater();
  }

  #message(name: string, data: object): void {
    this.#write(Buffer.from(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`));
  }

  #beat(): void {
    const { clock } = this.#surroundings;
    this.#heartbeat = clock.setTimer(() => {
      // Behind what was not taken nothing more is put.
      if (this.#stall === undefined) this.#write(commentFrame(this.#standing));
      this.#beat();
    }, streamHeartbeatMs);
  }

  #write(frame: Buffer): void {
    const response = this.#response;
    if (response.destroyed || response.writableEnded) return;
    if (response.writableLength > maxConsumerBacklogBytes) {
      this.#surroundings.metrics.slowReaderCut();
      response.destroy();
      return;
    }
    if (response.write(frame)) return;
    this.#stall ??= this.#cutLater();
  }

  #cutLater(): Timer {
    const { clock, metrics } = this.#surroundings;
    return clock.setTimer(() => {
      metrics.slowReaderCut();
      this.#response.destroy();
    }, streamStallTimeoutMs);
  }
}
