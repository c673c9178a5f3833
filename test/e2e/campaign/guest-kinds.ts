/** What a guest does or suffers without having stopped. */
import { setTimeout as delay } from 'node:timers/promises';
import type { FaultKind, NoStopExpected } from './kind.ts';
import { patienceMs } from '../../support/real-service.ts';
import type { Subject } from './subject.ts';

const ordinary = { profile: 'ordinary', strain: 'none' } as const;
const nothing: Pick<FaultKind, 'expected'> = { expected: { told: null } };
/** Additions are told as gone after 2 s here, so that rounds stay short. */
const additionsMs = 2_000;
const shortPatience = { heartbeat: { patience: { additionsStoppedMs: additionsMs } } } as const;
/** From the fault; the silence counts from the last tick before it. */
const additionsGone: NoStopExpected = { told: 'additionsStopped', boundMs: additionsMs + 600 };

const console =
  (command: string, done?: string) =>
  (subject: Subject): Promise<number> =>
    subject.tell(command, done);

/** Something for a time, and its opposite. */
const forMs =
  (command: string, lastsMs: number, opposite: string) =>
  async (subject: Subject): Promise<void> => {
    await subject.tell(command);
    await delay(lastsMs);
    await subject.tell(opposite);
  };

/** The guest ends or begins anew. */
const lives: readonly FaultKind[] = [
  {
    name: 'poweroff',
    what: 'guest powers itself off in order',
    ...ordinary,
    expected: { told: 'turnedOffByGuest' },
    inject: console('poweroff'),
    end: 'off',
  },
  {
    name: 'poweroff-forced',
    what: 'guest powers itself off at once, without a word of its ticker',
    ...ordinary,
    expected: { told: 'turnedOffByGuest' },
    inject: console('poweroff -f'),
    end: 'off',
  },
  {
    name: 'reboot',
    what: 'guest reboots in order',
    ...ordinary,
    strain: 'core',
    expected: { told: 'guestReset' },
    inject: console('reboot'),
    afterwards: 'heartbeatStarted',
  },
  {
    name: 'reboot-forced',
    what: 'guest reboots at once, without a word of its ticker',
    ...ordinary,
    strain: 'core',
    expected: { told: 'guestReset' },
    inject: console('reboot -f'),
    afterwards: 'heartbeatStarted',
  },
  {
    name: 'triple-fault',
    what: "guest's processor meets a triple fault, which resets the machine",
    profile: 'tripleFault',
    strain: 'core',
    expected: { told: 'guestReset' },
    inject: console('reboot -f'),
    afterwards: 'heartbeatStarted',
  },
  {
    name: 'boot-slow',
    what: 'the API resets a guest whose ticker begins 4 s after its boot',
    profile: 'slow',
    strain: 'core',
    expected: { told: 'guestReset' },
    inject: async ({ vm }) => {
      await (await vm.reset()).waitForCompletion(patienceMs);
    },
    afterwards: 'heartbeatStarted',
  },
  {
    name: 'boot-bare',
    what: 'a guest without ticker and agent boots',
    profile: 'bare',
    strain: 'core',
    warmUpMs: 0,
    ...nothing,
    inject: async () => undefined,
    end: 'silent',
    quietMs: 8_000,
  },
];

