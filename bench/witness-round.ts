/**
 * What asking the witnesses costs, and whether it delays others: `node bench/witness-round.ts [rounds] [suspicion]`.
 *
 * rounds: one round after the other, of a fake machine, of a recorded one (real sockets and /proc files; its monitor
 * and agent are scripted) and, with VMPULSE_GUEST_IMAGE, of a real guest. Processor time is this process's own. The
 * wait between two samples is left out.
 * suspicion: 200 guests tick once a second while 1,000 others, which tick in one and the same moment, fall silent
 * together. Measured is, of the 200, the time from the writing of a tick to the registry, before and meanwhile.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { SystemClock } from '../packages/server/src/clock.ts';
import type { EventLog } from '../packages/server/src/event/log.ts';
import { FakeHypervisor } from '../packages/server/src/hypervisor/fake.ts';
import type { RunningMachine } from '../packages/server/src/hypervisor/hypervisor.ts';
import { QemuMachine } from '../packages/server/src/hypervisor/qemu/machine.ts';
import { bootId, readStat } from '../packages/server/src/hypervisor/qemu/proc.ts';
import { Monitor } from '../packages/server/src/monitor/monitor.ts';
import { type Reading, Witnesses } from '../packages/server/src/monitor/witnesses.ts';
import { GuestAgent } from '../packages/server/src/tick/guest-agent.ts';
import type { AgentWitness, TickListener } from '../packages/server/src/tick/source.ts';
import { VirtioSerialSource } from '../packages/server/src/tick/virtio-serial.ts';
import { GuestLink } from '../packages/server/src/vm/guest-link.ts';
import { machineReference } from '../test/support/machines.ts';
import { QemuHost } from '../test/support/qemu-host.ts';
import { plainConfiguration } from '../test/support/plain-configuration.ts';
import { blankMemory, RecordingLog } from '../test/support/watched-guest.ts';
import { distribution, ownCpuUs, quantile, say, sayWhere } from './figures.ts';
import { RecordedGuests } from './recorded-guests.ts';

const suspects = 1_000;
const healthy = 200;
const intervalMs = 1_000;
const observeMs = 10_000;

const clock = new SystemClock();
const ignore = (): void => undefined;
const logger = { info: ignore, warn: ignore, error: ignore };
const configuration = plainConfiguration({ heartbeat: { intervalMs } });

async function measureRounds(what: string, witnesses: Witnesses, rounds: number): Promise<void> {
  const pauses = { wait: (ms: number) => clock.sleep(ms), turn: <T>(work: () => Promise<T>) => work() };
  let baseline: Reading | null = await witnesses.read();
  const tookMs: number[] = [];
  const round = async (): Promise<void> => {
    const beganMs = performance.now();
    const ports = { portClosed: false, connected: true, agentExpected: false };
    const question = { first: true, baseline, sampleGapMs: 0, ...ports };
    const { reading } = await witnesses.ask(question, pauses);
    tookMs.push(performance.now() - beganMs);
    baseline = reading;
  };
  for (let warm = 0; warm < rounds / 10; warm += 1) await round();
  tookMs.length = 0;
  const cpuUs = ownCpuUs();
  for (let nth = 0; nth < rounds; nth += 1) await round();
  say(`${what}: processor time a round`, (ownCpuUs() - cpuUs) / rounds, 'us');
  say(`${what}: wall time a round`, distribution(tookMs, 2), 'ms');
}

function linkTo(
  address: string,
  vm: number,
  pulses: { wantedEveryMs(): number | null; onPulse(): void },
): GuestLink {
  const link = new GuestLink({
    address,
    connect: (path) => new GuestAgent(clock, path),
    clock,
    pulses,
    onAdditions: ignore,
    logger,
    vm: () => machineReference(vm),
  });
  link.wake();
  return link;
}

async function untilPresent(agent: AgentWitness): Promise<void> {
  for (let waits = 0; !agent.present && waits < 200; waits += 1) await delay(50);
  if (!agent.present) throw new Error('the guest agent does not answer');
}

const noPulses = { wantedEveryMs: (): null => null, onPulse: ignore };

/** An idle process with one thread that is called as a virtual processor is: what /proc tells of it is real. */
class IdleProcess {
  private readonly child: ChildProcess = spawn(
    'sh',
    ['-c', 'printf "CPU 0/TCG" > /proc/$$/comm; read -r line'],
    {
      stdio: ['pipe', 'ignore', 'inherit'],
    },
  );

  /** A machine whose process this is, and whose monitor is that of a recorded guest. */
  async machine(directory: string): Promise<QemuMachine> {
    const pid = this.child.pid ?? 0;
    const startTicks = (await readStat(pid))?.startTicks ?? 0;
    const startedAt = new Date().toISOString();
    const record = {
      pid,
      startTicks,
      bootId: await bootId(),
      directory,
      accelerator: 'tcg' as const,
      startedAt,
    };
    const machine = new QemuMachine({ record, clock, child: null });
    await machine.link.connect();
    await machine.learnThreads();
    return machine;
  }

  end(): void {
    this.child.kill('SIGKILL');
  }
}

async function roundsOfFake(): Promise<void> {
  const hypervisor = new FakeHypervisor({ clock });
  const { signal } = new AbortController();
  const machine = await hypervisor.start({
    vmId: 'a',
    configuration,
    restore: false,
    signal,
    onSpawned: ignore,
  });
  await measureRounds('a fake machine', new Witnesses(clock, machine, null), 20_000);
}

