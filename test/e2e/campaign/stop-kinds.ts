/** Kinds of fault that stop a guest: each must be told as a stop, once, with the right verdict, within its bound. */
import { setTimeout as delay } from 'node:timers/promises';
import type { StopVerdict } from '@vmpulse/wire';
import type { CountedFrom, FaultKind } from './kind.ts';
import { watchdogS } from './profile.ts';
import { patienceMs } from '../../support/real-service.ts';
import { type Subject, wallMs } from './subject.ts';

/**
 * A hang at an interval of 1 s, of a guest that has ticked fewer than 20 times: the interval, the margin of 500 ms that
 * holds for it, 300 ms between two samples of its processor time, and 200 ms for all the rest.
 */
const coldHangMs = 2_000;
/** What QEMU tells by an event, its own work and the guest's before it included. */
const eventMs = 1_000;
/** How far a verdict with a patience may be told past it. */
const pastPatienceMs = 600;
/** A service that was started again has to find its guests first. */
const restartMs = 5_000;
/** Its ticker may have become a slower one meanwhile: it is waited for so long (ADR 0017). */
const unconfirmedMs = 10_000;

function stop(
  verdicts: StopVerdict | readonly StopVerdict[],
  from: CountedFrom,
  boundMs: number,
): Pick<FaultKind, 'expected'> {
  const list = typeof verdicts === 'string' ? [verdicts] : verdicts;
  return { expected: { told: 'heartbeatStopped', verdicts: list, from, boundMs } };
}

const ordinary = { profile: 'ordinary', strain: 'none' } as const;

/** The console answers, and acts 50 ms later. */
const console =
  (command: string) =>
  (subject: Subject): Promise<number> =>
    subject.tell(command);

/** Ends the service, does something, and starts it again; answers when it was started. */
async function whileAway(subject: Subject, work: () => Promise<void>): Promise<number> {
  await subject.service.end('SIGKILL');
  await work();
  const startedMs = wallMs();
  await subject.service.run();
  return startedMs;
}

/** What QEMU tells of: panics, its own end, watchdogs. */
const facts: readonly FaultKind[] = [
  {
    name: 'panic',
    what: 'kernel panics; QEMU has a panic device',
    ...ordinary,
    ...stop('panicked', 'fault', eventMs),
    inject: console('panic'),
  },
  {
    name: 'panic-nmi',
    what: 'kernel panics of an NMI that the API sends',
    ...ordinary,
    ...stop('panicked', 'fault', eventMs),
    inject: async ({ vm }) => {
      const faultMs = wallMs();
      await (await vm.injectNmi()).waitForCompletion(patienceMs);
      return faultMs;
    },
  },
  {
    name: 'killed',
    what: 'QEMU gets SIGKILL',
    ...ordinary,
    ...stop('exited', 'fault', eventMs),
    inject: async (subject) => {
      const faultMs = wallMs();
      subject.kill('SIGKILL');
      return faultMs;
    },
    end: 'off',
  },
  {
    name: 'terminated',
    what: 'QEMU gets SIGTERM from outside',
    ...ordinary,
    ...stop('exited', 'fault', eventMs),
    inject: async (subject) => {
      const faultMs = wallMs();
      subject.kill('SIGTERM');
      return faultMs;
    },
    end: 'off',
  },
  {
    name: 'killed-paused',
    what: 'QEMU gets SIGKILL while its guest is paused',
    ...ordinary,
    ...stop('exited', 'fault', eventMs),
    inject: async (subject) => {
      await (await subject.vm.pause()).waitForCompletion(patienceMs);
      await delay(500);
      const faultMs = wallMs();
      subject.kill('SIGKILL');
      return faultMs;
    },
    end: 'off',
  },
  {
    name: 'killed-unseen',
    what: 'QEMU gets SIGKILL while the service is away; counted from the start of the service',
    ...ordinary,
    ...stop('exited', 'fault', restartMs),
    inject: (subject) =>
      whileAway(subject, async () => {
        subject.kill('SIGKILL');
        await delay(500);
      }),
    end: 'off',
  },
  {
    name: 'watchdog-pause',
    what: `guest stops feeding its watchdog, which fires ${watchdogS} s later and pauses it`,
    profile: 'watchdogPause',
    strain: 'none',
    ...stop('watchdog', 'fault', watchdogS * 1_000 + eventMs),
    inject: console('stop-watchdog'),
  },
  {
    name: 'watchdog-none',
    what: 'the same, and QEMU only tells it',
    profile: 'watchdogNone',
    strain: 'none',
    ...stop('watchdog', 'fault', watchdogS * 1_000 + eventMs),
    inject: console('stop-watchdog'),
  },
];

