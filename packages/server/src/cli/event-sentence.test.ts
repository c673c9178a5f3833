import { type Evidence, type EventDraft, eventTypeNames, toCloudEvent } from '@vmpulse/client';
import { describe, expect, it } from 'vitest';
import { eventLine, eventColor } from './event-sentence.ts';

const evidence: Evidence = {
  lastTickAt: '2024-01-01T00:00:00.000Z',
  sinceLastTickMs: 4_500,
  silenceMs: 1_520,
  subtracted: { suspendedMs: 0, runDelayMs: 0 },
  intervalMs: 1_000,
  marginMs: 50,
  witnesses: [],
};
const witnesses = [
  { witness: 'qemu', answer: 'running', tookMs: 1 },
  { witness: 'vcpu', answer: 'idle (0.4 %)', tookMs: 2 },
];

type Row = [Pick<EventDraft, 'type' | 'data'>, string];

const lowSpace = {
  path: '/images',
  freeBytes: 2e7,
  boundBytes: 20 * 1024 ** 2,
  machines: [],
  machineCount: 0,
};

const scriptEnd = {
  messageId: 130,
  scope: 'server',
  trigger: 'heartbeatStopped',
  eventSeq: 7,
  executable: '/bin/page',
  exitStatus: null,
  signal: null,
  durationMs: 1_500,
  output: '',
  detail: '',
  attempt: 1,
} as const;

