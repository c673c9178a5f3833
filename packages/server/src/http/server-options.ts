/** What the HTTP face is made from, and what its routes share. */
import { VmError } from '@vmpulse/wire';
import type { Logger } from 'pino';
import { type Clock, withDeadline } from '../clock.ts';
import type { Subscriptions } from '../delivery/subscriptions.ts';
import type { WebhookService } from '../delivery/hook-service.ts';
import type { ScriptService } from '../delivery/event-scripts.ts';
import type { EventLog } from '../event/log.ts';
import type { IncidentService } from '../vm/incident-service.ts';
import type { MachineService } from '../vm/machine-service.ts';
import type { RecoveryService } from '../vm/recovery-service.ts';
import { httpAnswerTimeoutMs } from '../limits.ts';
import type { Metrics } from './metrics.ts';

/** Why the service is not ready. The word is told to anyone, the detail only to who may ask more. */
export interface UnreadyReason {
  readonly reason: 'starting' | 'stopping' | 'logUnavailable' | 'hypervisorUnavailable';
  readonly detail: string;
}

/** Whether the service is ready. */
export interface Readiness {
  readonly ready: boolean;
  readonly reasons: readonly UnreadyReason[];
}

/** What the HTTP face is made from. */
export interface HttpServerOptions {
  readonly service: MachineService;
  readonly webhooks: WebhookService;
  readonly scripts: ScriptService;
  readonly recovery: RecoveryService;
  readonly incidents: IncidentService;
  readonly log: EventLog;
  readonly subscriptions: Subscriptions;
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** The bearer token TCP needs. */
  readonly token: string;
  readonly logger: Logger;
  readonly version: string;
  /** Besides the log being writable, which the server sees itself. */
  readonly ready: () => Readiness;
}

/** `promise` within the time an answer may take. Errors: VM_E_TIMED_OUT. */
export async function answer<T>(clock: Clock, promise: Promise<T>): Promise<T> {
  return withDeadline(
    clock,
    promise,
    httpAnswerTimeoutMs,
    () =>
      new VmError(
        'VM_E_TIMED_OUT',
        `The server did not finish within ${httpAnswerTimeoutMs / 1_000} s; it may still do so. ` +
          'Look at the machine before you try again; /readyz says what is wrong.',
      ),
  );
}
