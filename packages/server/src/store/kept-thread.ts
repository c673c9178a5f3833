/** A thread that is started again, by the next call, when it died. */
import { type Clock, withDeadline } from '../clock.ts';
import type { Call } from './protocol.ts';
import { openTimeoutMs } from './store-limits.ts';
import { type StartThread, type Thread, ThreadClient } from './thread-client.ts';

type WithOpen = { open: Call };

/** `<name>-worker` is a thread's module. */
const startWorker: StartThread = (name) => new ThreadClient(name, `${name}-worker`);

/** One of the store's threads. Its first call is always `open`. */
export class KeptThread<C extends WithOpen & Record<keyof C, Call>> {
  readonly #clock: Clock;
  readonly #name: string;
  readonly #request: () => C['open']['request'];
  readonly #start: StartThread;
  #client: Thread<C> | null = null;
  #opening: Promise<C['open']['answer']> | null = null;
  #isClosed = false;

  /** `request` makes what `open` gets. */
  constructor(clock: Clock, name: string, request: () => C['open']['request'], start?: StartThread) {
    this.#clock = clock;
    this.#start = start ?? startWorker;
    this.#name = name;
    this.#request = request;
  }

  /** Calls not yet answered. */
  get waiting(): number {
    return this.#client?.waiting ?? 0;
  }

  /** Starts the thread if it does not run, and what its `open` answered. Errors: CallFailure, ThreadGone. */
  open(): Promise<C['open']['answer']> {
    if (this.#isClosed) return Promise.reject(new Error('the store is closed'));
    if (this.#opening !== null && this.#client?.gone === false) return this.#opening;
    const client = this.#start<C>(this.#name);
    this.#client = client;
    this.#opening = this.#openIn(client);
    return this.#opening;
  }

  /** Calls the thread; it is opened before. Errors: CallFailure, ThreadGone. */
  async call<K extends keyof C & string>(call: K, request: C[K]['request']): Promise<C[K]['answer']> {
    await this.open();
    const client = this.#client;
    if (client === null) throw new Error('the store is closed');
    return client.call(call, request);
  }

  /** Ends the thread in order. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#client?.close(this.#clock);
    this.#client = null;
  }

  /** Ends the thread at once, as a crash would. */
  async kill(): Promise<void> {
    await this.#client?.terminate();
  }

  async #openIn(client: Thread<C>): Promise<C['open']['answer']> {
    const late = (): Error => new Error(`the store's ${this.#name} thread did not start in time`);
    try {
      return await withDeadline(this.#clock, client.call('open', this.#request()), openTimeoutMs, late);
    } catch (error) {
      await client.terminate();
      throw error;
    }
  }
}