async function roundsOfRecorded(): Promise<void> {
  const recorded = await RecordedGuests.start(1, intervalMs, false);
  const idle = new IdleProcess();
  try {
    await delay(200);
    const machine = await idle.machine(recorded.directory(0));
    await measureRounds('a recorded machine, no agent', new Witnesses(clock, machine, null), 3_000);
    const link = linkTo(join(recorded.directory(0), 'agent.sock'), 0, noPulses);
    await untilPresent(link);
    await measureRounds('a recorded machine with an agent', new Witnesses(clock, machine, link), 3_000);
    link.close();
    await machine.detach();
  } finally {
    idle.end();
    await recorded.end();
  }
}

async function roundsOfReal(image: string): Promise<void> {
  const description = JSON.parse(readFileSync(join(image, 'image.json'), 'utf8')) as Record<string, string>;
  const host = await QemuHost.make();
  try {
    const vmId = machineReference(1).id;
    const [kernel, initrd] = [
      join(image, String(description['kernel'])),
      join(image, String(description['initrd'])),
    ];
    const boot = { kernel, initrd, cmdline: String(description['cmdline']) };
    const machine = await host.adapter().start({
      vmId,
      configuration: plainConfiguration({ boot }),
      restore: false,
      signal: new AbortController().signal,
      onSpawned: ignore,
    });
    await measureRounds('a real machine, no agent', new Witnesses(clock, machine, null), 1_000);
    const agent = machine.ports.agent ?? '';
    const link = linkTo(agent, 1, noPulses);
    for (let waits = 0; !link.present && waits < 60; waits += 1) {
      await delay(1_000);
      link.wake();
    }
    await untilPresent(link);
    await measureRounds('a real machine with an agent', new Witnesses(clock, machine, link), 300);
    link.close();
    await machine.quit();
  } finally {
    await host.dispose();
  }
}

/** The listener of a watch, behind one that notes how old ticks are when the registry has them. */
function timed(listener: TickListener, delaysMs: () => number[] | null): TickListener {
  return {
    onHello: (hello) => listener.onHello(hello),
    onTick: (seq, writtenUs) => {
      listener.onTick(seq, writtenUs);
      delaysMs()?.push(Number(process.hrtime.bigint() / 1_000n - BigInt(writtenUs)) / 1_000);
    },
    onBye: (reason) => listener.onBye(reason),
    onRejected: (bytes) => listener.onRejected(bytes),
    onConnection: (connected) => listener.onConnection(connected),
  };
}

async function massSuspicion(): Promise<void> {
  const recorded = await RecordedGuests.start(suspects + healthy, intervalMs, true, suspects);
  const idle = new IdleProcess();
  const log = new RecordingLog();
  const count = { suspected: 0, stalls: 0 };
  const monitor = new Monitor({
    clock,
    log: log as unknown as EventLog,
    observer: {
      stopped: ignore,
      suspected: () => (count.suspected += 1),
      resumed: ignore,
      laneLag: ignore,
      stalled: () => (count.stalls += 1),
      rejected: ignore,
      failed: (error) => console.log(error),
    },
  });
  const source = new VirtioSerialSource(clock);
  let delaysMs: number[] | null = null;
  const closing: (() => unknown)[] = [];
  await delay(200);
  for (let guest = 0; guest < suspects + healthy; guest += 1) {
    const directory = recorded.directory(guest);
    const machine: RunningMachine = await idle.machine(directory);
    const vm = machineReference(guest);
    const watch = monitor.watch({ vm, configuration, memory: blankMemory, conditions: [] });
    const link = linkTo(join(directory, 'agent.sock'), guest, watch.pulses);
    watch.begin(machine, 'booted', 'running', link);
    machine.setListener((event) => watch.hypervisorEvent(event));
    const listener = guest < suspects ? watch.listener : timed(watch.listener, () => delaysMs);
    const subscription = source.listen(join(directory, 'heartbeat.sock'), listener);
    closing.push(
      () => subscription.close(),
      () => link.close(),
      () => machine.detach(),
    );
  }
  // More than the 20 ticks after which a guest's lateness is known.
  await delay(25 * intervalMs);
  const observe = async (what: string): Promise<number> => {
    const observed: number[] = [];
    delaysMs = observed;
    const cpuUs = ownCpuUs();
    await delay(observeMs);
    delaysMs = null;
    say(`${what}: healthy guests' ticks -> registry (${observed.length})`, distribution(observed, 2), 'ms');
    say(`${what}: the same, p99.9`, quantile(observed, 0.999), 'ms');
    return ownCpuUs() - cpuUs;
  };
  const quietUs = await observe('no suspicion');
  const before = log.events.length;
  recorded.silence(suspects);
  const busyUs = await observe(`${suspects} suspicions at once`);
  say('guests suspected', count.suspected);
  say('stops told', log.events.slice(before).filter(({ type }) => type.endsWith('heartbeatStopped')).length);
  say('processor time a suspicion, all told', (busyUs - quietUs) / suspects, 'us');
  say('long stalls of this process', count.stalls);
  for (const close of closing) await close();
  monitor.close();
  idle.end();
  await recorded.end();
}

const only = process.argv.slice(2);
const wanted = (part: string): boolean => only.length === 0 || only.includes(part);
sayWhere();
if (wanted('rounds')) {
  await roundsOfFake();
  await roundsOfRecorded();
  const image = process.env['VMPULSE_GUEST_IMAGE'];
  if (image === undefined) console.log('VMPULSE_GUEST_IMAGE is not set: real guests are left out.');
  else await roundsOfReal(image);
}
if (wanted('suspicion')) await massSuspicion();
sayWhere();
process.exit(0);
