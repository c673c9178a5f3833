import { describe, expect, test } from 'vitest';
import type { ProcessSample, RunState } from '../hypervisor/hypervisor.ts';
import { type Answers, judge, type Load, loadBetween } from './verdict.ts';

const loads = {
  none: null,
  idle: { overMs: 1_000, runShare: 0.049, delayShare: 0, wantShare: 0.049, blocked: false },
  idleWaiting: { overMs: 1_000, runShare: 0.03, delayShare: 0.02, wantShare: 0.05, blocked: false },
  between: { overMs: 1_000, runShare: 0.6, delayShare: 0.3, wantShare: 0.9, blocked: false },
  fullWaiting: { overMs: 1_000, runShare: 0.7, delayShare: 0.25, wantShare: 0.95, blocked: false },
  full: { overMs: 1_000, runShare: 0.91, delayShare: 0, wantShare: 0.91, blocked: false },
  starved: { overMs: 1_000, runShare: 0.01, delayShare: 0.5, wantShare: 0.51, blocked: false },
  blocked: { overMs: 1_000, runShare: 0, delayShare: 0, wantShare: 0, blocked: true },
} satisfies Record<string, Load | null>;

const runStates: readonly (RunState | 'silent')[] = [
  'running',
  'paused',
  'saving',
  'restoring',
  'shutdown',
  'panicked',
  'internalError',
  'ioError',
  'watchdog',
  'suspended',
  'preparing',
  'other',
  'silent',
];
const processStates = ['R', 'S', 'D', 'T', 't', 'Z', 'X', '?', 'I', null];

const every: (Answers & { readonly loadClass: keyof typeof loads })[] = runStates.flatMap((runState) =>
  processStates.flatMap((processState) =>
    (Object.keys(loads) as (keyof typeof loads)[]).flatMap((loadClass) =>
      [true, false].flatMap((portClosed) =>
        [true, false].flatMap((connected) =>
          (['answered', 'frozen', 'silent', 'busy', 'absent'] as const).flatMap((agent) =>
            ([true, false, 'silent', null] as const).flatMap((ioMoved) =>
              [true, false].flatMap((frozen) =>
                ['Fatal exception', null].map((serialPanic) => {
                  const load = loads[loadClass];
                  const seen = { runState, processState, load, loadClass, portClosed, connected };
                  return { ...seen, agent, ioMoved, frozen, serialPanic };
                }),
              ),
            ),
          ),
        ),
      ),
    ),
  ),
);

function expectedOfQemu(runState: RunState | 'silent', processState: string | null): string | null {
  if (processState === null || 'ZX'.includes(processState)) return 'gone';
  if ('Tt'.includes(processState)) return 'unknown';
  if (['panicked', 'internalError', 'watchdog'].includes(runState)) return runState;
  if (runState === 'other') return 'unknown';
  return runState !== 'running' && runState !== 'silent' ? 'suspended' : null;
}

/** What the design's table says, written without looking at the code. */
function expected(answers: (typeof every)[number]): string {
  const { runState, processState, loadClass } = answers;
  const certain = expectedOfQemu(runState, processState);
  if (certain !== null) return certain;
  if (answers.frozen) return 'starved';
  if (answers.agent === 'frozen') return 'suspended';
  if (answers.agent === 'answered' || answers.portClosed) return 'additionsStopped';
  if (!answers.connected || processState === 'D' || loadClass === 'none') return 'unknown';
  if (loadClass === 'blocked' || loadClass === 'starved') return 'starved';
  if (runState === 'silent') return 'unknown';
  if (answers.agent === 'busy') return 'unknown';
  if (answers.ioMoved === true) return 'busy';
  const byLoad = {
    idle: 'hung',
    idleWaiting: 'busy',
    between: 'busy',
    full: 'spinning',
    fullWaiting: 'spinning',
  }[loadClass];
  return byLoad !== 'busy' && answers.serialPanic !== null ? 'serialPanic' : byLoad;
}

