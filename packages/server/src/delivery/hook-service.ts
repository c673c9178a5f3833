/** What can be asked of webhooks: the face that HTTP shows. */
import type { WebhookDeadLetter, WebhookInfo, WebhookSecret, WebhookTest } from '@vmpulse/wire';

/** How an attempt ended: with 2xx, with another status, or without one. */
export type WebhookAttemptOutcome = 'accepted' | 'refused' | 'unanswered';

/** What is counted of a webhook. */
export interface WebhookCount {
  readonly name: string;
  /** Events of the log after its cursor. */
  readonly lag: number;
  readonly retrying: number;
  readonly deadLetters: number;
  /** Its circuit is open. */
  readonly isOpen: boolean;
  readonly isDisabled: boolean;
  /** Since the service started. */
  readonly attempts: Readonly<Record<WebhookAttemptOutcome, number>>;
}

/**
 * Webhooks. `name` finds in any case. Requests are whatever a client sent. What changes something resolves when it is
 * durable. Errors of all: VMPULSE_E_NOT_FOUND; of what changes something: VMPULSE_E_REQUEST_INVALID (with `field`),
 * VMPULSE_E_LOG_UNAVAILABLE, VM_E_APP_SHUTTING_DOWN.
 */
export interface WebhookService {
  /** By name. */
  list(): WebhookInfo[];
  get(name: string): WebhookInfo;
  counts(): WebhookCount[];
  /** `request`: WebhookRequest. Errors: E_ALREADY_EXISTS, VM_E_OUT_OF_RESOURCE, E_ACCESSDENIED for private targets. */
  create(request: object): Promise<WebhookInfo & WebhookSecret>;
  /** `request`: WebhookChange. Errors: E_ACCESSDENIED for private targets. */
  change(name: string, request: object): Promise<WebhookInfo>;
  /** Its lists go with it. An attempt under way is cut off. */
  delete(name: string): Promise<void>;
  /** Sends a test event now, also where it is disabled; neither cursor nor circuit notice. */
  test(name: string): Promise<WebhookTest>;
  /** `request`: WebhookRotation. */
  rotate(name: string, request: object): Promise<WebhookInfo & WebhookSecret>;
  /** The oldest event first. */
  deadLetters(name: string): WebhookDeadLetter[];
  /**
   * Has dead letters tried again, from the first attempt: that of `seq`, or all that find a place in the list of
   * retries. Returns how many. Errors: VM_E_OUT_OF_RESOURCE where none does.
   */
  replay(name: string, seq?: number): Promise<number>;
  /** Forgets the dead letter of `seq`, or all. Returns how many. */
  drop(name: string, seq?: number): Promise<number>;
}