const rows: Row[] = [
  [
    { type: 'serviceStarted', data: { messageId: 3, version: '0.1.0', pid: 7, unclean: true } },
    'service 0.1.0 started (pid 7); it had not ended in order before',
  ],
  [{ type: 'serviceStopped', data: { messageId: 2, reason: 'SIGTERM' } }, 'service stopped: SIGTERM'],
  [{ type: 'vmCreated', data: { hypervisor: 'qemu' } }, 'created (qemu)'],
  [{ type: 'vmDeleted', data: {} }, 'deleted'],
  [
    { type: 'webhookDisabled', data: { messageId: 120, webhook: 'pager', reason: 'gone' } },
    'webhook pager is disabled (its endpoint answered 410 Gone)',
  ],
  [
    { type: 'webhookDisabled', data: { messageId: 120, webhook: 'pager', reason: 'operator' } },
    'webhook pager is disabled by an operator',
  ],
  [
    {
      type: 'webhookDeadLetter',
      data: { messageId: 121, webhook: 'pager', failed: 7, attempts: 10, error: 'answered 500' },
    },
    'webhook pager did not take #7 in 10 attempts, and it is set aside: answered 500',
  ],
  [
    { type: 'webhookMissed', data: { messageId: 122, webhook: 'pager', from: 1, to: 3 } },
    'webhook pager missed #1 to #3: no longer kept',
  ],
  [
    { type: 'configurationChanged', data: { key: 'memoryMiB', value: 1024, effective: 'nextStart' } },
    'memoryMiB is now 1024 at its next start',
  ],
  [
    { type: 'configurationChanged', data: { key: 'boot', value: null, effective: 'now' } },
    'boot is now null',
  ],
  [
    { type: 'stateChanged', data: { state: 'running', stateCode: 5, previousState: 'turningOn' } },
    'turningOn -> running',
  ],
  [
    {
      type: 'stateChanged',
      data: { state: 'turnedOff', stateCode: 1, previousState: 'running', cause: 'processExit' },
    },
    'running -> turnedOff (its process ended by itself)',
  ],
  [{ type: 'shutdownRequested', data: { by: 'acpi' } }, 'asked to shut down (power button)'],
  [
    { type: 'turnedOffByGuest', data: { reason: 'guest-shutdown' } },
    'turned off by its guest (guest-shutdown)',
  ],
  [
    { type: 'guestReset', data: { reason: 'guest-reset', byGuest: true } },
    'reset by its guest (guest-reset)',
  ],
  [{ type: 'tripleFault', data: {} }, 'its processor met a triple fault'],
  [
    { type: 'heartbeatStarted', data: { source: 'ticker', intervalMs: 1_000, additionsVersion: '1.0.0' } },
    'heartbeat began: each 1 s from its ticker 1.0.0',
  ],
  [
    { type: 'heartbeatStarted', data: { source: 'agent', intervalMs: 100, additionsVersion: null } },
    'heartbeat began: each 100 ms from its agent',
  ],
  [
    {
      type: 'heartbeatStopped',
      data: { verdict: 'hung', cause: 'silence', evidence: { ...evidence, witnesses } },
    },
    'HAS STOPPED (hung): no ticks and idle processors, silent for 1.5 s, qemu: running, vcpu: idle (0.4 %)',
  ],
  [
    {
      type: 'heartbeatStopped',
      data: {
        verdict: 'exited',
        cause: 'processExit',
        evidence: {
          ...evidence,
          silenceMs: null,
          exit: { exitCode: null, signal: 'SIGKILL', stderr: 'a\nout of memory\n' },
        },
        correlated: true,
      },
    },
    'HAS STOPPED together with others (exited): its process is gone, ended by SIGKILL, it wrote "out of memory"',
  ],
  [
    {
      type: 'heartbeatStopped',
      data: {
        verdict: 'panicked',
        cause: 'guestPanicked',
        evidence: {
          ...evidence,
          subtracted: { suspendedMs: 3_000, runDelayMs: 20 },
          detail: 'GUEST_PANICKED',
        },
      },
    },
    'HAS STOPPED (panicked): its kernel panicked, silent for 1.5 s, 3 s suspended or out of sight not counted, ' +
      '20 ms without a host processor not counted, GUEST_PANICKED',
  ],
  [{ type: 'heartbeatResumed', data: { outageMs: 61_000, stoppedSeq: 3 } }, 'runs again after 1 min 1 s'],
  [
    { type: 'additionsStopped', data: { cause: 'portClosed', evidence: { ...evidence, silenceMs: null } } },
    'runs, but its additions stopped (portClosed)',
  ],
  [{ type: 'additionsResumed', data: { outageMs: 1_000 } }, 'its additions are back after 1 s'],
  [
    {
      type: 'visibilityLost',
      data: { verdict: 'unknown', reason: 'QEMU is stopped', evidence: { ...evidence, silenceMs: null } },
    },
    'cannot be judged: QEMU is stopped',
  ],
  [{ type: 'visibilityRegained', data: { outageMs: 500 } }, 'can be judged again after 500 ms'],
  [
    {
      type: 'cohortSilent',
      data: {
        messageId: 102,
        silent: 2,
        watched: 9,
        withinMs: 120,
        vms: [
          { id: 'a', name: 'web-1' },
          { id: 'b', name: 'db-1' },
        ],
        host: 'load 8.2 on 2 processors',
      },
    },
    '2 of 9 watched guests fell silent within 120 ms: web-1, db-1; host: load 8.2 on 2 processors',
  ],
  [
    {
      type: 'recoveryPlanned',
      data: { messageId: 140, stoppedSeq: 7, verdict: 'hung', action: 'reset', steps: ['evidence', 'reset'] },
    },
    'recovery is planned (reset): evidence, reset',
  ],
  [
    {
      type: 'recoveryStep',
      data: {
        messageId: 141,
        stoppedSeq: 7,
        step: 'reset',
        phase: 'begun',
        attempt: 2,
        reason: 'hung',
        dryRun: true,
      },
    },
    'dry run: recovery step reset begun (attempt 2): hung',
  ],
  [
    {
      type: 'recoveryHeldBack',
      data: { messageId: 142, stoppedSeq: 7, reason: 'busy', detail: 'its disks work' },
    },
    'recovery is held back (busy): its disks work',
  ],
  [
    {
      type: 'recoverySucceeded',
      data: { messageId: 143, stoppedSeq: 7, step: 'reset', attempts: 1, outageMs: 9_000, recoveryMs: 8_000 },
    },
    'recovered by reset in 8 s (attempt 1), 9 s after it stopped',
  ],
  [
    {
      type: 'recoveryGaveUp',
      data: { messageId: 144, stoppedSeq: 7, reason: 'attempts', attempts: 3, detail: 'look at it' },
    },
    'RECOVERY GAVE UP: look at it',
  ],
  [
    { type: 'hostSuspended', data: { messageId: 103, suspendedMs: 61_000 } },
    'the host slept for 1 min 1 s, and every guest with it',
  ],
  [
    { type: 'ioError', data: { messageId: 104, device: 'disk0', action: 'stop', others: 0 } },
    'disk disk0 cannot be read or written (QEMU: stop)',
  ],
  [
    { type: 'memoryFailure', data: { messageId: 105, recipient: 'guest', action: 'inject', others: 3 } },
    'memory of the host failed under its guest (QEMU: inject), and 3 times more since that was last told',
  ],
  [
    { type: 'diskSpaceLow', data: { ...lowSpace, messageId: 106, level: 'warning', eventType: 10 } },
    'DISK SPACE LOW: 19 MB left at /images, below 20 MB',
  ],
  [
    {
      type: 'diskSpaceRegained',
      data: { ...lowSpace, messageId: 108, from: 'error', to: 'warning', freeBytes: 31 * 1024 ** 2 },
    },
    'disk space regained: 31 MB free at /images, which is still little',
  ],
  [
    {
      type: 'diskSpaceUnknown',
      data: { messageId: 109, path: '/net', reason: 'it does not answer', over: false },
    },
    'the disk space at /net is not known: it does not answer',
  ],
  [
    { type: 'scriptEnded', data: { ...scriptEnd, outcome: 'ok', exitStatus: 0, attempt: 2 } },
    "the server's script /bin/page on heartbeatStopped (#7) ended well after 1.5 s, attempt 2",
  ],
  [
    {
      type: 'scriptEnded',
      data: { ...scriptEnd, scope: 'vm', outcome: 'failed', exitStatus: 3, output: 'a\nno route\n' },
    },
    'its script /bin/page on heartbeatStopped (#7) FAILED after 1.5 s, exit status 3; it wrote "no route"',
  ],
  [
    {
      type: 'scriptEnded',
      data: { ...scriptEnd, outcome: 'timedOut', detail: 'it ran for longer than 1 s' },
    },
    "the server's script /bin/page on heartbeatStopped (#7) WAS ENDED after 1.5 s: it ran for longer than 1 s",
  ],
  [
    {
      type: 'scriptEnded',
      data: { ...scriptEnd, outcome: 'notStarted', detail: 'there is no file /bin/page' },
    },
    "the server's script /bin/page on heartbeatStopped (#7) COULD NOT BE STARTED: there is no file /bin/page",
  ],
  [
    {
      type: 'scriptsSkipped',
      data: {
        messageId: 134,
        reason: 'tooMany',
        scope: 'server',
        trigger: 'guestReset',
        skipped: 5,
        firstSeq: 3,
        lastSeq: 9,
      },
    },
    'the script on guestReset was not run for 5 events (#3 to #9): too many waited for it',
  ],
  [
    { type: 'holdStarted', data: { scope: 'vm', reason: 'backup', until: '2024-01-01T01:00:00.000Z' } },
    'its watch is held until 2024-01-01T01:00:00.000Z: backup',
  ],
  [
    { type: 'holdStarted', data: { scope: 'all', reason: 'upgrade', until: '2024-01-01T01:00:00.000Z' } },
    'all watches are held until 2024-01-01T01:00:00.000Z: upgrade',
  ],
  [
    { type: 'holdEnded', data: { scope: 'vm', reason: 'backup', how: 'expired', heldMs: 60_000 } },
    'its watch was held for 1 min (backup), expired',
  ],
  [
    { type: 'holdEnded', data: { scope: 'all', reason: 'upgrade', how: 'released', heldMs: 1_000 } },
    'all watches were held for 1 s (upgrade), released',
  ],
  [
    {
      type: 'deliverySetAside',
      data: {
        messageId: 110,
        subscription: 'pager',
        setAsideSeq: 7,
        setAsideType: 'heartbeatStopped',
        attempts: 10,
        reason: 'no one there',
        droppedSeq: 2,
      },
    },
    "subscription 'pager' did not take #7 (heartbeatStopped) in 10 attempts: it was set aside (no one there); " +
      'dead letter #2 was dropped for it',
  ],
  [
    { type: 'subscriptionLostPlace', data: { messageId: 111, subscription: 'pager', from: 3, to: 9 } },
    "subscription 'pager' lost its place: events #3 to #9 are no longer kept",
  ],
  [{ type: 'migratedAway', data: {} }, 'goes on in another QEMU: it was migrated away, and did not stop'],
  [
    {
      type: 'taskFailed',
      data: {
        task: 't1',
        operation: 'startup',
        messageId: 100,
        error: { code: 'VM_E_OUT_OF_RESOURCE', hresult: '0xA0040203', detail: 'No memory.' },
      },
    },
    'startup failed: No memory. (VM_E_OUT_OF_RESOURCE)',
  ],
  [
    { type: 'eventsLost', data: { lost: 4, messageId: 101, reason: 'disk full' } },
    '4 events were lost: disk full',
  ],
];

