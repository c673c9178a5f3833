/** Requests: one deadline each, typed errors, bounded answers. Knows HTTP, nothing of machines. */
import { type ErrorCode, VmError } from '@vmpulse/wire';
import { type Deadline, settledOrAborted, startDeadline } from './deadline.ts';
import { maxAnswerBytes, maxQuotedChars } from './limits.ts';

/** What of `fetch` is used; the platform's own fits. */
export type FetchFunction = (
  url: string,
  init: {
    method: string;
    headers: Record<string, string>;
    body?: string;
    signal: AbortSignal;
    redirect: 'error';
    cache: 'no-store';
  },
) => Promise<Response>;

/** Where and how. */
export interface TransportOptions {
  /** `http://127.0.0.1:7410`, no slash at its end. */
  readonly baseUrl: string;
  /** The address as a person knows it. */
  readonly address: string;
  readonly token: string | undefined;
  readonly timeoutMs: number;
  readonly fetch: FetchFunction;
}

/** Of one request. */
export interface RequestOptions {
  /** Ends the request with E_ABORT. */
  signal?: AbortSignal;
  /** Deadline, ms; default that of the connection (30,000). It ends the request with VM_E_TIMED_OUT. */
  timeoutMs?: number;
}

/** Codes of an answer that is no problem document, by its status. */
const codesByStatus: Readonly<Record<number, ErrorCode>> = {
  400: 'VMPULSE_E_REQUEST_INVALID',
  401: 'VMPULSE_E_UNAUTHENTICATED',
  403: 'E_ACCESSDENIED',
  502: 'VMPULSE_E_UNREACHABLE',
  503: 'VMPULSE_E_UNREACHABLE',
  504: 'VMPULSE_E_UNREACHABLE',
};

/** HTTP to one server. */
export class Transport {
  readonly address: string;
  readonly #options: TransportOptions;
  readonly #closing = new AbortController();
  /** Beginnings of sinks that have not got their cursor yet: what this client changes waits for them. */
  readonly #barriers = new Set<Promise<unknown>>();

  constructor(options: TransportOptions) {
    this.#options = options;
    this.address = options.address;
  }

  /** Every request, under way or to come, ends with E_ABORT. */
  close(): void {
    this.#closing.abort();
  }

  /** Requests that change something wait until `promise` is settled (or their own deadline is over). */
  holdChanges(promise: Promise<unknown>): void {
    const settle = (): void => {
      this.#barriers.delete(promise);
    };
    this.#barriers.add(promise);
    promise.then(settle, settle);
  }

