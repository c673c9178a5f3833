import { type IncidentInfo, toCloudEvent } from '@vmpulse/wire';
import { describe, expect, it } from 'vitest';
import { stoppedDraft, testTimeMs } from '../../../../test/support/machines.ts';
import { storyOf } from './incident-story.ts';

const vm = { id: '00000000-0000-4000-8000-000000000001', name: 'web-1' };
const incident: IncidentInfo = { seq: 1, vm, at: '', verdict: 'hung', files: [], missing: [] };

/** The stop, then what is given: type, data and seconds after it. */
function story(...later: [type: string, data: object, seconds: number][]): string {
  const drafts = later.map(([type, data, seconds]) => ({
    type,
    vm,
    timeMs: testTimeMs + seconds * 1_000,
    data: { messageId: 1, ...data },
  }));
  const events = [stoppedDraft(1), ...drafts].map((draft, index) =>
    toCloudEvent(draft as never, index + 1, 'test'),
  );
  return storyOf(incident, events).join('\n');
}

const step = (name: string, phase: string, more: object = {}): [string, object] => [
  'recoveryStep',
  { stoppedSeq: 1, step: name, phase, attempt: 1, reason: 'because', ...more },
];

describe('the story of a stop', () => {
  it('has the verdict and why, each stage with its length, and what came back', () => {
    const told = story(
      [...step('evidence', 'begun'), 1],
      [...step('evidence', 'done'), 3],
      [...step('reset', 'begun'), 4],
      [...step('reset', 'done'), 5],
      ['heartbeatResumed', { outageMs: 20_000, stoppedSeq: 1 }, 20],
      [
        'recoverySucceeded',
        { stoppedSeq: 1, step: 'reset', attempts: 1, outageMs: 20_000, recoveryMs: 16_000 },
        20,
      ],
    );
    expect(told).toContain('  verdict   hung at 2026-01-01T00:00:00.000Z');
    expect(told).toMatch(/^ {2}why {7}silence/mu);
    expect(told).toContain(
      '  tried     evidence done in 2 s (attempt 1): because\n  tried     reset done in 1 s',
    );
    expect(told).toContain('  came back 2026-01-01T00:00:20.000Z, 20 s after it stopped');
    expect(told).toContain('  by        reset, 1 attempt, 16 s from the first step to the heartbeat');
  });

  it('says so where nothing was tried, and nothing came back', () => {
    expect(story()).toMatch(/^ {2}tried {5}nothing\n {2}came back not until now$/mu);
  });

  it('has a step that failed with its error, a rehearsal, and a give-up with what to do', () => {
    const error = { code: 'E_FAIL', hresult: 0, detail: 'QEMU refused' };
    const told = story(
      [...step('reset', 'begun'), 1],
      [...step('reset', 'failed', { error }), 2],
      [...step('turnOff', 'done', { dryRun: true }), 3],
      ['recoveryGaveUp', { stoppedSeq: 1, reason: 'attempts', attempts: 3, detail: 'look at it' }, 4],
    );
    expect(told).toContain('tried     reset failed in 1 s (attempt 1): QEMU refused');
    expect(told).toContain('(attempt 1, dry run): because');
    expect(told).toContain('  gave up   look at it');
    expect(told).not.toContain('not until now');
  });

  it('keeps to what is left where the log no longer has the stop, and to one line for each hostile text', () => {
    expect(storyOf(incident, []).join('\n')).toContain(
      'verdict   hung; the event of the stop is no longer kept',
    );
    const told = story([...step('reset', 'done', { reason: 'a\n\u001B[31mb' }), 1]);
    expect(told).not.toContain('\u001B');
    expect(told.split('\n').some((line) => line.startsWith('b'))).toBe(false);
  });
});
