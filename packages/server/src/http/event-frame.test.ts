import { type VmEvent, toCloudEvent } from '@vmpulse/wire';
import { describe, expect, it } from 'vitest';
import { draft } from '../../../../test/support/http-fixture.ts';
import { maxCachedFrameBytes, maxCachedFrames } from '../limits.ts';
import { FrameCache } from './event-frame.ts';

const event = (seq: number, size = 0): VmEvent =>
  toCloudEvent(draft({ id: 'x', name: 'x' }, size), seq, 'server');

describe('frames', () => {
  it('are made once for all streams', () => {
    const cache = new FrameCache();
    const frame = cache.frame(event(7));
    expect(cache.frame(event(7))).toBe(frame);
    expect(frame.toString()).toBe(
      `id: 7\nevent: configurationChanged\ndata: ${JSON.stringify(event(7))}\n\n`,
    );
  });

  it('are never those of an event that shares their place', () => {
    const cache = new FrameCache();
    for (const seq of [1, 1 + maxCachedFrames, 1, 1 + 2 * maxCachedFrames]) {
      expect(cache.frame(event(seq)).toString()).toMatch(new RegExp(`^id: ${seq}\n`));
    }
  });

  it('are not kept when they are large', () => {
    const cache = new FrameCache();
    expect(cache.frame(event(1, maxCachedFrameBytes))).not.toBe(cache.frame(event(1, maxCachedFrameBytes)));
  });
});
