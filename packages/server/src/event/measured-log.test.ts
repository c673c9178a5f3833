import { expect, test } from 'vitest';
import { MemoryEventLog } from '../../../../test/support/memory-event-log.ts';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { MeasuredLog } from './measured-log.ts';

test('tells how long an append took to be durable, and passes everything on', async () => {
  const clock = new SimulatedClock();
  const inner = new MemoryEventLog();
  const took: number[] = [];
  const log = new MeasuredLog(inner, clock, (ms) => took.push(ms));
  inner.failWrites('disk full');
  const data = { messageId: 2, reason: 'test' };
  const appended = log.append({ type: 'serviceStopped', timeMs: 0, data });
  clock.advance(40);
  expect(took).toEqual([]);
  inner.mendWrites();
  expect((await appended).seq).toBe(1);
  expect(took).toEqual([40]);
  expect(log.serverId).toBe(inner.serverId);
  expect((await log.read({ after: 0, limit: 10 })).events).toHaveLength(1);
  expect(log.state().lastSeq).toBe(1);
});
