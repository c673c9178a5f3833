/** What operators, QEMU, the host and the service itself do to a guest that has not stopped. */
import { cpus } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { freezeProcess, throttleProcess, throttleVcpus } from './cgroup.ts';
import type { FaultKind } from './kind.ts';
import { burn, demote } from './strain.ts';
import { patienceMs } from '../../support/real-service.ts';
import { type Subject, wallMs } from './subject.ts';

const ordinary = { profile: 'ordinary', strain: 'none' } as const;
const nothing: Pick<FaultKind, 'expected'> = { expected: { told: null } };
/** The host's processors count for so much before a guest is told as starved, and a moment more. */
const starvedMs = 10_000;

/** Resolves once the migration is complete. */
async function migrated(subject: Subject): Promise<void> {
  for (let tries = 0; tries < 2_400; tries += 1) {
    const answer = (await subject.qmp({ execute: 'query-migrate' })) as { status?: unknown };
    if (answer.status === 'completed') return;
    await delay(100);
  }
  throw new Error('the migration did not complete in 4 min');
}

/** Operations of the API. */
const operations: readonly FaultKind[] = [
  {
    name: 'turn-off',
    what: 'the API turns the machine off',
    ...ordinary,
    ...nothing,
    inject: async ({ vm }) => {
      await (await vm.turnOff()).waitForCompletion(patienceMs);
    },
    end: 'off',
  },
  {
    name: 'shutdown',
    what: 'the API has the agent shut the guest down',
    ...ordinary,
    expected: { told: 'turnedOffByGuest' },
    inject: async ({ vm }) => {
      await (await vm.guestOS.shutdown()).waitForCompletion(patienceMs);
    },
    end: 'off',
  },
  {
    name: 'reset',
    what: 'the API resets the machine',
    ...ordinary,
    strain: 'core',
    expected: { told: 'guestReset' },
    inject: async ({ vm }) => {
      await (await vm.reset()).waitForCompletion(patienceMs);
    },
    afterwards: 'heartbeatStarted',
  },
  {
    name: 'pause',
    what: 'the API pauses the guest for 4 s',
    ...ordinary,
    ...nothing,
    inject: async ({ vm }) => {
      await (await vm.pause()).waitForCompletion(patienceMs);
      await delay(4_000);
      await (await vm.resume()).waitForCompletion(patienceMs);
    },
  },
  {
    name: 'save',
    what: 'the API saves the guest, and restores it 2 s later',
    ...ordinary,
    strain: 'core',
    ...nothing,
    inject: async ({ vm }) => {
      await (await vm.save()).waitForCompletion(patienceMs);
      await delay(2_000);
      await (await vm.startup()).waitForCompletion(patienceMs);
    },
  },
];

/** QEMU, behind the service's back. */
const hypervisor: readonly FaultKind[] = [
  {
    name: 'snapshot',
    what: "another one stops the guest by QEMU's monitor for 4 s, as for a snapshot",
    ...ordinary,
    ...nothing,
    inject: async (subject) => {
      await subject.qmp({ execute: 'stop' });
      await delay(4_000);
      await subject.qmp({ execute: 'cont' });
    },
  },
  {
    name: 'migrated',
    what: "another one migrates the guest away by QEMU's monitor, into a file",
    ...ordinary,
    expected: { told: 'migratedAway', boundMs: 10_000 },
    inject: async (subject) => {
      await subject.qmp({ execute: 'migrate', arguments: { uri: 'exec:cat >migrated' } });
      await migrated(subject);
      // What is left here is paused until whoever migrated it ends it.
      await subject.qmp({ execute: 'quit' });
    },
    end: 'silent',
  },
  {
    name: 'slept',
    what: 'guest suspends to memory, and is woken 4 s later',
    ...ordinary,
    ...nothing,
    inject: async (subject) => {
      await subject.tell('sh echo mem >/sys/power/state');
      await delay(4_000);
      await subject.qmp({ execute: 'system_wakeup' });
    },
  },
  {
    name: 'qemu-stopped',
    what: 'QEMU gets SIGSTOP, and SIGCONT once that was told',
    ...ordinary,
    expected: { told: 'visibilityLost', verdict: 'unknown', boundMs: 7_000 },
    inject: async (subject) => subject.kill('SIGSTOP'),
    mend: async (subject) => subject.kill('SIGCONT'),
    afterwards: 'visibilityRegained',
  },
  {
    name: 'qemu-stopped-short',
    what: 'QEMU gets SIGSTOP for 2 s',
    ...ordinary,
    ...nothing,
    inject: async (subject) => {
      subject.kill('SIGSTOP');
      await delay(2_000);
      subject.kill('SIGCONT');
    },
  },
];