/** What only silence tells. */
const silences: readonly FaultKind[] = [
  {
    name: 'hang',
    what: 'every process of the guest stops, its agent too',
    ...ordinary,
    ...stop('hung', 'last tick', coldHangMs),
    inject: console('hang'),
  },
  {
    name: 'hang-warm',
    what: 'the same, of a guest that has ticked for 22 s',
    ...ordinary,
    warmUpMs: 22_000,
    ...stop('hung', 'last tick', 1_600),
    inject: console('hang'),
  },
  {
    name: 'hang-fast',
    what: 'the same, of a guest that ticks every 100 ms',
    profile: 'fast',
    strain: 'none',
    warmUpMs: 3_000,
    ...stop('hung', 'last tick', 250),
    inject: console('hang'),
  },
  {
    name: 'hang-no-agent',
    what: 'every process stops; the guest has no agent',
    profile: 'tickerOnly',
    strain: 'none',
    ...stop('hung', 'last tick', coldHangMs),
    inject: console('hang'),
  },
  {
    name: 'hang-returns',
    what: 'every process stops for 5 s: told as stopped, then as resumed',
    ...ordinary,
    ...stop('hung', 'last tick', coldHangMs),
    inject: console('hang 5'),
    afterwards: 'heartbeatResumed',
    end: 'ticking',
  },
  {
    name: 'hang-unseen',
    what: 'every process stops while the service is away; counted from the start of the service',
    ...ordinary,
    ...stop('hung', 'fault', restartMs + unconfirmedMs),
    inject: (subject) =>
      whileAway(subject, async () => {
        await subject.tell('hang');
        await delay(2_000);
      }),
  },
  {
    name: 'hang-stalled',
    what: 'every process stops while SIGSTOP holds the service for 4 s; counted from its SIGCONT',
    ...ordinary,
    ...stop('hung', 'fault', coldHangMs + 1_000),
    inject: async (subject) => {
      subject.service.signal('SIGSTOP');
      try {
        await subject.tell('hang');
        await delay(4_000);
        return wallMs();
      } finally {
        subject.service.signal('SIGCONT');
      }
    },
  },
  {
    name: 'spin',
    what: 'real-time livelock; patience 2 s',
    ...ordinary,
    strain: 'all',
    heartbeat: { patience: { spinningMs: 2_000 } },
    ...stop('spinning', 'last tick', 2_000 + pastPatienceMs),
    inject: console('spin'),
    quietMs: 500,
  },
  {
    name: 'busy',
    what: 'no process of the guest runs, yet it reads its disk; patience 4 s',
    profile: 'disk',
    strain: 'all',
    heartbeat: { patience: { busyMs: 4_000 } },
    ...stop('busy', 'last tick', 4_000 + pastPatienceMs),
    inject: console('busy'),
    quietMs: 500,
  },
  {
    name: 'boot-endless',
    what: 'the API resets the guest, which has no ticker from then on; boot window 10 s',
    profile: 'endless',
    strain: 'core',
    heartbeat: { bootWindowMaxMs: 10_000 },
    // A host that has other things to do boots it more slowly, and then it is busy with that still.
    ...stop(['hung', 'busy', 'spinning'], 'fault', 10_000 + 2_000),
    inject: async ({ vm }) => {
      const faultMs = wallMs();
      await (await vm.reset()).waitForCompletion(patienceMs);
      return faultMs;
    },
  },
  {
    name: 'panic-no-device',
    what: 'kernel panics with no driver for the panic device: its serial log tells, and its silence',
    ...ordinary,
    strain: 'core',
    ...stop('panicked', 'last tick', coldHangMs),
    inject: async (subject) => {
      await subject.tell('sh rmmod pvpanic_pci pvpanic; echo no-driver', 'no-driver');
      return subject.tell('panic');
    },
    quietMs: 500,
  },
  {
    name: 'agent-hang',
    what: 'every process stops in a guest whose agent is its heartbeat',
    profile: 'agentOnly',
    strain: 'none',
    warmUpMs: 3_000,
    ...stop('hung', 'last tick', 3_000),
    inject: console('hang'),
  },
];

/** Every kind that stops a guest. */
export const stopKinds: readonly FaultKind[] = [...facts, ...silences];