/** Ticker and agent. */
const additions: readonly FaultKind[] = [
  {
    name: 'ticker-killed',
    what: 'ticker killed and started again once that was told; the agent lives',
    ...ordinary,
    ...shortPatience,
    expected: additionsGone,
    inject: console('stop-ticker'),
    mend: async (subject) => void (await subject.tell('start-ticker')),
    afterwards: 'additionsResumed',
  },
  {
    name: 'ticker-killed-no-agent',
    what: 'the same in a guest without an agent',
    profile: 'tickerOnly',
    strain: 'none',
    ...shortPatience,
    expected: additionsGone,
    inject: console('stop-ticker'),
    mend: async (subject) => void (await subject.tell('start-ticker')),
    afterwards: 'additionsResumed',
  },
  {
    name: 'ticker-ended',
    what: 'ticker ends in order, saying bye',
    ...ordinary,
    ...shortPatience,
    expected: additionsGone,
    inject: console('close-port'),
    mend: async (subject) => void (await subject.tell('start-ticker')),
    afterwards: 'additionsResumed',
  },
  {
    name: 'ticker-frozen',
    what: 'ticker gets SIGSTOP, its port stays open; the agent lives',
    ...ordinary,
    ...shortPatience,
    expected: additionsGone,
    inject: console('freeze-ticker'),
    mend: async (subject) => void (await subject.tell('thaw-ticker')),
    afterwards: 'additionsResumed',
  },
  {
    name: 'ticker-pause',
    what: 'ticker killed and started again 3 s later, within the patience; no agent',
    profile: 'tickerOnly',
    strain: 'none',
    ...nothing,
    inject: forMs('stop-ticker', 3_000, 'start-ticker'),
  },
  {
    name: 'ticker-restarted',
    what: 'ticker killed and started again at once',
    ...ordinary,
    ...nothing,
    inject: console('restart-ticker'),
  },
  {
    name: 'agent-frozen',
    what: 'agent gets SIGSTOP for 4 s; the ticker lives',
    ...ordinary,
    ...nothing,
    inject: forMs('freeze-agent', 4_000, 'thaw-agent'),
  },
  {
    name: 'port-unplugged',
    what: 'driver of the virtio-serial device unbound, and bound again once that was told',
    ...ordinary,
    ...shortPatience,
    expected: additionsGone,
    inject: console('unplug-port'),
    mend: async (subject) => void (await subject.tell('plug-port')),
    afterwards: 'additionsResumed',
  },
  {
    name: 'file-systems-frozen',
    what: 'agent says that file systems are frozen, and the ticker is silent for 5 s',
    ...ordinary,
    ...nothing,
    inject: async (subject) => {
      await subject.tell('stop-agent');
      await delay(300);
      // What the agent leaves behind when it ends with file systems frozen, and heeds when it starts.
      await subject.tell('sh : >/run/qga.state.isfrozen');
      await subject.tell('start-agent');
      await delay(1_500);
      await forMs('freeze-ticker', 5_000, 'thaw-ticker')(subject);
    },
  },
];

/** Work, want and nonsense. */
const burdens: readonly FaultKind[] = [
  {
    name: 'spin-short',
    what: 'real-time livelock for 3 s, within the patience of 10 s',
    ...ordinary,
    strain: 'core',
    ...nothing,
    inject: async (subject) => {
      await subject.tell('spin 3');
      await delay(3_500);
    },
  },
  {
    name: 'busy-short',
    what: 'no process runs and the disk is read for 4 s, within the patience of 60 s',
    profile: 'disk',
    strain: 'core',
    ...nothing,
    inject: async (subject) => {
      await subject.tell('busy 4');
      await delay(4_500);
    },
  },
  {
    name: 'load',
    what: 'eight processes compute for 4 s',
    ...ordinary,
    strain: 'core',
    ...nothing,
    inject: forMs('load 8', 4_000, 'unload'),
  },
  {
    name: 'memory-short',
    what: 'a process takes all memory until the kernel ends it',
    ...ordinary,
    strain: 'core',
    ...nothing,
    inject: console('sh tail /dev/zero', 'Out of memory'),
  },
  {
    name: 'clock-forward',
    what: "guest's clock jumps an hour forward",
    ...ordinary,
    ...nothing,
    inject: console('clock-jump 3600'),
  },
  {
    name: 'clock-back',
    what: "guest's clock jumps an hour back",
    ...ordinary,
    ...nothing,
    inject: console('clock-jump -3600'),
  },
  {
    name: 'flood',
    what: 'guest writes 4 MiB of random bytes to the heartbeat port',
    ...ordinary,
    strain: 'core',
    ...nothing,
    inject: console('flood 4', 'done flood 4'),
  },
  {
    name: 'garbage',
    what: 'guest writes lines that are not of the protocol, ticks with absurd numbers among them',
    ...ordinary,
    ...nothing,
    inject: console('garbage', 'done garbage'),
  },
];

/** Every kind in which the guest does something and has not stopped. */
export const guestKinds: readonly FaultKind[] = [...lives, ...additions, ...burdens];