/** The host and the service. */
const surroundings: readonly FaultKind[] = [
  {
    name: 'group-frozen',
    what: "QEMU's control group is frozen for 14 s",
    ...ordinary,
    expected: { told: 'visibilityLost', verdict: 'starved', boundMs: starvedMs + 4_000 },
    inject: async (subject) => {
      const faultMs = wallMs();
      await freezeProcess(subject.pid, starvedMs + 4_000);
      return faultMs;
    },
    afterwards: 'visibilityRegained',
  },
  {
    name: 'throttled',
    what: "QEMU's control group leaves it a thousandth of a processor for 13 s",
    ...ordinary,
    // QEMU itself hardly runs either, and may not answer: then it is unknown.
    expected: { told: 'visibilityLost', optional: true },
    inject: (subject) => throttleProcess(subject.pid, starvedMs + 3_000),
  },
  {
    name: 'vcpus-throttled',
    what: "a control group leaves QEMU's vCPUs a thousandth of a processor for 13 s; the rest of QEMU runs",
    ...ordinary,
    expected: { told: 'visibilityLost', verdict: 'starved', optional: true },
    inject: (subject) => throttleVcpus(subject.pid, starvedMs + 3_000),
  },
  {
    name: 'starved',
    what: 'QEMU, whose guest computes, runs only when its processor is idle, which another process keeps busy for 13 s',
    ...ordinary,
    strain: 'core',
    expected: { told: 'visibilityLost', verdict: 'starved', optional: true },
    inject: async (subject) => {
      const cpu = cpus().length - 1;
      await subject.tell('load 4');
      demote(subject.pid, cpu);
      const fire = burn(1, 0, cpu);
      try {
        await delay(starvedMs + 3_000);
      } finally {
        fire.end();
      }
    },
  },
  {
    name: 'host-busy',
    what: 'two processes for each processor of the host compute at nice 10 for 5 s',
    ...ordinary,
    strain: 'core',
    ...nothing,
    inject: async () => {
      const fire = burn(2 * cpus().length, 10);
      try {
        await delay(5_000);
      } finally {
        fire.end();
      }
    },
  },
  {
    name: 'service-stopped',
    what: 'SIGSTOP holds the service for 5 s',
    ...ordinary,
    ...nothing,
    inject: async ({ service }) => {
      service.signal('SIGSTOP');
      await delay(5_000);
      service.signal('SIGCONT');
    },
  },
  {
    name: 'service-killed',
    what: 'the service gets SIGKILL, and is started again 3 s later',
    ...ordinary,
    ...nothing,
    inject: (subject) => restart(subject, 'SIGKILL', 3_000),
  },
  {
    name: 'service-restarted',
    what: 'the service is stopped in order and started again',
    ...ordinary,
    ...nothing,
    inject: (subject) => restart(subject, 'SIGTERM', 0),
  },
];

async function restart({ service }: Subject, signal: NodeJS.Signals, pauseMs: number): Promise<void> {
  await service.end(signal);
  await delay(pauseMs);
  await service.run();
}

/** Every kind in which something is done to a guest that has not stopped. */
export const hostKinds: readonly FaultKind[] = [...operations, ...hypervisor, ...surroundings];
