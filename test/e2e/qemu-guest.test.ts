import { execFile } from 'node:child_process';
import { mkdir, readFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { CompleteVmConfiguration, NetworkConfiguration } from '@vmpulse/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Hypervisor, RunningMachine } from '../../packages/server/src/hypervisor/hypervisor.ts';
import { qemuArguments } from '../../packages/server/src/hypervisor/qemu/command-line.ts';
import { spawnQemu } from '../../packages/server/src/hypervisor/qemu/process.ts';
import { socketAddress } from '../../packages/server/src/socket-path.ts';
import { configurationOf, Recorder } from '../contract/hypervisor-under-test.ts';
import { QemuHost } from '../support/qemu-host.ts';

const signal = new AbortController().signal;

/** A boot without KVM takes 4 s alone, and many times that where other work has the processors. */
const CONSOLE_DEADLINE_MS = 240_000;

/** The guest's serial console. It must be read all the time: a full socket stalls the guest's serial port. */
class Console {
  text = '';
  readonly #socket: Socket;
  #waiting: { pattern: RegExp; resolve: (match: RegExpExecArray) => void }[] = [];

  constructor(path: string) {
    this.#socket = connect(socketAddress(path));
    this.#socket.on('error', () => undefined);
    this.#socket.on('data', (chunk: Buffer) => {
      this.text += chunk.toString('latin1');
      this.#waiting = this.#waiting.filter(({ pattern, resolve }) => {
        const match = pattern.exec(this.text);
        if (match !== null) resolve(match);
        return match === null;
      });
    });
  }

  type(line: string): void {
    this.text = '';
    this.#socket.write(`${line}\n`);
  }

  /** @throws Error with what the console showed, where the pattern does not come in time. */
  until(pattern: RegExp): Promise<RegExpExecArray> {
    const match = pattern.exec(this.text);
    if (match !== null) return Promise.resolve(match);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`the console did not show ${String(pattern)}, but: ${this.text.slice(-4000)}`));
      }, CONSOLE_DEADLINE_MS);
      const found = (shown: RegExpExecArray): void => {
        clearTimeout(timer);
        resolve(shown);
      };
      this.#waiting.push({ pattern, resolve: found });
    });
  }

  close(): void {
    this.#socket.destroy();
  }
}

const run = promisify(execFile);

/** A tap device of the host's. */
class Tap {
  readonly name: string;

  private constructor(name: string) {
    this.name = name;
  }

  /** A new one that is up, or why this machine gives none. */
  static async make(): Promise<Tap | string> {
    const name = `vmpt${crypto.randomUUID().slice(0, 8)}`;
    try {
      await run('ip', ['tuntap', 'add', 'dev', name, 'mode', 'tap']);
      await run('ip', ['link', 'set', name, 'up']);
      return new Tap(name);
    } catch (error) {
      return `no tap device can be made here: ${String(error)}`;
    }
  }

  async remove(): Promise<void> {
    // QEMU may hold it a moment longer.
    await expect
      .poll(() =>
        run('ip', ['link', 'del', this.name]).then(
          () => true,
          () => false,
        ),
      )
      .toBe(true);
  }
}