  /**
   * The JSON answer, or undefined for an empty one. `urgent`: it waits for no beginning, being part of one.
   * Errors: those of the server; VMPULSE_E_UNREACHABLE, VM_E_TIMED_OUT, E_ABORT, E_UNEXPECTED.
   */
  async request(
    method: string,
    path: string,
    options: RequestOptions & { body?: unknown; urgent?: boolean } = {},
  ): Promise<unknown> {
    const timeoutMs = options.timeoutMs ?? this.#options.timeoutMs;
    const deadline = startDeadline(timeoutMs, options.signal, this.#closing.signal);
    try {
      if (method !== 'GET' && options.urgent !== true) {
        await settledOrAborted(Promise.all(this.#barriers), deadline.signal);
        deadline.signal.throwIfAborted();
      }
      const body = options.body === undefined ? undefined : JSON.stringify(options.body);
      const response = await this.#send(method, path, 'application/json', deadline.signal, body);
      const text = await readText(response);
      if (!response.ok) throw this.#refused(response.status, text);
      return text === '' ? undefined : parse(text);
    } catch (thrown) {
      throw this.#translate(thrown, deadline, timeoutMs, options.signal);
    } finally {
      deadline.clear();
    }
  }

  /** An open event stream: its headers have come, within the deadline. Its end is the caller's (`signal`). */
  async openStream(path: string, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const controller = new AbortController();
    const stop = (): void => controller.abort(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    const deadline = startDeadline(this.#options.timeoutMs, signal);
    deadline.signal.addEventListener('abort', () => controller.abort(), { once: true });
    try {
      deadline.signal.throwIfAborted();
      const response = await this.#send('GET', path, 'text/event-stream', controller.signal);
      const type = response.headers.get('content-type') ?? '';
      if (!response.ok || response.body === null || !type.startsWith('text/event-stream')) {
        const text = await readText(response);
        if (!response.ok) throw this.#refused(response.status, text);
        throw new VmError(
          'E_UNEXPECTED',
          `${this.address} answered the event stream with ${quote(type || text)}.`,
        );
      }
      return response.body;
    } catch (thrown) {
      signal.removeEventListener('abort', stop);
      throw this.#translate(thrown, deadline, this.#options.timeoutMs, signal);
    } finally {
      deadline.clear();
    }
  }

  #send(method: string, path: string, accept: string, signal: AbortSignal, body?: string): Promise<Response> {
    const { baseUrl, token, fetch } = this.#options;
    const headers: Record<string, string> = { accept };
    if (token !== undefined) headers['authorization'] = `Bearer ${token}`;
    if (body !== undefined) headers['content-type'] = 'application/json';
    return fetch(`${baseUrl}${path}`, {
      method,
      headers,
      ...(body === undefined ? {} : { body }),
      signal,
      // A redirect would carry the token to an address nobody named.
      redirect: 'error',
      cache: 'no-store',
    });
  }

  #refused(status: number, text: string): VmError {
    const fallback = `${this.address} answered HTTP ${status}: ${quote(text)}`;
    let body: unknown;
    try {
      body = JSON.parse(text);
    } catch {
      body = undefined;
    }
    const error = VmError.fromProblem(body, fallback);
    const code = codesByStatus[status];
    return error.code === 'E_UNEXPECTED' && error.message === fallback && code !== undefined
      ? new VmError(code, fallback)
      : error;
  }

  #translate(
    thrown: unknown,
    deadline: Deadline,
    timeoutMs: number,
    outer: AbortSignal | undefined,
  ): VmError {
    if (deadline.isOver()) {
      const detail = `vmpulse at ${this.address} gave no answer in ${timeoutMs / 1000} s; see its log, or wait longer.`;
      return new VmError('VM_E_TIMED_OUT', detail, { cause: thrown });
    }
    if (this.#closing.signal.aborted) {
      return new VmError('E_ABORT', 'This VirtualServer object is closed; connect again.');
    }
    if (outer?.aborted === true) {
      return new VmError('E_ABORT', 'The request was ended by its caller.', { cause: outer.reason });
    }
    return thrown instanceof VmError ? thrown : unreachable(thrown, this.address);
  }
}

/** What the network said, as a person reads it: `ECONNREFUSED`, else the message. */
function reasonOf(thrown: unknown): string {
  let current: unknown = thrown;
  let reason = thrown instanceof Error ? thrown.message : String(thrown);
  for (let depth = 0; depth < 5 && current instanceof Error; depth += 1) {
    const { code } = current as { code?: unknown };
    if (typeof code === 'string') return code;
    if (current.message !== '') reason = current.message;
    current = current instanceof AggregateError ? (current.errors as unknown[])[0] : current.cause;
  }
  return reason;
}

function unreachable(thrown: unknown, address: string): VmError {
  const reason = reasonOf(thrown);
  if (reason === 'EACCES' || reason === 'EPERM') {
    const what = `No permission to connect to ${address}; run as its owner, or use --url with a token.`;
    return new VmError('E_ACCESSDENIED', what, { cause: thrown });
  }
  const todo = /CERT|TLS|SSL/u.test(reason)
    ? 'Its certificate is not trusted here: name its authority (option `ca`, in a browser install it).'
    : 'Start it with `vmpulse serve`, or name another address.';
  return new VmError('VMPULSE_E_UNREACHABLE', `vmpulse at ${address} does not answer (${reason}). ${todo}`, {
    cause: thrown,
  });
}

function quote(text: string): string {
  return JSON.stringify(text.length > maxQuotedChars ? `${text.slice(0, maxQuotedChars)}…` : text);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new VmError(
      'E_UNEXPECTED',
      `The answer is no JSON: ${quote(text)}. Is this address a vmpulse server?`,
      {
        cause: error,
      },
    );
  }
}

async function readText(response: Response): Promise<string> {
  if (response.body === null) return '';
  const reader = response.body.getReader() as ReadableStreamDefaultReader<Uint8Array>;
  const decoder = new TextDecoder();
  const parts: string[] = [];
  let bytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return parts.join('') + decoder.decode();
    bytes += value.byteLength;
    if (bytes > maxAnswerBytes) {
      await reader.cancel();
      throw new VmError(
        'E_UNEXPECTED',
        `The answer is longer than ${maxAnswerBytes} bytes; ask for less at once.`,
      );
    }
    parts.push(decoder.decode(value, { stream: true }));
  }
}
