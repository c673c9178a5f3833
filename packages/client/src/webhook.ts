/** Webhooks as a client asks for them. */
import {
  VmError,
  type WebhookChange,
  type WebhookDeadLetter,
  type WebhookInfo,
  type WebhookRequest,
  type WebhookRotation,
  type WebhookSecret,
  type WebhookTest,
} from '@vmpulse/wire';
import {
  readList,
  readWebhookCount,
  readWebhookDeadLetter,
  readWebhookInfo,
  readWebhookSecret,
  readWebhookTest,
} from './answer.ts';
import type { Link } from './link.ts';
import type { RequestOptions } from './transport.ts';

/** A webhook with its secret, which is told this once. */
export type WebhookWithSecret = WebhookInfo & WebhookSecret;

/** The webhooks of a server. Errors of whatever names one: VMPULSE_E_NOT_FOUND. */
export class Webhooks {
  readonly #link: Link;

  /** See VirtualServer.webhooks. */
  constructor(link: Link) {
    this.#link = link;
  }

  /** By name. */
  async list(options: RequestOptions = {}): Promise<WebhookInfo[]> {
    return readList(await this.#link.request('GET', '/v1/webhooks', options), 'webhooks', readWebhookInfo);
  }

  async get(name: string, options: RequestOptions = {}): Promise<WebhookInfo> {
    return readWebhookInfo(await this.#link.request('GET', path(name), options));
  }

  /** Errors: VMPULSE_E_REQUEST_INVALID (with `field`), E_ALREADY_EXISTS, E_ACCESSDENIED, VM_E_OUT_OF_RESOURCE. */
  async create(webhook: WebhookRequest, options: RequestOptions = {}): Promise<WebhookWithSecret> {
    return readWebhookSecret(await this.#link.request('POST', '/v1/webhooks', { ...options, body: webhook }));
  }

  /** Errors: VMPULSE_E_REQUEST_INVALID (with `field`), E_ACCESSDENIED. */
  async change(name: string, change: WebhookChange, options: RequestOptions = {}): Promise<WebhookInfo> {
    return readWebhookInfo(await this.#link.request('PATCH', path(name), { ...options, body: change }));
  }

  /** Its retries and dead letters go with it. */
  async delete(name: string, options: RequestOptions = {}): Promise<void> {
    await this.#link.request('DELETE', path(name), options);
  }

  /** Sends a test event now; that the endpoint did not accept it is an answer, no error. */
  async test(name: string, options: RequestOptions = {}): Promise<WebhookTest> {
    return readWebhookTest(await this.#link.request('POST', path(name, '/test'), options));
  }

  /** Errors: VMPULSE_E_REQUEST_INVALID (with `field`). */
  async rotate(
    name: string,
    rotation: WebhookRotation = {},
    options: RequestOptions = {},
  ): Promise<WebhookWithSecret> {
    const answer = await this.#link.request('POST', path(name, '/rotate'), { ...options, body: rotation });
    return readWebhookSecret(answer);
  }

  /** The oldest event first. */
  async deadLetters(name: string, options: RequestOptions = {}): Promise<WebhookDeadLetter[]> {
    const answer = await this.#link.request('GET', path(name, '/dead-letters'), options);
    return readList(answer, 'deadLetters', readWebhookDeadLetter);
  }

  /** Has the dead letter of `seq`, or all, tried again. Returns how many. Errors: VM_E_OUT_OF_RESOURCE. */
  async replay(name: string, seq?: number, options: RequestOptions = {}): Promise<number> {
    const suffix = seq === undefined ? '' : `/${seq}`;
    const answer = await this.#link.request('POST', path(name, `/dead-letters${suffix}/replay`), options);
    return readWebhookCount(answer);
  }

  /** Forgets the dead letter of `seq`, or all. Returns how many. */
  async drop(name: string, seq?: number, options: RequestOptions = {}): Promise<number> {
    const suffix = seq === undefined ? '' : `/${seq}`;
    return readWebhookCount(
      await this.#link.request('DELETE', path(name, `/dead-letters${suffix}`), options),
    );
  }
}

/** Errors: VMPULSE_E_NOT_FOUND for what would be another route. */
function path(name: string, rest = ''): string {
  if (!['', '.', '..'].includes(name.trim())) return `/v1/webhooks/${encodeURIComponent(name)}${rest}`;
  throw new VmError('VMPULSE_E_NOT_FOUND', `No webhook is named '${name}'.`);
}