describe('A Linux guest under QEMU', () => {
  let host: QemuHost;
  let hypervisor: Hypervisor;
  let image: string;
  let cmdline: string;
  let console: Console;
  const vmId = crypto.randomUUID();

  const configure = (networks: NetworkConfiguration[] = []): CompleteVmConfiguration => {
    const boot = {
      kernel: join(image, 'vmlinuz'),
      initrd: join(image, 'initrd.img'),
      cmdline,
    };
    return configurationOf({ memoryMiB: 128, cpus: 1, boot, networks });
  };
  const start = async (restore: boolean, configuration = configure()): Promise<RunningMachine> => {
    const machine = await hypervisor.start({
      vmId,
      configuration,
      restore,
      signal,
      onSpawned: () => undefined,
    });
    console = new Console(hypervisor.files(vmId).serialSocket);
    return machine;
  };
  beforeEach(async () => {
    host = await QemuHost.make();
    hypervisor = host.adapter();
    const { stdout } = await promisify(execFile)(new URL('../../images/build.sh', import.meta.url).pathname);
    image = stdout.trim().split('\n').at(-1) ?? '';
    // The image's own: without its no_timer_check a guest whose host is short of processors panics in its boot.
    ({ cmdline } = JSON.parse(await readFile(join(image, 'image.json'), 'utf8')) as { cmdline: string });
  });
  afterEach(async () => {
    console.close();
    await host.dispose();
  });

  it('is told to have panicked, and runs again after a reset', async () => {
    const machine = await start(false);
    const recorder = new Recorder(machine);
    await console.until(/vmpulse-guest ready/);
    console.type('panic');
    expect(await recorder.next('panicked')).toMatchObject({ action: 'pause' });
    expect(await machine.runState()).toBe('panicked');
    console.text = '';
    await machine.reset();
    expect(await machine.runState()).toBe('running');
    await console.until(/vmpulse-guest ready/);
  });

  it('goes on after save and restore where it was, and is held when it powers itself off', async () => {
    const machine = await start(false);
    await console.until(/vmpulse-guest ready/);
    // In the guest's memory: a guest that had booted again would have forgotten it.
    console.type('sh echo kept by the guest > /run/marker');
    await console.until(/ok sh/);
    await machine.save(() => undefined, signal);
    await machine.quit();
    console.close();
    const restored = await start(true);
    const recorder = new Recorder(restored);
    console.type('sh cat /run/marker');
    await console.until(/^kept by the guest/m);
    console.type('poweroff');
    expect(await recorder.next('shutdown')).toMatchObject({ byGuest: true, reason: 'guest-shutdown' });
    expect(await restored.runState()).toBe('shutdown');
    await restored.reset();
    expect(await restored.runState()).toBe('running');
    await restored.quit();
    expect(recorder.events.at(-1)).toMatchObject({ kind: 'exited', exitCode: 0 });
  });

  it('is told to have met a triple fault when it did, and not when it restarts itself', async () => {
    const machine = await start(false);
    const recorder = new Recorder(machine);
    await console.until(/vmpulse-guest ready/);
    console.type('echo before the reset');
    await console.until(/ok echo before the reset/);
    // QEMU writes its log a moment after the socket.
    await expect.poll(() => machine.serialTail()).toMatch(/vmpulse-guest ready[^]*ok echo before the reset/);
    console.type('reset');
    await recorder.next('reset');
    console.text = '';
    await console.until(/vmpulse-guest ready/);
    // The firmware of a warm boot faults three times by itself, and that is over by now.
    expect(recorder.kinds).not.toContain('tripleFault');
    expect(await machine.serialTail()).toMatch(/vmpulse-guest ready/);
    expect(await machine.serialTail()).not.toMatch(/before the reset/);
    recorder.events.length = 0;
    console.type('triple-fault');
    await recorder.next('reset');
    expect(recorder.kinds.filter((kind) => kind !== 'port').slice(0, 2)).toEqual(['tripleFault', 'reset']);
    console.text = '';
    await console.until(/vmpulse-guest ready/);
    expect(recorder.count('tripleFault')).toBe(1);
  });

  it('sleeps (S3), is woken from outside, and sends packets that are counted', async (context) => {
    const tap = await Tap.make();
    if (typeof tap === 'string') {
      context.skip(tap);
      return;
    }
    try {
      const machine = await start(false, configure([{ type: 'tap', device: tap.name }]));
      const recorder = new Recorder(machine);
      await console.until(/vmpulse-guest ready/);
      const before = await machine.counters();
      expect(before).toMatchObject({ diskOperations: null, packetsSent: expect.any(Number) as number });
      console.type(
        'sh ip link set eth0 up; ip addr add 10.99.0.2/24 dev eth0; ping -c 2 10.99.0.1; echo sent',
      );
      await console.until(/^sent/m);
      expect((await machine.counters()).packetsSent).toBeGreaterThan(before.packetsSent ?? Infinity);
      console.type('suspend');
      await recorder.next('suspended');
      expect(await machine.runState()).toBe('suspended');
      const asleep = await machine.counters();
      const operator = await host.operator(vmId);
      await operator.execute('system_wakeup');
      operator.close('the operator left');
      await recorder.next('wakeup');
      expect(await machine.runState()).toBe('running');
      await console.until(/^awake/m);
      expect(asleep.packetsSent).not.toBeNull();
      expect(recorder.kinds.filter((kind) => kind !== 'port')).toEqual(['resumed', 'suspended', 'wakeup']);
    } finally {
      await tap.remove();
    }
  });

  it('goes on in another QEMU when an operator migrates it there, and did not stop', async () => {
    const machine = await start(false);
    const recorder = new Recorder(machine);
    await console.until(/vmpulse-guest ready/);
    console.type('sh echo kept by the guest > /run/marker');
    await console.until(/ok sh/);
    const other = await QemuHost.make();
    try {
      const directory = join(other.directory, 'vms', vmId);
      await mkdir(directory, { recursive: true });
      const { accelerator } = machine.record;
      const commandLine = qemuArguments({ vmId, configuration: configure(), accelerator, restore: true });
      const binary = 'qemu-system-x86_64';
      const { record } = await spawnQemu({ binary, commandLine, directory, accelerator, clock: other.clock });
      other.records.push(record);
      await expect.poll(() => other.has(vmId, 'operator.sock')).toBe(true);
      const operator = await other.operator(vmId);
      await operator.execute('migrate-incoming', { uri: `unix:${join(directory, 'incoming')}` });

      // One that is cancelled leaves everything as it was.
      const here = await host.operator(vmId);
      await here.execute('migrate-set-parameters', { 'max-bandwidth': 1024 * 1024 });
      await here.execute('migrate', { uri: 'exec:cat > /dev/null' });
      await expect(machine.save(() => undefined, signal)).rejects.toThrow(/migrated by somebody else/);
      expect(await machine.runState()).toBe('running');
      await here.execute('migrate_cancel');
      await here.execute('migrate-set-parameters', { 'max-bandwidth': 2 ** 40 });
      here.close('the operator left');
      await expect.poll(() => migrationStatus(host), { timeout: 240_000 }).toBe('cancelled');
      expect(recorder.kinds).not.toContain('stopped');

      await host.migrate(vmId, `unix:${join(directory, 'incoming')}`);
      expect(await machine.runState()).toBe('paused');
      expect(recorder.kinds.filter((kind) => kind !== 'port')).toEqual(['resumed', 'stopped']);
      await operator.execute('cont');
      operator.close('the operator left');
      console.close();
      console = new Console(join(directory, 'serial.sock'));
      console.type('sh cat /run/marker');
      await console.until(/^kept by the guest/m);
      await machine.quit();
      expect(recorder.events.at(-1)).toMatchObject({ kind: 'exited', migrated: true });
    } finally {
      await other.dispose();
    }
  });

  const migrationStatus = async (on: QemuHost): Promise<unknown> => {
    const operator = await on.operator(vmId);
    const info = (await operator.execute('query-migrate')) as { status?: unknown };
    operator.close('the operator left');
    return info.status;
  };

  it('is migrated to a file by an operator and did not stop', async () => {
    const machine = await start(false);
    const recorder = new Recorder(machine);
    await console.until(/vmpulse-guest ready/);
    await host.migrate(vmId, `exec:cat > ${join(host.directory, 'elsewhere')}`);
    expect(await machine.runState()).toBe('paused');
    process.kill(machine.record.pid, 'SIGKILL');
    expect(await recorder.next('exited')).toMatchObject({ migrated: true, signal: 'SIGKILL' });
  });
});
