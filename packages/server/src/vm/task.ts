/** Tasks: operations under way or ended, as a client polls them; of those ended the newest are kept, to a bound. */
import { randomUUID } from 'node:crypto';
import {
  formatHResult,
  taskResultCodes,
  VmError,
  type ErrorCode,
  type ErrorInfo,
  type TaskInfo,
  type TaskResult,
  type VmReference,
} from '@vmpulse/wire';
import type { Clock } from '../clock.ts';
import { maxEndedTasks } from '../limits.ts';
import type { TaskOperation } from './machine-service.ts';

/** The result of each error; those not named are unexpectedError. */
const results: Partial<Record<ErrorCode, TaskResult>> = {
  E_ABORT: 'cancelled',
  VM_E_TIMED_OUT: 'timeOutError',
  E_OUTOFMEMORY: 'outOfMemoryError',
  VM_E_OUT_OF_RESOURCE: 'outOfMemoryError',
  VM_E_OUT_OF_RESERVE: 'outOfMemoryError',
  E_FILE_NOT_FOUND: 'diskRelatedError',
  E_PATH_NOT_FOUND: 'diskRelatedError',
  E_ACCESSDENIED: 'diskRelatedError',
  VM_E_DRIVE_INVALID: 'diskRelatedError',
  VM_E_DRIVE_BUS_LOC_IN_USE: 'diskRelatedError',
  VM_E_DRIVE_IN_USE: 'diskRelatedError',
  VM_E_HD_IMAGE_OPEN_FAIL: 'diskRelatedError',
  VM_E_HD_IMAGE_ACCESS: 'diskRelatedError',
  VM_E_INVALID_HD_FILE: 'diskRelatedError',
  VM_E_WRONG_HD_IMAGE_TYPE: 'diskRelatedError',
  VM_E_FILE_READ_ONLY: 'diskRelatedError',
  VM_E_FILE_TOO_LARGE_FOR_VOLUME: 'diskRelatedError',
  VM_E_PARENT_PATH_NOT_FOUND: 'diskRelatedError',
  VM_E_PARENT_CHILD_ID_MISMATCH: 'diskRelatedError',
  VM_E_PREF_SAVED_STATE_BAD_VERSION: 'incompatibleSavedStateError',
  VM_E_PREF_SAVED_STATE_ACCESS_DENIED: 'incompatibleSavedStateError',
  VM_E_PREF_ILLEGAL_VALUE: 'illegalValueError',
  E_INVALIDARG: 'illegalValueError',
};

/** The result that an error ends a task with. */
export function taskResult(code: ErrorCode): TaskResult {
  return results[code] ?? 'unexpectedError';
}

/** An error as events and tasks tell it. */
export function errorInfo(error: VmError): ErrorInfo {
  return { code: error.code, hresult: formatHResult(error.hresult), detail: error.message };
}

/** What a task begins with. */
export interface TaskRequest {
  readonly vm: VmReference;
  readonly operation: TaskOperation;
  readonly description: string;
  /** Can it be cancelled from the beginning? */
  readonly cancelable: boolean;
  /** Who asked, where it was no operator. */
  readonly by?: 'autostart';
  /** Is it to be done all the same? Asked once more right before what cannot be taken back. */
  readonly stillWanted?: () => boolean;
}

/** One task. It ends once; what comes later is ignored. */
export class Task {
  readonly id: string = randomUUID();
  readonly #request: TaskRequest;
  readonly #startedMs: number;
  readonly #abort = new AbortController();
  #percent = 0;
  #cancelable: boolean;
  #ended: { readonly atMs: number; readonly error: VmError | null } | null = null;

  constructor(request: TaskRequest, startedMs: number) {
    this.#request = request;
    this.#startedMs = startedMs;
    this.#cancelable = request.cancelable;
  }

  /** Aborted when the task is cancelled. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get by(): 'autostart' | undefined {
    return this.#request.by;
  }

  /** Errors: E_ABORT where what it was asked for has gone. */
  requireWanted(): void {
    if (this.#request.stillWanted?.() ?? true) return;
    throw new VmError(
      'E_ABORT',
      `'${this.#request.description}' was not done: there is no need for it any more.`,
    );
  }

  get isComplete(): boolean {
    return this.#ended !== null;
  }

  /** Progress in percent; it never runs backwards and 100 is kept for the end. */
  progress(percent: number): void {
    if (Number.isFinite(percent)) this.#percent = Math.max(this.#percent, Math.min(Math.floor(percent), 99));
  }

  /** From here on cancelling comes too late. */
  commit(): void {
    this.#cancelable = false;
  }

  /** Asks the operation to give up. Errors: E_FAIL when it has ended, or cannot be cancelled (any more). */
  cancel(): void {
    if (this.#ended !== null) throw new VmError('E_FAIL', `The task has ended; there is nothing to cancel.`);
    if (!this.#cancelable) {
      throw new VmError(
        'E_FAIL',
        `'${this.#request.description}' cannot be cancelled now; wait for it to end.`,
      );
    }
    this.#abort.abort();
  }

  /** Another operation takes its place: asks it to give up, whatever it is at. */
  interrupt(): void {
    this.#abort.abort();
  }

  /** Ends it: with success, or with an error. */
  end(atMs: number, error: VmError | null): void {
    if (this.#ended !== null) return;
    this.#ended = { atMs, error };
    if (error === null) this.#percent = 100;
  }

  info(): TaskInfo {
    const ended = this.#ended;
    const result = ended === null ? null : ended.error === null ? 'success' : taskResult(ended.error.code);
    const { vm, operation, description } = this.#request;
    return {
      id: this.id,
      vm,
      operation,
      description,
      percent: this.#percent,
      isComplete: ended !== null,
      isCancelable: ended === null && this.#cancelable && !this.#abort.signal.aborted,
      result,
      resultCode: result === null ? null : taskResultCodes[result],
      error: ended?.error ? errorInfo(ended.error) : null,
      startedAt: new Date(this.#startedMs).toISOString(),
      endedAt: ended === null ? null : new Date(ended.atMs).toISOString(),
    };
  }
}

/** All tasks. Those under way are as many as machines at most (one each, two while turnOff cuts in). */
export class TaskRegistry {
  readonly #clock: Clock;
  readonly #maxEnded: number;
  readonly #tasks = new Map<string, Task>();
  readonly #ended: string[] = [];

  constructor(clock: Clock, maxEnded: number = maxEndedTasks) {
    this.#clock = clock;
    this.#maxEnded = maxEnded;
  }

  begin(request: TaskRequest): Task {
    const task = new Task(request, this.#clock.wallMs());
    this.#tasks.set(task.id, task);
    return task;
  }

  /** Ends a task, and forgets the oldest ended one past the bound. */
  end(task: Task, error: VmError | null): void {
    if (task.isComplete) return;
    task.end(this.#clock.wallMs(), error);
    this.#ended.push(task.id);
    if (this.#ended.length <= this.#maxEnded) return;
    const oldest = this.#ended.shift();
    if (oldest !== undefined) this.#tasks.delete(oldest);
  }

  /** Errors: VMPULSE_E_NOT_FOUND. */
  get(id: string): Task {
    const task = this.#tasks.get(id.toLowerCase());
    if (task !== undefined) return task;
    const kept = `the last ${this.#maxEnded} ended tasks are kept`;
    throw new VmError('VMPULSE_E_NOT_FOUND', `There is no such task; ${kept}, see GET /v1/tasks.`);
  }

  /** All of them, the oldest first. */
  list(): Task[] {
    return [...this.#tasks.values()];
  }
}
