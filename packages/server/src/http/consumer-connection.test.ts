import type { ServerResponse } from 'node:http';
import { Writable } from 'node:stream';
import { type VmEvent, toCloudEvent } from '@vmpulse/wire';
import { beforeEach, describe, expect, it } from 'vitest';
import { draft } from '../../../../test/support/http-fixture.ts';
import { SimulatedClock } from '../../../../test/support/simulated-clock.ts';
import { maxConsumerBacklogBytes, streamStallTimeoutMs } from '../limits.ts';
import { ConsumerConnection } from './consumer-connection.ts';
import { FrameCache } from './event-frame.ts';
import { Metrics } from './metrics.ts';

const clock = new SimulatedClock();
const metrics = new Metrics({ processMetrics: false });

/** A connection whose other side takes nothing, and which says so at `highWaterMark` bytes. */
function begin(highWaterMark: number): { response: Writable; connection: ConsumerConnection } {
  const response = new Writable({ highWaterMark, write: () => undefined });
  const surroundings = { clock, metrics, frames: new FrameCache() };
  const connection = new ConsumerConnection(response as unknown as ServerResponse, surroundings);
  connection.begin();
  return { response, connection };
}

describe("a consumer's connection", () => {
  let event: VmEvent;

  beforeEach(() => {
    event = toCloudEvent(
      draft({ id: '11111111-1111-4111-8111-111111111111', name: 'web-1' }, 50_000),
      1,
      'x',
    );
  });

  it('that takes not even its end is cut off', async () => {
    const { response, connection } = begin(1_000_000);
    connection.deliver(event, 1);
    connection.end('no acknowledgement');
    await clock.advanceAsync(streamStallTimeoutMs - 1);
    expect(response.destroyed).toBe(false);
    await clock.advanceAsync(1);
    expect(response.destroyed).toBe(true);
    expect(clock.pendingTimers).toBe(0);
  });

  it('holds so much unsent and no more, however often its consumer refuses what it does not read', () => {
    const { response, connection } = begin(2 ** 40);
    for (let sent = 0; sent < 2_000 && !response.destroyed; sent += 1) connection.deliver(event, 2);
    expect(response.destroyed).toBe(true);
    expect(response.writableLength).toBeLessThan(maxConsumerBacklogBytes + 100_000);
  });
});
