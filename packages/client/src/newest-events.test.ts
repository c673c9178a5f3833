import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from '../../../test/support/eventually.ts';
import { ScriptedServer } from '../../../test/support/scripted-server.ts';
import { type EventsOptions, VirtualServer } from './index.ts';

let scripted: ScriptedServer;
let server: VirtualServer;

beforeEach(async () => {
  scripted = await ScriptedServer.start();
  scripted.addVm('web-1', { state: 'running' });
  scripted.addVm('rare', { state: 'running' });
  server = await VirtualServer.connect(scripted.url);
});

afterEach(async () => {
  await server.close();
  await scripted.stop();
});

/** `count` events of web-1; those numbered in `rare` are of the other machine. */
function fill(count: number, rare: readonly number[] = []): void {
  const [web, other] = scripted.vms;
  for (let seq = 1; seq <= count; seq += 1) {
    scripted.emit('additionsResumed', { outageMs: 1 }, rare.includes(seq) ? other : web);
  }
}

async function newest(options: EventsOptions): Promise<number[]> {
  const seqs: number[] = [];
  for await (const { seq } of server.events({ follow: false, ...options })) seqs.push(seq);
  return seqs;
}

const pages = (): number => scripted.requests.filter((line) => line.includes('/v1/events')).length;

describe('the newest events', () => {
  it('are so many of the end, in their order, and all where there are no more', async () => {
    fill(1_000);
    expect(await newest({ last: 3 })).toEqual([998, 999, 1_000]);
    expect(pages()).toBe(1);
    expect((await newest({ last: 700 })).slice(0, 2)).toEqual([301, 302]);
    expect(await newest({ last: 5_000 })).toHaveLength(1_000);
  });

  it('of an empty log are none', async () => {
    expect(await newest({ last: 3 })).toEqual([]);
  });

  it('that fit a filter are found however far back they are', async () => {
    // 1,744 is where the first stretch ends.
    fill(2_000, [3, 4, 1_744, 1_999]);
    expect(await newest({ last: 3, vm: 'rare' })).toEqual([4, 1_744, 1_999]);
    expect(await newest({ last: 1, vm: 'rare' })).toEqual([1_999]);
    expect(await newest({ last: 9, vm: 'rare' })).toEqual([3, 4, 1_744, 1_999]);
    expect(await newest({ last: 2, types: ['heartbeatStopped'] })).toEqual([]);
  });

  it('near the end are found without reading the rest, and those far back in few requests', async () => {
    fill(5_000, [7, 4_990]);
    expect(await newest({ last: 1, vm: 'rare' })).toEqual([4_990]);
    expect(pages()).toBe(1);
    expect(await newest({ last: 2, vm: 'rare' })).toEqual([7, 4_990]);
    expect(pages()).toBe(6);
  });

  it('are of those after a seq, and of those that are kept', async () => {
    fill(20);
    expect(await newest({ last: 5, after: 18 })).toEqual([19, 20]);
    scripted.oldestSeq = 18;
    expect(await newest({ last: 5 })).toEqual([18, 19, 20]);
    expect(pages()).toBe(2);
  });

  it('are what is left where retention deletes while they are searched', async () => {
    fill(2_000, [3, 1_990]);
    scripted.answerNext(/after=0&/u, (_request, response) => {
      scripted.oldestSeq = 1_000;
      response.writeHead(410, { 'content-type': 'application/problem+json' });
      response.end(JSON.stringify({ code: 'VMPULSE_E_CURSOR_EXPIRED', detail: 'gone' }));
    });
    expect(await newest({ last: 2, vm: 'rare' })).toEqual([1_990]);
  });

  it('are followed by what comes', async () => {
    fill(10);
    const seen: number[] = [];
    const ended = new AbortController();
    const following = (async () => {
      for await (const { seq } of server.events({ last: 2, signal: ended.signal })) seen.push(seq);
    })();
    await scripted.streaming();
    fill(1);
    await eventually('the one that came', () => seen.length === 3);
    expect(seen).toEqual([9, 10, 11]);
    ended.abort();
    await following;
  });

  it.each([0, -1, 1.5, 10_001, Number.NaN])('cannot be %d', async (last) => {
    await expect(newest({ last })).rejects.toMatchObject({ code: 'E_INVALIDARG' });
  });
});
