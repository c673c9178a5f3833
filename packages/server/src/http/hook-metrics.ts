/** What webhooks and scripts come to, for Prometheus; see metrics.ts. */
import { type ScriptOutcome, scriptOutcomes } from '@vmpulse/wire';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { ScriptCount } from '../delivery/event-scripts.ts';
import type { WebhookAttemptOutcome, WebhookCount } from '../delivery/hook-service.ts';

/** What is asked when Prometheus asks. Each is cheap and does not throw. */
export interface HookSources {
  /** Their number is bounded, and so are the labels. */
  readonly webhooks?: () => readonly WebhookCount[];
  readonly scripts?: () => ScriptCount;
}

const runSeconds = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600];
const attemptOutcomes: readonly WebhookAttemptOutcome[] = ['accepted', 'refused', 'unanswered'];

/** See the head of this file. */
export class HookMetrics {
  readonly #registry: Registry;
  readonly #sources: () => HookSources;
  readonly #runs: Histogram<'outcome'>;

  constructor(registry: Registry, sources: () => HookSources) {
    this.#registry = registry;
    this.#sources = sources;
    this.#runs = new Histogram({
      name: 'vmpulse_script_run_seconds',
      help: 'How long scripts ran, by how they ended.',
      buckets: runSeconds,
      labelNames: ['outcome'],
      registers: [registry],
    });
    for (const outcome of scriptOutcomes) this.#runs.zero({ outcome });
    this.#webhookAttempts();
    this.#perWebhook('lag', 'Events after the cursor of a webhook.', ({ lag }) => lag);
    this.#perWebhook('retrying', 'Events tried again beside the line.', ({ retrying }) => retrying);
    this.#perWebhook('dead_letters', 'Events given up.', ({ deadLetters }) => deadLetters);
    this.#perWebhook('circuit_open', '1 while the circuit is open.', ({ isOpen }) => Number(isOpen));
    this.#perWebhook('disabled', '1 while nothing is sent.', ({ isDisabled }) => Number(isDisabled));
    this.#ofScripts('scripts_running', 'Scripts that run.', Gauge, ({ running }) => running);
    this.#ofScripts(
      'scripts_waiting',
      'Events that scripts have yet to run for.',
      Gauge,
      (one) => one.waiting,
    );
    const skipped = 'Events that a script was not run for, as too many waited or they were gone.';
    this.#ofScripts('scripts_skipped_total', skipped, Counter, (one) => one.skipped);
  }

  /** A script ended, or could not be started. */
  scriptEnded(outcome: ScriptOutcome, tookMs: number): void {
    this.#runs.observe({ outcome }, tookMs / 1_000);
  }

  #webhookAttempts(): void {
    const webhooks = (): readonly WebhookCount[] => this.#sources().webhooks?.() ?? [];
    const collect = function collect(this: Counter): void {
      // One that was deleted is no longer told.
      this.reset();
      for (const { name, attempts } of webhooks()) {
        for (const outcome of attemptOutcomes) this.inc({ webhook: name, outcome }, attempts[outcome]);
      }
    };
    const help = 'Attempts: answered with 2xx, with another status, or not at all.';
    const labelNames = ['webhook', 'outcome'];
    const name = 'vmpulse_webhook_attempts_total';
    this.#registry.registerMetric(new Counter({ name, help, labelNames, collect, registers: [] }));
  }

  #perWebhook(name: string, help: string, read: (count: WebhookCount) => number): void {
    const webhooks = (): readonly WebhookCount[] => this.#sources().webhooks?.() ?? [];
    const collect = function collect(this: Gauge): void {
      this.reset();
      for (const count of webhooks()) this.set({ webhook: count.name }, read(count));
    };
    const labelNames = ['webhook'];
    const gauge = new Gauge({ name: `vmpulse_webhook_${name}`, help, labelNames, collect, registers: [] });
    this.#registry.registerMetric(gauge);
  }

  #ofScripts(
    name: string,
    help: string,
    kind: typeof Gauge | typeof Counter,
    read: (count: ScriptCount) => number,
  ): void {
    const scripts = (): ScriptCount | undefined => this.#sources().scripts?.();
    const collect = function collect(this: Gauge | Counter): void {
      const count = scripts();
      this.reset();
      if (count !== undefined) this.inc(read(count));
    };
    const metric = new kind({ name: `vmpulse_${name}`, help, collect, registers: [] });
    this.#registry.registerMetric(metric);
  }
}
