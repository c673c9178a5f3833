/** Durable subscriptions as an operator handles them. Sinks take from them: VirtualServer.advise with a `name`. */
import type { DeadLetter, SubscriptionInfo, SubscriptionRequest } from '@vmpulse/wire';
import { readDeadLetter, readList, readSubscriptionInfo } from './answer.ts';
import type { Link } from './link.ts';
import type { RequestOptions } from './transport.ts';

/** Where a subscription is found. */
export function subscriptionPath(name: string): string {
  return `/v1/subscriptions/${encodeURIComponent(name)}`;
}

/** The subscriptions of a server. Errors of all that name one: VMPULSE_E_NOT_FOUND. */
export class DurableSubscriptions {
  readonly #link: Link;

  /** Made by VirtualServer. */
  constructor(link: Link) {
    this.#link = link;
  }

  /** By name, with how each stands. */
  async list(options: RequestOptions = {}): Promise<SubscriptionInfo[]> {
    const answer = await this.#link.request('GET', '/v1/subscriptions', options);
    return readList(answer, 'subscriptions', readSubscriptionInfo);
  }

  async get(name: string, options: RequestOptions = {}): Promise<SubscriptionInfo> {
    return readSubscriptionInfo(await this.#link.request('GET', subscriptionPath(name), options));
  }

  /**
   * Makes one, or replaces the filter of one: its cursor stays then.
   * Errors: VMPULSE_E_REQUEST_INVALID (with `field`), VM_E_OUT_OF_RESOURCE, VMPULSE_E_LOG_UNAVAILABLE.
   */
  async put(
    name: string,
    request: SubscriptionRequest = {},
    options: RequestOptions = {},
  ): Promise<SubscriptionInfo> {
    const answer = await this.#link.request('PUT', subscriptionPath(name), { ...options, body: request });
    return readSubscriptionInfo(answer);
  }

  /** With its dead letters; a sink that takes from it ends. */
  async delete(name: string, options: RequestOptions = {}): Promise<void> {
    await this.#link.request('DELETE', subscriptionPath(name), options);
  }

  /** Events that were set aside, the oldest first. */
  async deadLetters(name: string, options: RequestOptions = {}): Promise<DeadLetter[]> {
    const answer = await this.#link.request('GET', `${subscriptionPath(name)}/dead-letters`, options);
    return readList(answer, 'deadLetters', readDeadLetter);
  }

  /** Delivers one once more, with fresh attempts; taken, it is gone. */
  async replay(name: string, seq: number, options: RequestOptions = {}): Promise<void> {
    await this.#link.request('POST', `${subscriptionPath(name)}/dead-letters/${seq}/replay`, options);
  }

  /** Forgets one. */
  async drop(name: string, seq: number, options: RequestOptions = {}): Promise<void> {
    await this.#link.request('DELETE', `${subscriptionPath(name)}/dead-letters/${seq}`, options);
  }
}
