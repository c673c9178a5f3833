/**
 * What waits for the log's writer, in order. What comes while a commit is under way goes out together in the next one:
 * one message, one transaction, one wait for the disk. While writing fails, all of it waits and is tried again; at
 * the bound the newest is dropped (see loss.ts).
 */
import { type EventDraft, VmError } from '@vmpulse/wire';
import type { Clock, Timer } from '../clock.ts';
import { maxEventBatch, maxPendingEvents } from '../limits.ts';
import { Loss } from './loss.ts';
import type { WriteItem } from './protocol.ts';
import { commitTimeoutMs, firstRetryMs, maxBatchBytes, maxPendingBytes, maxRetryMs } from './store-limits.ts';
import { ThreadGone } from './thread-client.ts';

/** Something to write, and who waits for it. `seq` is 0 for what is no event. */
export interface Pending {
  readonly item: WriteItem;
  /** JSON in it, bytes. */
  readonly bytes: number;
  readonly written: (seq: number) => void;
  readonly failed: (error: VmError) => void;
}

/** What the queue works with. */
export interface WriteQueuePorts {
  readonly clock: Clock;
  /** Writes the items in one transaction; `isUnknown`: the attempt before may have succeeded. The first event's seq. */
  readonly commit: (items: readonly WriteItem[], isUnknown: boolean) => Promise<number>;
  /** After a commit, when all who waited for it were told. */
  readonly committed: () => void;
  /** Turns the event that tells a loss into something to write. */
  readonly encode: (draft: EventDraft) => Pending;
  /** Most that waits; default `maxPendingEvents`. */
  readonly maxPending?: number;
}

/** The queue. */
export class WriteQueue {
  readonly #ports: WriteQueuePorts;
  readonly #maxPending: number;
  #waiting: Pending[] = [];
  /** In the hands of the writer, or to be tried again. */
  #batch: Pending[] = [];
  #bytes = 0;
  #isWriting = false;
  #isScheduled = false;
  #isUnknown = false;
  #isClosed = false;
  #retry: Timer | null = null;
  #retryMs: number = firstRetryMs;
  #error: string | null = null;
  /** Why writing failed last, for the event that tells what was lost. */
  #reason = 'More events came than could be written.';
  #lost = 0;
  readonly #loss = new Loss();
  #drained: (() => void)[] = [];

  constructor(ports: WriteQueuePorts) {
    this.#ports = ports;
    this.#maxPending = ports.maxPending ?? maxPendingEvents;
  }

  get error(): string | null {
    return this.#error;
  }

  get pending(): number {
    return this.#batch.length + this.#waiting.length;
  }

  get lost(): number {
    return this.#lost;
  }

  /** Puts `pending` at the end. At the bound it fails with VMPULSE_E_LOG_UNAVAILABLE and is counted. */
  add(pending: Pending): void {
    if (this.#isClosed) {
      pending.failed(
        new VmError('VMPULSE_E_LOG_UNAVAILABLE', 'The event log is closed: vmpulse is stopping.'),
      );
    } else if (this.#isFull(pending.bytes)) {
      this.#drop(pending);
    } else {
      this.#tellLoss();
      this.#push(pending);
      this.#schedule();
    }
  }

  /** Takes nothing more; resolves when all is written, or gives up what is left when `deadlineMs` have passed. */
  async close(deadlineMs: number): Promise<void> {
    this.#tellLoss();
    this.#isClosed = true;
    let deadline: Timer | undefined;
    const late = new Promise<void>((resolve) => {
      deadline = this.#ports.clock.setTimer(resolve, deadlineMs);
    });
    this.#cancelRetry();
    const drained = new Promise<void>((resolve) => {
      this.#drained.push(resolve);
    });
    this.#schedule();
    await Promise.race([drained, late]);
    deadline?.cancel();
    this.#cancelRetry();
    const reason = this.#error ?? 'The event log closed before this was written.';
    const left = [...this.#batch, ...this.#waiting];
    this.#batch = [];
    this.#waiting = [];
    for (const { failed } of left) failed(new VmError('VMPULSE_E_LOG_UNAVAILABLE', reason));
  }

  #cancelRetry(): void {
    this.#retry?.cancel();
    this.#retry = null;
  }

