/** The main thread's end of the protocol. */
import { Worker } from 'node:worker_threads';
import { type Clock, withDeadline } from '../clock.ts';
import type { AnswerMessage, Call, CallMessage, Failure } from './protocol.ts';
import { threadCloseTimeoutMs } from './store-limits.ts';

/** A call failed: the thread said why. Nothing was written. */
export class CallFailure extends Error {
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.message);
    this.name = 'CallFailure';
    this.failure = failure;
  }
}

/** The thread ended before it answered: whether the call was carried out is unknown. */
export class ThreadGone extends Error {
  constructor(name: string, cause: unknown) {
    const reason = cause instanceof Error ? cause.message : 'it ended';
    super(`the store's ${name} thread is gone: ${reason}`, { cause });
    this.name = 'ThreadGone';
  }
}

interface Waiting {
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** A thread as the store uses it. */
export interface Thread<C extends Record<keyof C, Call>> {
  /** Whether it ended; every call rejects then. */
  readonly gone: boolean;
  /** Calls not yet answered. */
  readonly waiting: number;
  /** Errors: CallFailure, ThreadGone. */
  call<K extends keyof C & string>(call: K, request: C[K]['request']): Promise<C[K]['answer']>;
  /** Lets it close the database and end; ends it when it does not within a deadline. */
  close(clock: Clock): Promise<void>;
  /** Ends it at once, whatever it is doing. */
  terminate(): Promise<void>;
}

/** Starts the thread of this name (`writer`, `reader`, `checkpoint`). */
export type StartThread = <C extends Record<keyof C, Call>>(name: string) => Thread<C>;

/** A thread of Node's that answers calls in their order. */
export class ThreadClient<C extends Record<keyof C, Call>> implements Thread<C> {
  readonly #name: string;
  readonly #worker: Worker;
  #waiting: Waiting[] = [];
  #gone: ThreadGone | null = null;
  readonly #ended: Promise<void>;

  /** `name` says which thread in messages; `module` is its file without ending, beside this one. */
  constructor(name: string, module: string) {
    this.#name = name;
    const ending = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    this.#worker = new Worker(new URL(`./${module}.${ending}`, import.meta.url), { execArgv: [], name });
    this.#worker.on('message', (message: AnswerMessage) => this.#settle(message));
    this.#worker.on('error', (error) => this.#die(error));
    this.#worker.on('messageerror', (error) => this.#die(error));
    this.#ended = new Promise((resolve) => {
      this.#worker.on('exit', () => {
        this.#die(undefined);
        resolve();
      });
    });
  }

  /** Whether the thread ended; every call rejects then. */
  get gone(): boolean {
    return this.#gone !== null;
  }

  /** Calls not yet answered. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Errors: CallFailure, ThreadGone. */
  call<K extends keyof C & string>(call: K, request: C[K]['request']): Promise<C[K]['answer']> {
    return this.#post(call, request);
  }

  #post(call: string, request: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#gone !== null) {
        reject(this.#gone);
        return;
      }
      this.#waiting.push({ resolve, reject });
      const message: CallMessage = { call, request };
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- threads have no origin
      this.#worker.postMessage(message);
    });
  }

  /** Lets the thread close the database and end; ends it when it does not within a deadline. */
  async close(clock: Clock): Promise<void> {
    const closing = this.#post('close', null).catch(() => undefined);
    const late = (): Error => new Error('late');
    try {
      await withDeadline(clock, Promise.all([closing, this.#ended]), threadCloseTimeoutMs, late);
    } catch {
      await this.terminate();
    }
  }

  /** Ends the thread at once, whatever it is doing. */
  async terminate(): Promise<void> {
    await this.#worker.terminate();
  }

  #settle(message: AnswerMessage): void {
    const first = this.#waiting.shift();
    if ('failure' in message) first?.reject(new CallFailure(message.failure));
    else first?.resolve(message.answer);
  }

  #die(cause: unknown): void {
    if (this.#gone !== null) return;
    this.#gone = new ThreadGone(this.#name, cause);
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { reject } of waiting) reject(this.#gone);
  }
}
