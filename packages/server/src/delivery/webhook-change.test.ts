import { afterEach, expect, it } from 'vitest';
import { Endpoint } from '../../../../test/support/endpoint.ts';
import { eventually } from '../../../../test/support/eventually.ts';
import { MemoryEventLog } from '../../../../test/support/memory-event-log.ts';
import { SystemClock } from '../clock.ts';
import { Webhooks } from './webhooks.ts';

const opened: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of opened.splice(0).toReversed()) await close();
});

it('a wider filter is for events to come, not for those that it did not want as they came', async () => {
  const log = new MemoryEventLog();
  const clock = new SystemClock();
  const ports = { clock, log, store: log, version: '1', warn: () => undefined, random: () => 0 };
  const webhooks = await Webhooks.open(ports);
  webhooks.start();
  opened.push(() => webhooks.close());
  const endpoint = await Endpoint.start();
  opened.push(() => endpoint.stop());
  await webhooks.create({ name: 'pager', url: endpoint.url, types: ['vmDeleted'] });
  const vm = { id: 'id', name: 'web-1' };
  for (let n = 0; n < 5; n += 1)
    await log.append({ type: 'vmCreated', vm, timeMs: 0, data: { hypervisor: 'fake' } });
  await eventually('nothing waits', () => webhooks.get('pager').lag === 0);
  const { cursor } = webhooks.get('pager');
  const changed = await webhooks.change('pager', { types: ['vmDeleted', 'vmCreated'] });
  const { seq } = await log.append({ type: 'vmCreated', vm, timeMs: 0, data: { hypervisor: 'fake' } });
  await eventually('the next one is told', () => endpoint.seqs.includes(seq));
  expect({ told: endpoint.seqs, cursor: changed.cursor }).toEqual({ told: [seq], cursor });
});
