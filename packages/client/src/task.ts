/** An operation under way, `IVMTask` and `IVMTask2` of the original. */
import { type TaskInfo, type TaskResult, VmError, isErrorCode } from '@vmpulse/wire';
import { readTaskInfo } from './answer.ts';
import { pause, startDeadline } from './deadline.ts';
import { defaultTaskTimeoutMs, taskPollMs } from './limits.ts';
import type { Link } from './link.ts';
import type { RequestOptions } from './transport.ts';

/** How to wait. */
export interface WaitOptions {
  /** Called with each change of the task. */
  onProgress?: (info: TaskInfo) => void;
  /** Ends the waiting, not the task, with E_ABORT. */
  signal?: AbortSignal;
}

/** A task as it was when last looked at; `refresh` and `waitForCompletion` look again. */
export class Task {
  readonly #link: Link;
  #info: TaskInfo;

  constructor(link: Link, info: TaskInfo) {
    this.#link = link;
    this.#info = info;
  }

  get id(): string {
    return this.#info.id;
  }
  /** All of it. */
  get info(): TaskInfo {
    return this.#info;
  }
  /** For a person: `Start web-1`. */
  get description(): string {
    return this.#info.description;
  }
  get isComplete(): boolean {
    return this.#info.isComplete;
  }
  /** 0 to 100. */
  get percentComplete(): number {
    return this.#info.percent;
  }
  get isCancelable(): boolean {
    return this.#info.isCancelable;
  }
  /** Null until it is complete. */
  get result(): TaskResult | null {
    return this.#info.result;
  }
  /** Why it failed or was cancelled; undefined while it runs and when it succeeded. */
  get error(): VmError | undefined {
    const { error, result, description } = this.#info;
    if (result === null || result === 'success') return undefined;
    if (error !== null) return new VmError(isErrorCode(error.code) ? error.code : 'E_FAIL', error.detail);
    if (result === 'cancelled') return new VmError('E_ABORT', `"${description}" was cancelled.`);
    return new VmError('E_FAIL', `"${description}" failed (${result}); the server's log says more.`);
  }

  /** Looks again. Errors: VMPULSE_E_NOT_FOUND when the server does not know it any more. */
  async refresh(options: RequestOptions = {}): Promise<TaskInfo> {
    this.#info = readTaskInfo(
      await this.#link.request('GET', `/v1/tasks/${encodeURIComponent(this.id)}`, options),
    );
    return this.#info;
  }

  /** Asks for its end. Errors: E_FAIL when it cannot be cancelled (any more). */
  async cancel(options: RequestOptions = {}): Promise<void> {
    const path = `/v1/tasks/${encodeURIComponent(this.id)}/cancel`;
    this.#info = readTaskInfo(await this.#link.request('POST', path, options));
  }

  /**
   * Waits until it is complete, at most `timeoutMs` (default 600,000 ms).
   * Errors: the task's own; E_ABORT when it was cancelled; VM_E_TIMED_OUT at the deadline (the task goes on).
   */
  async waitForCompletion(
    timeoutMs: number = defaultTaskTimeoutMs,
    options: WaitOptions = {},
  ): Promise<TaskInfo> {
    const deadline = startDeadline(timeoutMs, options.signal);
    try {
      for (
        let delayMs = taskPollMs.first;
        !this.isComplete;
        delayMs = Math.min(delayMs * 1.5, taskPollMs.longest)
      ) {
        await pause(delayMs, deadline.signal);
        if (deadline.signal.aborted) throw this.#stopped(deadline.isOver(), timeoutMs);
        const before = this.#info.percent;
        await this.refresh({ signal: deadline.signal });
        if (this.#info.percent !== before || this.isComplete) options.onProgress?.(this.#info);
      }
    } catch (thrown) {
      throw deadline.signal.aborted ? this.#stopped(deadline.isOver(), timeoutMs) : thrown;
    } finally {
      deadline.clear();
    }
    const { error } = this;
    if (error !== undefined) throw error;
    return this.#info;
  }

  #stopped(late: boolean, timeoutMs: number): VmError {
    if (!late) return new VmError('E_ABORT', `The wait for "${this.description}" was ended by its caller.`);
    const todo = `It goes on; look at it with \`vmpulse task show ${this.id}\`.`;
    return new VmError(
      'VM_E_TIMED_OUT',
      `"${this.description}" is not complete after ${timeoutMs / 1000} s. ${todo}`,
    );
  }
}
