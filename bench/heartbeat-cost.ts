/**
 * Processor time of one heartbeat: `node bench/heartbeat-cost.ts [vmpulse] [real] [virsh]`.
 *
 * vmpulse: 50 recorded guests at 1 s (ports and answers of ticker and qemu-ga, in a process of their own) under the
 * real tick source, agent link, monitor and event log; user and system time of this process, all threads, idle costs
 * included. real: the whole service with 4 real guests, the same of its process. virsh: a loop of
 * `virsh qemu-agent-command` over 2 real libvirt domains in a private libvirtd; time of virsh and libvirtd, which does
 * not depend on the number of domains. Guests' own time is never counted. The last two want VMPULSE_GUEST_IMAGE.
 */
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { execFile } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { SystemClock } from '../packages/server/src/clock.ts';
import { FakeHypervisor } from '../packages/server/src/hypervisor/fake.ts';
import { Monitor } from '../packages/server/src/monitor/monitor.ts';
import { SqliteStore } from '../packages/server/src/store/sqlite-store.ts';
import { GuestAgent } from '../packages/server/src/tick/guest-agent.ts';
import { VirtioSerialSource } from '../packages/server/src/tick/virtio-serial.ts';
import { GuestLink } from '../packages/server/src/vm/guest-link.ts';
import { machineReference } from '../test/support/machines.ts';
import { RealService } from '../test/support/real-service.ts';
import { plainConfiguration } from '../test/support/plain-configuration.ts';
import { blankMemory } from '../test/support/watched-guest.ts';
import { ownCpuUs, say, sayWhere } from './figures.ts';
import { hasPeer, PeerProcess, versionOf } from './peer-process.ts';
import { RecordedGuests } from './recorded-guests.ts';

const guests = 50;
const intervalMs = 1_000;
const measureMs = 20_000;
const realGuests = 4;
const domains = 2;
const virshCalls = 200;

/** User and system time of a process, or of the children that it has waited for, microseconds. */
function cpuUsOf(pid: number | 'self', whose: 'own' | 'children'): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
  const first = whose === 'own' ? 11 : 13;
  return ((fields[first] ?? 0) + (fields[first + 1] ?? 0)) * 10_000;
}

const ignore = (): void => undefined;

