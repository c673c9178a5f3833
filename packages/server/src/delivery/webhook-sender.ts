/**
 * One attempt: a POST over HTTP/1.1 with a deadline, certificates verified, redirects not followed, the answer's body
 * bounded. It never rejects: whatever goes wrong is an answer that says so.
 */
import http from 'node:http';
import https from 'node:https';
import type { TLSSocket } from 'node:tls';
import type { WebhookAttempt } from '@vmpulse/wire';
import type { Clock, Timer } from '../clock.ts';
import {
  maxWebhookAnswerBytes,
  maxWebhookRetryAfterMs,
  maxWebhookSockets,
  webhookAnswerExcerptBytes,
  webhookBodyTimeoutMs,
} from '../limits.ts';
import { type Lookups, PrivateTargetError } from './webhook-address.ts';
import { retryAfterMs } from './webhook-schedule.ts';

/** What is sent. */
export interface Letter {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly timeoutMs: number;
  /** Cuts the attempt off. */
  readonly signal: AbortSignal;
}

/** How it went. */
export interface Outcome extends WebhookAttempt {
  readonly accepted: boolean;
  /** The endpoint wants nothing any more (410). */
  readonly gone: boolean;
  /** It was cut off by its signal: nobody knows what the endpoint made of it. */
  readonly cutOff: boolean;
  /** The pause that the endpoint asked for, bounded. */
  readonly retryAfterMs: number | null;
  /** The beginning of the answer's body. */
  readonly answer: string;
}

/** What an attempt came to, before it is an outcome. */
interface End {
  readonly error?: string;
  readonly cutOff?: true;
  readonly response?: http.IncomingMessage;
  readonly excerpt?: Buffer;
}

const certificateCode =
  /^(?:CERT_|ERR_TLS_CERT|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_CA)/u;

/** Sends to the endpoint of one webhook, over connections of its own that are kept alive. */
export class WebhookSender {
  readonly #clock: Clock;
  readonly #lookups: Lookups;
  readonly #agents: { readonly 'http:': http.Agent; readonly 'https:': https.Agent };