  #isFull(bytes: number): boolean {
    return this.pending >= this.#maxPending || (this.pending > 0 && this.#bytes + bytes > maxPendingBytes);
  }

  #push(pending: Pending): void {
    this.#waiting.push(pending);
    this.#bytes += pending.bytes;
  }

  #drop(pending: Pending): void {
    if (pending.item.event !== null) this.#lost += 1;
    this.#loss.add(pending.item);
    const reason = this.#error ?? 'More events came than could be written.';
    pending.failed(new VmError('VMPULSE_E_LOG_UNAVAILABLE', `This was not recorded: ${reason}`));
  }

  /** In its place in the order: behind what was queued before the loss, before what comes after it. */
  #tellLoss(): void {
    if (this.#loss.isEmpty) return;
    const { draft, effects } = this.#loss.take(this.#ports.clock.wallMs(), this.#reason);
    const told = draft === null ? null : this.#ports.encode(draft);
    this.#push({
      item: { event: told?.item.event ?? null, effects },
      bytes: told?.bytes ?? 0,
      written: (seq) => told?.written(seq),
      failed: () => undefined,
    });
  }

  /** At the end of the turn, so that what one turn appends goes out together. */
  #schedule(): void {
    if (this.#isScheduled || this.#isWriting || this.#retry !== null) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      if (!this.#isWriting && this.#retry === null) this.#send();
    });
  }

  #send(): void {
    if (this.#batch.length === 0) this.#batch = this.#take();
    if (this.#batch.length === 0) {
      for (const resolve of this.#drained.splice(0)) resolve();
      return;
    }
    this.#isWriting = true;
    const items = this.#batch.map(({ item }) => item);
    const watchdog = this.#ports.clock.setTimer(() => {
      this.#error = `the disk has not answered for ${commitTimeoutMs / 1000} s`;
    }, commitTimeoutMs);
    void this.#write(items).finally(() => watchdog.cancel());
  }

  async #write(items: readonly WriteItem[]): Promise<void> {
    let firstSeq: number;
    try {
      firstSeq = await this.#ports.commit(items, this.#isUnknown);
    } catch (error) {
      this.#isWriting = false;
      this.#failed(error);
      return;
    }
    this.#isWriting = false;
    this.#committed(firstSeq);
  }

  #take(): Pending[] {
    let count = 0;
    let bytes = 0;
    while (count < this.#waiting.length && count < maxEventBatch) {
      bytes += this.#waiting[count]?.bytes ?? 0;
      if (count > 0 && bytes > maxBatchBytes) break;
      count += 1;
    }
    return this.#waiting.splice(0, count);
  }

  #committed(firstSeq: number): void {
    const batch = this.#batch;
    this.#batch = [];
    this.#isUnknown = false;
    this.#error = null;
    this.#retryMs = firstRetryMs;
    let seq = firstSeq;
    for (const pending of batch) {
      this.#bytes -= pending.bytes;
      pending.written(pending.item.event === null ? 0 : seq);
      if (pending.item.event !== null) seq += 1;
    }
    if (!this.#isClosed) this.#tellLoss();
    this.#ports.committed();
    this.#schedule();
  }

  #failed(thrown: unknown): void {
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    if (thrown instanceof ThreadGone) this.#isUnknown = true;
    this.#error = `writing failed: ${message}. Free disk space or mend the disk; vmpulse tries again by itself.`;
    this.#reason = `Writing failed: ${message}.`;
    this.#retry = this.#ports.clock.setTimer(() => {
      this.#retry = null;
      this.#send();
    }, this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, maxRetryMs);
  }
}
