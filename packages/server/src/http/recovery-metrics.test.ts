import { expect, it } from 'vitest';
import { Metrics } from './metrics.ts';
import { RecoveryMetrics } from './recovery-metrics.ts';

it('recovery is counted by step, result and reason, with how it stands and the time to the heartbeat', async () => {
  const metrics = new Metrics({ processMetrics: false });
  let underWay = 0;
  const recovery = new RecoveryMetrics(metrics.registry, () => ({ underWay, givenUp: 3 }));
  recovery.stepEnded('reset', 'done');
  recovery.stepEnded('reset', 'done');
  recovery.stepEnded('turnOff', 'cancelled');
  recovery.heldBack('hold');
  recovery.gaveUp();
  recovery.succeeded('reset', 4_000, 65_000);
  underWay = 2;
  const text = (await metrics.text()).split('\n');
  for (const line of [
    'vmpulse_recovery_steps_total{step="reset",result="done"} 2',
    'vmpulse_recovery_steps_total{step="turnOff",result="cancelled"} 1',
    'vmpulse_recovery_held_back_total{reason="hold"} 1',
    'vmpulse_recovery_gave_up_total 1',
    'vmpulse_recovery_seconds_sum{step="reset"} 4',
    'vmpulse_recovery_outage_seconds_bucket{le="60",step="reset"} 0',
    'vmpulse_recovery_outage_seconds_bucket{le="120",step="reset"} 1',
    'vmpulse_recovery_under_way 2',
    'vmpulse_recovery_given_up 3',
  ]) {
    expect(text).toContain(line);
  }
});