const vm = { id: 'v', name: 'web-1' };
const line = (draft: Pick<EventDraft, 'type' | 'data'>, name = 'web-1'): string =>
  eventLine(
    toCloudEvent({ ...draft, vm: { ...vm, name }, timeMs: 1_704_067_200_123 } as EventDraft, 12, 's'),
  );

describe('an event as a sentence', () => {
  it.each(rows)('tells time, number, machine and what happened: $type', (draft, sentence) => {
    expect(line(draft)).toBe(`2024-01-01T00:00:00.123Z  #12  web-1  ${sentence}`);
  });

  it('says what each witness answered', () => {
    const answers = [
      ['runState', 'no answer in 50 ms'],
      ['process', 'S, its cgroup is frozen'],
      ['vcpus', 'ran 0.3 %, waited 0.0 % of 300 ms'],
      ['heartbeatPort', 'not closed by the guest'],
      ['agent', 'no answer in 50 ms'],
      ['io', 'stands still'],
      ['serialLog', 'kernel panic: Fatal exception'],
      ['canaries', 'hung, hung, hung'],
      ['host', 'load 8.2'],
    ] as const;
    const told = answers.map(([witness, answer]) => ({ witness, answer, tookMs: 1 }));
    const data = { verdict: 'hung', cause: 'silence', evidence: { ...evidence, witnesses: told } } as const;
    expect(line({ type: 'heartbeatStopped', data })).toContain(
      'silent for 1.5 s, QEMU gave no answer in 50 ms, its process waits, its cgroup is frozen, its processors ' +
        'ran 0.3 %, waited 0.0 % of 300 ms, the port of its heartbeat is not closed by the guest, its agent ' +
        'gave no answer in 50 ms, its disks and network stand still, its serial log ends with a kernel panic: ' +
        'Fatal exception, of those that fell silent with it some were asked first (hung, hung, hung), host: load 8.2',
    );
  });

  it('is there for every type', () => {
    expect(new Set(rows.map(([draft]) => draft.type))).toEqual(new Set(eventTypeNames));
  });

  it('cannot steer the terminal, whatever guest, QEMU or server wrote, and is bounded', () => {
    const hostile = '\u001b]0;owned\u0007\u009b2J\u202e\n';
    const text = line(
      { type: 'turnedOffByGuest', data: { reason: hostile + 'x'.repeat(10_000) } },
      `n${hostile}`,
    );
    expect(text).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    expect(text.length).toBeLessThan(800);
  });

  it('shows a type of a newer server, and one whose data lacks what is told', () => {
    const known = toCloudEvent({ type: 'vmDeleted', vm, timeMs: 0, data: {} }, 1, 's');
    const newer = { ...known, type: 'io.vmpulse.brandNew' } as unknown as typeof known;
    expect(eventLine(newer)).toContain('brandNew {"vm":{"id":"v","name":"web-1"}}');
    const lacking = { ...known, type: 'io.vmpulse.heartbeatStopped' } as unknown as typeof known;
    expect(eventLine(lacking)).toContain('heartbeatStopped {"vm"');
    expect(eventColor(lacking)).toBe('red');
  });
});
