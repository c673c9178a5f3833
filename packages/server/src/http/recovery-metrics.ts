/** What recovery did, for Prometheus. Labels are steps, results and reasons: closed lists. */
import type { HeldBackReason, RecoveryStepName } from '@vmpulse/wire';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

const seconds = [1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1_800, 3_600, 14_400, 86_400];

/** How recoveries stand; asked when Prometheus asks. */
export interface RecoveryStanding {
  readonly underWay: number;
  readonly givenUp: number;
}

/** Recovery's metrics, in a registry. Dry runs are not told to it. */
export class RecoveryMetrics {
  readonly #registers: Registry[];
  readonly #steps: Counter<'step' | 'result'>;
  readonly #heldBack: Counter<'reason'>;
  readonly #gaveUp: Counter;
  readonly #recovery: Histogram<'step'>;
  readonly #outage: Histogram<'step'>;

  constructor(registry: Registry, standing: () => RecoveryStanding) {
    this.#registers = [registry];
    const registers = this.#registers;
    this.#steps = new Counter({
      name: 'vmpulse_recovery_steps_total',
      help: 'Steps of recovery that ended, by result.',
      labelNames: ['step', 'result'],
      registers,
    });
    this.#heldBack = new Counter({
      name: 'vmpulse_recovery_held_back_total',
      help: 'Recoveries held back, once for each reason and stop.',
      labelNames: ['reason'],
      registers,
    });
    this.#gaveUp = new Counter({
      name: 'vmpulse_recovery_gave_up_total',
      help: 'Machines given up.',
      registers,
    });
    this.#recovery = this.#histogram('seconds', 'From the first step to the heartbeat that came back.');
    this.#outage = this.#histogram('outage_seconds', 'From the stop to the heartbeat that came back.');
    this.#gauge('under_way', 'Stops that are being recovered.', () => standing().underWay);
    this.#gauge('given_up', 'Machines that wait for an operator.', () => standing().givenUp);
  }

  stepEnded(step: RecoveryStepName, result: 'done' | 'failed' | 'cancelled'): void {
    this.#steps.inc({ step, result });
  }

  heldBack(reason: HeldBackReason): void {
    this.#heldBack.inc({ reason });
  }

  gaveUp(): void {
    this.#gaveUp.inc();
  }

  succeeded(step: RecoveryStepName, recoveryMs: number, outageMs: number): void {
    this.#recovery.observe({ step }, recoveryMs / 1_000);
    this.#outage.observe({ step }, outageMs / 1_000);
  }

  #histogram(name: string, help: string): Histogram<'step'> {
    return new Histogram({
      name: `vmpulse_recovery_${name}`,
      help,
      buckets: seconds,
      labelNames: ['step'],
      registers: this.#registers,
    });
  }

  #gauge(name: string, help: string, read: () => number): void {
    const collect = function collect(this: Gauge): void {
      this.set(read());
    };
    // Registered by its own hand: with `registers` it would be asked before it is whole.
    const gauge = new Gauge({ name: `vmpulse_recovery_${name}`, help, registers: [], collect });
    for (const registry of this.#registers) registry.registerMetric(gauge);
  }
}