  /** `ca`: PEM of whom certificates are checked against; null: those the system trusts. */
  constructor(clock: Clock, lookups: Lookups, ca: string | null = null) {
    this.#clock = clock;
    this.#lookups = lookups;
    const options = { keepAlive: true, maxSockets: maxWebhookSockets, maxFreeSockets: 1 };
    this.#agents = {
      'http:': new http.Agent(options),
      'https:': new https.Agent({ ...options, rejectUnauthorized: true, ...(ca === null ? {} : { ca }) }),
    };
  }

  async send(letter: Letter): Promise<Outcome> {
    const at = new Date(this.#clock.wallMs()).toISOString();
    const beganMs = this.#clock.monotonicMs();
    const end = await this.#attempt(letter);
    const status = end.response?.statusCode ?? null;
    const isSuccess = status !== null && status >= 200 && status < 300;
    const error = end.error ?? (isSuccess ? null : describeRefusal(status ?? 0, end.response));
    const retryAfter = end.response?.headers['retry-after'];
    return {
      at,
      status,
      tookMs: Math.round(this.#clock.monotonicMs() - beganMs),
      error,
      accepted: error === null,
      gone: status === 410,
      cutOff: end.cutOff ?? false,
      retryAfterMs:
        error === null ? null : retryAfterMs(retryAfter, this.#clock.wallMs(), maxWebhookRetryAfterMs),
      answer: end.excerpt?.toString('utf8') ?? '',
    };
  }

  /** Closes its connections. */
  close(): void {
    for (const agent of Object.values(this.#agents)) agent.destroy();
  }

  async #attempt(letter: Letter): Promise<End> {
    try {
      this.#lookups.checkLiteral(new URL(letter.url).hostname);
    } catch (error) {
      return { error: (error as Error).message };
    }
    if (letter.signal.aborted) return { error: 'cut off', cutOff: true };
    return new Promise((resolve) => {
      const exchange = new Exchange(this.#clock, letter, resolve);
      exchange.begin(() => this.#request(letter));
    });
  }

  #request({ url, headers, body }: Letter): http.ClientRequest {
    const { protocol } = new URL(url);
    const options = {
      method: 'POST',
      lookup: this.#lookups.lookup,
      headers: {
        'content-type': 'application/cloudevents+json',
        'content-length': String(Buffer.byteLength(body)),
        accept: '*/*',
        ...headers,
      },
    };
    return protocol === 'https:'
      ? https.request(url, { ...options, agent: this.#agents['https:'] })
      : http.request(url, { ...options, agent: this.#agents['http:'] });
  }
}

/** One request and its answer, ended by whatever comes first. */
class Exchange {
  readonly #clock: Clock;
  readonly #letter: Letter;
  readonly #resolve: (end: End) => void;
  readonly #timers: Timer[] = [];
  readonly #cut = (): void => this.#end({ error: 'cut off', cutOff: true });
  #request: http.ClientRequest | undefined;
  #response: http.IncomingMessage | undefined;
  #excerpt: Buffer = Buffer.alloc(0);
  #bodyBytes = 0;
  #isOver = false;

  constructor(clock: Clock, letter: Letter, resolve: (end: End) => void) {
    this.#clock = clock;
    this.#letter = letter;
    this.#resolve = resolve;
  }

  begin(open: () => http.ClientRequest): void {
    const { timeoutMs, signal } = this.#letter;
    const late = (): void =>
      this.#response === undefined
        ? this.#end({ error: `no answer within ${timeoutMs / 1_000} s` })
        : this.#end({ response: this.#response });
    // An answer that arrived while this process stood still is read first.
    const due = (): void => this.#clock.afterPoll(late);
    this.#timers.push(this.#clock.setTimer(due, timeoutMs));
    signal.addEventListener('abort', this.#cut);
    this.#send(open, true);
  }

  #send(open: () => http.ClientRequest, mayRepeat: boolean): void {
    let request: http.ClientRequest;
    try {
      request = open();
    } catch (error) {
      this.#end({ error: `the request cannot be made: ${(error as Error).message}`.slice(0, 300) });
      return;
    }
    this.#request = request;
    request.on('error', (error: NodeJS.ErrnoException) => {
      // The endpoint closed the idle connection as we began to use it: it has not seen this request.
      const wasStale = request.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(error.code ?? '');
      if (this.#isOver) return;
      if (wasStale && mayRepeat && this.#response === undefined) this.#send(open, false);
      else if (this.#response === undefined) this.#end({ error: describeFailure(error, request) });
      else this.#end({ response: this.#response });
    });
    request.on('response', (response) => this.#receive(response));
    request.on('close', () => {
      if (request === this.#request && this.#response === undefined) {
        this.#end({ error: 'the connection was closed without an answer' });
      }
    });
    request.end(this.#letter.body);
  }

  /** The head says it all; of the body the beginning is read, so that the connection can be used again. */
  #receive(response: http.IncomingMessage): void {
    this.#response = response;
    const done = (): void => this.#end({ response });
    this.#timers.push(this.#clock.setTimer(done, webhookBodyTimeoutMs));
    response.on('data', (chunk: Buffer) => {
      this.#bodyBytes += chunk.length;
      const room = webhookAnswerExcerptBytes - this.#excerpt.length;
      if (room > 0) this.#excerpt = Buffer.concat([this.#excerpt, chunk.subarray(0, room)]);
      if (this.#bodyBytes > maxWebhookAnswerBytes) done();
    });
    response.on('end', done);
    response.on('error', done);
    response.on('close', done);
  }

  #end(end: End): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const timer of this.#timers) timer.cancel();
    this.#letter.signal.removeEventListener('abort', this.#cut);
    // Answered before it was read whole, a request would keep its connection from all that come after it.
    const isWhole = this.#response?.complete === true && this.#request?.writableFinished === true;
    if (!isWhole) this.#request?.destroy();
    this.#resolve({ ...end, excerpt: this.#excerpt });
  }
}

function describeRefusal(status: number, response: http.IncomingMessage | undefined): string {
  if (status < 300 || status >= 400) return `answered ${status}${status === 410 ? ' (gone)' : ''}`;
  const location = response?.headers.location?.slice(0, 200);
  const where = location === undefined ? '' : ` to ${location}`;
  return `answered ${status}, a redirect${where}; redirects are not followed: set the webhook's URL to where it is`;
}

function describeFailure(error: NodeJS.ErrnoException, request: http.ClientRequest): string {
  const attempts = error instanceof AggregateError ? (error.errors as NodeJS.ErrnoException[]) : [];
  const cause = attempts[0] ?? error;
  if (cause instanceof PrivateTargetError) return cause.message;
  const code = cause.code ?? error.code ?? '';
  const refused = (request.socket as TLSSocket | null)?.authorizationError;
  if (certificateCode.test(code) || refused) {
    return `its certificate is not trusted: ${cause.message} (${code || String(refused)})`.slice(0, 300);
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return `its name cannot be resolved (${code})`;
  if (code === 'ECONNREFUSED') return 'connection refused (ECONNREFUSED)';
  return `the connection failed: ${cause.message}`.slice(0, 300);
}