/** Microseconds of this process for each heartbeat of recorded guests, by ticks or by pings of their agents. */
async function costOfRecorded(ticker: boolean, agent: boolean): Promise<number> {
  const clock = new SystemClock();
  const directory = mkdtempSync(join(tmpdir(), 'vmpulse-bench-'));
  const store = await SqliteStore.open(directory, { clock });
  const recorded = await RecordedGuests.start(guests, intervalMs, ticker);
  const failures: unknown[] = [];
  const observer = { stopped: ignore, suspected: ignore, resumed: ignore, laneLag: ignore, stalled: ignore };
  const monitor = new Monitor({
    clock,
    log: store,
    observer: { ...observer, rejected: ignore, failed: (error) => failures.push(error) },
  });
  const hypervisor = new FakeHypervisor({ clock });
  const source = new VirtioSerialSource(clock);
  const configuration = plainConfiguration({ heartbeat: { intervalMs } });
  const closing: (() => void)[] = [];
  const logger = { info: ignore, warn: ignore, error: ignore };
  for (let guest = 0; guest < guests; guest += 1) {
    const vm = machineReference(guest);
    const { signal } = new AbortController();
    const request = { vmId: vm.id, configuration, restore: false, signal, onSpawned: ignore };
    const machine = await hypervisor.start(request);
    const watch = monitor.watch({ vm, configuration, memory: blankMemory, conditions: [] });
    const link = new GuestLink({
      address: agent ? join(recorded.directory(guest), 'agent.sock') : null,
      connect: (address) => new GuestAgent(clock, address),
      clock,
      pulses: watch.pulses,
      onAdditions: ignore,
      logger,
      vm: () => vm,
    });
    watch.begin(machine, 'booted', 'running', agent ? link : null);
    link.wake();
    closing.push(() => link.close());
    const subscription = source.listen(join(recorded.directory(guest), 'heartbeat.sock'), watch.listener);
    closing.push(() => subscription.close());
  }
  try {
    // An agent is the heartbeat once no ticker was heard for 10 s.
    await delay(ticker ? 4_000 : 13_000);
    const [cpuUs, heartbeats, atMs] = [ownCpuUs(), monitor.totalTicks, clock.monotonicMs()];
    await delay(measureMs);
    const heard = monitor.totalTicks - heartbeats;
    const expected = (guests * (clock.monotonicMs() - atMs)) / intervalMs;
    if (heard < 0.9 * expected || failures.length > 0)
      throw new Error(`${heard} of ${expected}: ${String(failures[0])}`);
    return (ownCpuUs() - cpuUs) / heard;
  } finally {
    for (const close of closing) close();
    monitor.close();
    await recorded.end();
    await store.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The same of a whole service and real guests, which tick once a second. */
async function costOfReal(): Promise<number> {
  const service = await RealService.start();
  try {
    await Promise.all(Array.from({ length: realGuests }, (_none, index) => service.live(`guest-${index}`)));
    await delay(5_000);
    const [cpuUs, atMs] = [cpuUsOf(service.pid, 'own'), performance.now()];
    await delay(measureMs);
    const heartbeats = (realGuests * (performance.now() - atMs)) / intervalMs;
    return (cpuUsOf(service.pid, 'own') - cpuUs) / heartbeats;
  } finally {
    await service.dispose();
  }
}

/** Whom libvirtd runs as: not root, so that it keeps everything below its own directory. */
const nobody = 65_534;

/** A libvirtd of one's own and its domains. */
class Libvirt {
  private readonly home = mkdtempSync(join(tmpdir(), 'lv-'));
  private readonly identity = process.getuid?.() === 0 ? { uid: nobody, gid: nobody } : {};
  private readonly env: NodeJS.ProcessEnv;
  private daemon: PeerProcess | null = null;

  constructor() {
    const { home } = this;
    const folders = ['config', 'config/libvirt', 'cache', 'data', 'run'].map((name) => join(home, name));
    for (const folder of folders) mkdirSync(folder);
    writeFileSync(join(home, 'config/libvirt/qemu.conf'), 'stdio_handler = "file"\n');
    for (const file of [home, ...folders]) if ('uid' in this.identity) chownSync(file, nobody, nobody);
    const places = { CONFIG: 'config', CACHE: 'cache', DATA: 'data' };
    this.env = { PATH: process.env['PATH'], HOME: home, XDG_RUNTIME_DIR: join(home, 'run') };
    for (const [name, folder] of Object.entries(places)) this.env[`XDG_${name}_HOME`] = join(home, folder);
  }

  async start(image: string): Promise<void> {
    const text = readFileSync(join(image, 'image.json'), 'utf8');
    const { kernel, initrd, cmdline } = JSON.parse(text) as Record<string, string>;
    for (const file of [kernel, initrd]) {
      copyFileSync(join(image, String(file)), join(this.home, String(file)));
      chmodSync(join(this.home, String(file)), 0o644);
    }
    this.daemon = new PeerProcess('libvirtd', [], { ...this.identity, env: this.env });
    for (let domain = 0; domain < domains; domain += 1) {
      const file = join(this.home, `${domain}.xml`);
      writeFileSync(file, this.xml(domain, String(kernel), String(initrd), String(cmdline)));
      await this.until(() => this.virsh('create', file), 20_000);
    }
    for (let domain = 0; domain < domains; domain += 1) await this.until(() => this.ping(domain), 120_000);
  }

  get daemonPid(): number {
    return this.daemon?.pid ?? 0;
  }

  ping(domain: number): Promise<string> {
    return this.virsh('qemu-agent-command', `guest-${domain}`, '{"execute":"guest-ping"}');
  }

  async end(): Promise<void> {
    for (let domain = 0; domain < domains; domain += 1) {
      await this.virsh('destroy', `guest-${domain}`).catch(ignore);
    }
    await this.daemon?.end();
    rmSync(this.home, { recursive: true, force: true });
  }

  private async virsh(...args: string[]): Promise<string> {
    const options = { ...this.identity, env: this.env, timeout: 30_000 };
    return (await promisify(execFile)('virsh', ['-c', 'qemu:///session', ...args], options)).stdout;
  }

  private async until(work: () => Promise<unknown>, timeoutMs: number): Promise<void> {
    const endMs = performance.now() + timeoutMs;
    for (;;) {
      try {
        await work();
        return;
      } catch (error) {
        if (performance.now() > endMs || this.daemon?.ended === true) {
          throw new Error(`libvirt: ${this.daemon?.output ?? ''}`, { cause: error });
        }
        await delay(500);
      }
    }
  }

  private xml(domain: number, kernel: string, initrd: string, cmdline: string): string {
    return `<domain type='qemu'><name>guest-${domain}</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
      <os><type arch='x86_64' machine='q35'>hvm</type><kernel>${join(this.home, kernel)}</kernel>
      <initrd>${join(this.home, initrd)}</initrd><cmdline>${cmdline}</cmdline></os><features><acpi/></features>
      <devices><emulator>/usr/bin/qemu-system-x86_64</emulator><controller type='virtio-serial'/>
      <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
      <serial type='null'/><memballoon model='none'/></devices></domain>`;
  }
}

/** Microseconds of virsh, and of libvirtd, for each ping. */
async function costOfVirsh(image: string): Promise<{ virshUs: number; libvirtdUs: number }> {
  const libvirt = new Libvirt();
  try {
    await libvirt.start(image);
    const [virshUs, libvirtdUs] = [cpuUsOf('self', 'children'), cpuUsOf(libvirt.daemonPid, 'own')];
    for (let call = 0; call < virshCalls; call += 1) await libvirt.ping(call % domains);
    return {
      virshUs: (cpuUsOf('self', 'children') - virshUs) / virshCalls,
      libvirtdUs: (cpuUsOf(libvirt.daemonPid, 'own') - libvirtdUs) / virshCalls,
    };
  } finally {
    await libvirt.end();
  }
}

const only = process.argv.slice(2);
const wanted = (part: string): boolean => only.length === 0 || only.includes(part);
const image = process.env['VMPULSE_GUEST_IMAGE'];
let [tickUs, pingUs] = [Number.NaN, Number.NaN];
sayWhere();
if (wanted('vmpulse')) {
  tickUs = await costOfRecorded(true, false);
  say(`vmpulse, ticks of ${guests} recorded guests`, tickUs, 'us a heartbeat');
  say(
    '  the same with an agent in each, which is not pinged',
    await costOfRecorded(true, true),
    'us a heartbeat',
  );
  pingUs = await costOfRecorded(false, true);
  say(`vmpulse, agent pings of ${guests} recorded guests`, pingUs, 'us a heartbeat');
}
if (image === undefined) console.log('VMPULSE_GUEST_IMAGE is not set: what needs real guests is left out.');
else {
  if (wanted('real'))
    say(`vmpulse serve, ticks of ${realGuests} real guests`, await costOfReal(), 'us a heartbeat');
  if (
    wanted('virsh') &&
    hasPeer('libvirt', { virsh: 'libvirt-clients', libvirtd: 'libvirt-daemon-system' })
  ) {
    const { virshUs, libvirtdUs } = await costOfVirsh(image);
    console.log(versionOf('libvirtd'));
    say('virsh qemu-agent-command, itself', virshUs, 'us a heartbeat');
    say('  and libvirtd for it', libvirtdUs, 'us a heartbeat');
    say('a tick costs of that', `1/${((virshUs + libvirtdUs) / tickUs).toFixed(0)}`, '(goal 1/100)');
    say('a ping costs of that', `1/${((virshUs + libvirtdUs) / pingUs).toFixed(0)}`);
  }
}
sayWhere();
process.exit(0);
