import { expect, test } from 'vitest';
import type { VmEvent } from '@vmpulse/client';
import { judgeRound, type Observed } from './judgement.ts';
import type { FaultKind } from './kind.ts';
import { renderMatrix, withMatrix } from './matrix.ts';
import type { Arrival } from './subject.ts';

const base = { what: '', profile: 'ordinary', strain: 'none', inject: async () => undefined } as const;
const hangs: FaultKind = {
  ...base,
  name: 'hangs',
  expected: { told: 'heartbeatStopped', verdicts: ['hung'], from: 'last tick', boundMs: 2_000 },
};
const killed: FaultKind = {
  ...base,
  name: 'killed',
  expected: { told: 'heartbeatStopped', verdicts: ['exited'], from: 'fault', boundMs: 1_000 },
};
const quiet: FaultKind = { ...base, name: 'quiet', expected: { told: null } };
const gone: FaultKind = { ...base, name: 'gone', expected: { told: 'additionsStopped', boundMs: 2_600 } };
const unseen: FaultKind = {
  ...base,
  name: 'unseen',
  expected: { told: 'visibilityLost', verdict: 'starved', optional: true },
};

const faultMs = Date.parse('2026-01-01T00:00:00.000Z');

/** An event told so many ms after the fault, 5 ms before it came to the sink. */
function told(type: string, afterMs: number, data: object = {}): Arrival {
  const event = {
    type: `io.vmpulse.${type}`,
    time: new Date(faultMs + afterMs - 5).toISOString(),
    data,
  } as unknown as VmEvent;
  return { event, wallMs: faultMs + afterMs };
}

const stopped = (afterMs: number, verdict: string, sinceLastTickMs = 1_500): Arrival =>
  told('heartbeatStopped', afterMs, { verdict, evidence: { sinceLastTickMs } });

function judge(
  kind: FaultKind,
  arrivals: Arrival[],
  more: Partial<Observed> = {},
): [string, string, number | null] {
  const { outcome, told: word, delayMs } = judgeRound(kind, { faultMs, arrivals, failures: [], ...more });
  return [outcome, word, delayMs];
}

test('a stop is right with its verdict and within its bound, counted from the last tick or the fault', () => {
  expect(judge(hangs, [stopped(1_300, 'hung', 1_800)])).toEqual(['right', 'hung', 1_805]);
  expect(judge(killed, [stopped(20, 'exited')])).toEqual(['right', 'exited', 20]);
});

test('a stop that comes late, with another verdict, twice or not at all is not right', () => {
  expect(judge(hangs, [stopped(2_300, 'hung', 2_100)])[0]).toBe('late');
  expect(judge(hangs, [stopped(1_300, 'busy')]).slice(0, 2)).toEqual(['wrong', 'busy']);
  expect(judge(hangs, [stopped(1_300, 'hung'), stopped(9_000, 'hung')])[0]).toBe('false');
  expect(judge(hangs, []).slice(0, 2)).toEqual(['missed', 'nothing']);
  expect(judge(hangs, [told('additionsStopped', 2_000)]).slice(0, 2)).toEqual(['missed', 'additionsStopped']);
  expect(judge(hangs, [stopped(1_300, 'hung')], { failures: ['it did not resume'] })[0]).toBe('wrong');
});

test('a guest that did not stop must not be told as stopped, whatever else is told of it', () => {
  expect(judge(quiet, [])).toEqual(['right', 'nothing', null]);
  expect(judge(quiet, [told('stateChanged', 10)])[0]).toBe('right');
  expect(judge(quiet, [stopped(1_300, 'hung')]).slice(0, 2)).toEqual(['false', 'hung']);
  expect(judge(gone, [told('additionsStopped', 2_000), stopped(3_000, 'hung')])[0]).toBe('false');
  expect(judge(quiet, [told('visibilityLost', 3_000, { verdict: 'unknown' })])[0]).toBe('wrong');
  expect(judge(quiet, [], { failures: ['it does not tick'] })[0]).toBe('wrong');
});

test('what must be told of it is awaited with its verdict and its bound', () => {
  expect(judge(gone, [told('additionsStopped', 2_000)])).toEqual(['right', 'additionsStopped', 2_000]);
  expect(judge(gone, [told('additionsStopped', 2_700)])[0]).toBe('late');
  expect(judge(gone, [])[0]).toBe('missed');
  expect(judge(unseen, [])[0]).toBe('right');
  expect(judge(unseen, [told('visibilityLost', 11_000, { verdict: 'starved' })])[0]).toBe('right');
  expect(judge(unseen, [told('visibilityLost', 11_000, { verdict: 'unknown' })])[0]).toBe('wrong');
});

test('the matrix counts every round, those that could not be set up included, and says when it is partial', () => {
  const results = [
    judgeRound(hangs, { faultMs, arrivals: [stopped(1_300, 'hung', 1_500)], failures: [] }),
    judgeRound(hangs, { faultMs, arrivals: [stopped(1_300, 'busy', 1_600)], failures: [] }),
    { kind: 'hangs', outcome: 'notSetUp', told: '-', delayMs: null, reason: 'no guest | here' } as const,
    judgeRound(quiet, { faultMs, arrivals: [], failures: [] }),
  ];
  const about = {
    command: 'npm run campaign',
    date: '2026-01-31',
    versions: ['QEMU 7.2'],
    tookMs: 60_000,
    planned: 8,
    misnumbered: 0,
    lanes: 2,
  };
  const text = renderMatrix([hangs, killed, quiet], results, about);
  expect(text).toContain('**Partial**: 4 of 8 rounds');
  expect(text).toContain(
    '| `hangs` | **stopped**: hung | 3 | 1 |  | 1 |  | 0 | 1 | hung 1, busy 1 | 1,505 / 1,605 | 2,000 (last tick) |',
  );
  expect(text).toContain('| `quiet` | nothing | 1 | 1 |  |  |  | 0 |  | nothing 1 |  |  |');
  expect(text).toContain('| stops | 2 | 1 | 0 | 1 | 0 | 0 |');
  expect(text).toContain('could not be set up: 1.');
  expect(text).toContain('- `hangs`, not set up 1: no guest / here');
  expect(text).not.toContain('`killed`');
  expect(renderMatrix([quiet], results.slice(3), { ...about, planned: 1 })).not.toContain('Partial');
});

test('the matrix takes the place of the one before, and nothing else of the document', () => {
  const once = withMatrix('# Benchmarks\n\nabove\n', 'first');
  const text = `${once}\nbelow\n`;
  expect(withMatrix(text, 'second')).toBe(text.replace('first', 'second'));
  expect(once).toContain('above');
});