describe('every combination of what witnesses can say', () => {
  test('has the verdict of the design’s table', () => {
    expect(every).toHaveLength(13 * 10 * 8 * 2 * 2 * 5 * 4 * 2 * 2);
    const wrong = every.filter((answers) => judge(answers).verdict !== expected(answers));
    expect(wrong).toEqual([]);
  });

  test('in which one of them cannot be seen is no stop that is inferred', () => {
    const inferred = ['hung', 'spinning', 'busy'];
    const ownWord = ['serialPanic'];
    const blind = every.filter(({ runState, processState, load, connected }) => {
      return (
        runState === 'silent' || runState === 'other' || processState === 'D' || load === null || !connected
      );
    });
    expect(blind.filter((answers) => inferred.includes(judge(answers).verdict))).toEqual([]);
    expect(blind.filter((answers) => ownWord.includes(judge(answers).verdict))).toEqual([]);
  });

  test('in which an agent answers, disks or network work, or a host holds the guest back is no stop at once', () => {
    const atOnce = ['hung', 'serialPanic'];
    const lively = every.filter(({ runState, agent, ioMoved, frozen, loadClass }) => {
      const held = frozen || loadClass === 'starved' || loadClass === 'blocked';
      return (
        runState === 'running' && (agent === 'answered' || agent === 'frozen' || ioMoved === true || held)
      );
    });
    expect(lively.filter((answers) => atOnce.includes(judge(answers).verdict))).toEqual([]);
  });

  test('gives a reason', () => {
    expect(every.filter((answers) => judge(answers).reason === '')).toEqual([]);
  });
});

type Vcpu = readonly [tid: number, runMs: number, delayMs: number, state?: string];

function sample(atMs: number, vcpus: readonly Vcpu[], mainDelayMs: number | null = 0): ProcessSample {
  return {
    atMs,
    processState: 'S',
    vcpus: vcpus.map(([tid, runMs, delayMs, state]) => {
      return { tid, state: state ?? 'S', runNs: runMs * 1e6, runDelayNs: delayMs * 1e6 };
    }),
    mainLoop: mainDelayMs === null ? null : { state: 'S', runNs: 0, runDelayNs: mainDelayMs * 1e6 },
    frozen: false,
  };
}

describe('the load between two samples', () => {
  const load = (runShare: number, delayShare: number, blocked = false, wantShare?: number): Load => {
    return { overMs: 1_000, runShare, delayShare, wantShare: wantShare ?? runShare + delayShare, blocked };
  };

  test.each([
    ['of one vCPU', sample(0, [[1, 100, 10]]), sample(1_000, [[1, 300, 60]]), load(0.2, 0.05)],
    [
      'is that of the busiest vCPU, and the longest wait of any',
      sample(0, [
        [1, 0, 0],
        [2, 0, 0],
      ]),
      sample(1_000, [
        [2, 950, 0],
        [1, 0, 700],
      ]),
      load(0.95, 0.7, false, 0.95),
    ],
    [
      'counts the main loop’s waiting',
      sample(0, [[1, 0, 0]], 0),
      sample(1_000, [[1, 0, 0]], 600),
      load(0, 0.6, false, 0),
    ],
    [
      'without a main loop to compare',
      sample(0, [[1, 0, 0]], null),
      sample(1_000, [[1, 0, 0]], 600),
      load(0, 0),
    ],
    ['is within 0 and 1', sample(0, [[1, 500, 500]]), sample(1_000, [[1, 1_600, 0]]), load(1, 0)],
    [
      'of one that is runnable and does not run: it waits, though the kernel has not counted that yet',
      sample(0, [[1, 100, 10, 'R']]),
      sample(1_000, [[1, 101, 10, 'R']]),
      load(0.001, 0.999),
    ],
    [
      'of one that runs more than half the time and is seen running twice',
      sample(0, [[1, 0, 0, 'R']]),
      sample(1_000, [[1, 600, 0, 'R']]),
      load(0.6, 0),
    ],
    [
      'of one that was just woken is no waiting',
      sample(0, [[1, 0, 0, 'S']]),
      sample(1_000, [[1, 1, 0, 'R']]),
      load(0.001, 0),
    ],
    ['is blocked in D twice', sample(0, [[1, 0, 0, 'D']]), sample(1_000, [[1, 0, 0, 'D']]), load(0, 0, true)],
    ['is blocked in D once', sample(0, [[1, 0, 0, 'S']]), sample(1_000, [[1, 0, 0, 'D']]), load(0, 0, true)],
    [
      'was blocked in D before',
      sample(0, [[1, 0, 0, 'D']]),
      sample(1_000, [[1, 0, 0, 'S']]),
      load(0, 0, true),
    ],
    ['of no vCPU', sample(0, []), sample(1_000, []), null],
    ['of another vCPU', sample(0, [[1, 0, 0]]), sample(1_000, [[2, 0, 0]]), null],
    ['of no time', sample(1_000, [[1, 0, 0]]), sample(1_000, [[1, 0, 0]]), null],
    ['of time running backwards', sample(2_000, [[1, 0, 0]]), sample(1_000, [[1, 0, 0]]), null],
  ])('%s', (_name, before, now, expectedLoad) => {
    expect(loadBetween(before, now)).toEqual(expectedLoad);
  });
});
