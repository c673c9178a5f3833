import { type EventDraft, toCloudEvent } from '@vmpulse/client';
import { expect, it } from 'vitest';
import { eventLine } from './event-sentence.ts';

const line = (draft: Pick<EventDraft, 'type' | 'data'>): string =>
  eventLine(toCloudEvent({ ...draft, timeMs: 0 } as EventDraft, 7, 's'))
    .split('  ')
    .slice(3)
    .join('  ');

const names = ['a', 'b'].map((name) => ({ id: name, name }));
const space = { path: '/images', freeBytes: 19.9 * 1024 ** 2, boundBytes: 20 * 1024 ** 2 };
const onTwo = { ...space, machines: names, machineCount: 2 };
const onMany = { ...space, machines: names, machineCount: 5 };
const onNone = { ...space, machines: [], machineCount: 0 };
const low = { messageId: 107, level: 'error', eventType: 11 } as const;

it.each<[Pick<EventDraft, 'type' | 'data'>, string]>([
  [
    { type: 'diskSpaceLow', data: { ...onTwo, messageId: 106, level: 'warning', eventType: 10 } },
    'DISK SPACE LOW: 19 MB left at /images, below 20 MB; machines on it: a, b',
  ],
  [
    { type: 'diskSpaceLow', data: { ...onMany, ...low } },
    'DISK NEARLY FULL: 19 MB left at /images, below 20 MB; machines on it: a, b and 3 more; those that run are paused',
  ],
  [
    { type: 'diskSpaceLow', data: { ...onNone, ...low } },
    'DISK NEARLY FULL: 19 MB left at /images, below 20 MB',
  ],
  [
    { type: 'diskSpaceRegained', data: { ...onTwo, messageId: 108, from: 'error', to: 'ok' } },
    'disk space regained: 19 MB free at /images; machines that were paused for it go on',
  ],
  [
    { type: 'diskSpaceRegained', data: { ...onTwo, messageId: 108, from: 'warning', to: 'ok' } },
    'disk space regained: 19 MB free at /images',
  ],
  [
    { type: 'diskSpaceUnknown', data: { messageId: 109, path: '/net', reason: '', over: true } },
    'the disk space at /net is known again',
  ],
  [
    {
      type: 'stateChanged',
      data: { state: 'paused', stateCode: 6, previousState: 'running', cause: 'diskSpace' },
    },
    'running -> paused (by vmpulse: its disk has no space left)',
  ],
])('an event of disk space says what it means: %j', (draft, sentence) => {
  expect(line(draft)).toBe(sentence);
});
