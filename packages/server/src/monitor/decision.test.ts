import { describe, expect, test } from 'vitest';
import {
  decide,
  type Decision,
  gonePatienceMs,
  type Situation,
  starvedPatienceMs,
  unseenPatienceMs,
} from './decision.ts';
import { type Answers, judge } from './verdict.ts';

const alive: Answers = {
  runState: 'running',
  processState: 'S',
  load: { overMs: 1_000, runShare: 0.01, delayShare: 0, wantShare: 0.01, blocked: false },
  portClosed: false,
  connected: true,
  agent: 'absent',
  ioMoved: null,
  frozen: false,
  serialPanic: null,
};
const load = (runShare: number): Answers => {
  return { ...alive, load: { overMs: 1_000, runShare, delayShare: 0, wantShare: runShare, blocked: false } };
};
const patiences = { spinning: 10_000, busy: 60_000, additionsStopped: 12_000 } as const;

type Change = Partial<Omit<Situation, 'judged'>> & { readonly answers?: Answers };

function situation({ answers = alive, ...change }: Change): Situation {
  return {
    judged: judge(answers),
    countedSilenceMs: 1_060,
    deadlineSilenceMs: 1_050,
    windowEnded: false,
    patience: (verdict) => (verdict in patiences ? patiences[verdict as keyof typeof patiences] : 0),
    unseenForMs: 0,
    starvedForMs: 0,
    missingSightMs: 0,
    goneForMs: 0,
    unseenTold: false,
    attemptEveryMs: 1_000,
    unseenEveryMs: 250,
    ...change,
  };
}

type Case = readonly [name: string, change: Change, expected: Partial<Decision> & { againInMs?: number }];

const wait = (verdict: string, againInMs: number): Case[2] =>
  ({ tell: 'nothing', verdict, againInMs }) as Case[2];
const stop = (verdict: string, overdueMs: number): Case[2] => {
  return { tell: 'heartbeatStopped', verdict, overdueMs } as Case[2];
};

const cases: readonly Case[] = [
  ['hung at its deadline', { countedSilenceMs: 1_050 }, stop('hung', 0)],
  ['hung after it', { countedSilenceMs: 1_080 }, stop('hung', 30)],
  ['hung, but waiting for processors took it below', { countedSilenceMs: 900 }, wait('hung', 150)],
  ['spinning before its patience', { answers: load(1), countedSilenceMs: 2_000 }, wait('spinning', 1_000)],
  ['spinning shortly before', { answers: load(1), countedSilenceMs: 9_999 }, wait('spinning', 1)],
  ['spinning at its patience', { answers: load(1), countedSilenceMs: 10_000 }, stop('spinning', 0)],
  ['busy before its patience', { answers: load(0.5), countedSilenceMs: 59_500 }, wait('busy', 500)],
  ['busy at its patience', { answers: load(0.5), countedSilenceMs: 60_000 }, stop('busy', 0)],
  ['busy when its boot window ended', { answers: load(0.5), windowEnded: true }, stop('busy', 0)],
  [
    'spinning at an interval longer than the patience',
    { answers: load(1), countedSilenceMs: 20_000, deadlineSilenceMs: 60_050 },
    wait('spinning', 1_000),
  ],
  [
    'a closed port before its patience',
    { answers: { ...alive, portClosed: true }, countedSilenceMs: 11_500 },
    wait('additionsStopped', 500),
  ],
  [
    'a closed port at its patience',
    { answers: { ...alive, portClosed: true }, countedSilenceMs: 12_000 },
    { tell: 'additionsStopped', verdict: 'additionsStopped' },
  ],
  [
    'a closed port when its boot window ended: its additions have their patience all the same',
    { answers: { ...alive, portClosed: true }, windowEnded: true, countedSilenceMs: 11_000 },
    wait('additionsStopped', 1_000),
  ],
  ['suspended', { answers: { ...alive, runState: 'paused' } }, wait('suspended', 1_000)],
  ['hung, but seen again a moment ago', { missingSightMs: 650 }, wait('hung', 650)],
  [
    'spinning, but seen again a moment ago',
    { answers: load(1), countedSilenceMs: 10_000, missingSightMs: 1_050 },
    wait('spinning', 1_000),
  ],
  [
    'starved shortly before its patience',
    { answers: { ...alive, frozen: true }, starvedForMs: starvedPatienceMs - 1 },
    wait('starved', 1_000),
  ],
  [
    'starved at its patience',
    { answers: { ...alive, frozen: true }, starvedForMs: starvedPatienceMs },
    { tell: 'visibilityLost', verdict: 'starved', againInMs: 1_000 },
  ],
  [
    'starved, which was told',
    { answers: { ...alive, frozen: true }, starvedForMs: starvedPatienceMs, unseenTold: true },
    wait('starved', 1_000),
  ],
  [
    'a kernel panic in the serial log',
    { answers: { ...load(1), serialPanic: 'Oops' } },
    stop('panicked', 10),
  ],
  [
    'a kernel panic in the serial log before the deadline',
    { answers: { ...load(1), serialPanic: 'Oops' }, countedSilenceMs: 1_000 },
    wait('panicked', 50),
  ],
  ['starved', { answers: { ...alive, load: { ...alive.load!, delayShare: 0.9 } } }, wait('starved', 1_000)],
  [
    'panicked at once',
    { answers: { ...alive, runState: 'panicked' }, countedSilenceMs: 0 },
    stop('panicked', 0),
  ],
  [
    'watchdog at once',
    { answers: { ...alive, runState: 'watchdog' }, countedSilenceMs: 0 },
    stop('watchdog', 0),
  ],
  [
    'internal error at once',
    { answers: { ...alive, runState: 'internalError' }, countedSilenceMs: 0 },
    stop('internalError', 0),
  ],
  ['unseen for the first time', { answers: { ...alive, load: null } }, wait('unknown', 250)],
  [
    'unseen, not yet long enough',
    { answers: { ...alive, load: null }, unseenForMs: unseenPatienceMs - 1, countedSilenceMs: 1e9 },
    wait('unknown', 250),
  ],
  [
    'unseen long enough',
    { answers: { ...alive, load: null }, unseenForMs: unseenPatienceMs, countedSilenceMs: 1e9 },
    { tell: 'visibilityLost', verdict: 'unknown', againInMs: 1_000 },
  ],
  [
    'unseen, and told so already',
    { answers: { ...alive, load: null }, unseenForMs: 1e9, unseenTold: true, windowEnded: true },
    wait('unknown', 1_000),
  ],
  ['gone for the first time', { answers: { ...alive, processState: null } }, wait('gone', 250)],
  [
    'gone for long',
    { answers: { ...alive, processState: null }, goneForMs: gonePatienceMs },
    stop('exited', 0),
  ],
];

describe('a round', () => {
  test.each(cases)('%s', (_name, change, expected) => {
    expect(decide(situation(change))).toMatchObject(expected);
  });
});
