import { execFile } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Hypervisor, RunningMachine } from '../../packages/server/src/hypervisor/hypervisor.ts';
import { socketAddress } from '../../packages/server/src/socket-path.ts';
import { configurationOf, Recorder } from '../contract/hypervisor.ts';
import { QemuHost } from '../support/qemu-host.ts';

const signal = new AbortController().signal;

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

  until(pattern: RegExp): Promise<RegExpExecArray> {
    const match = pattern.exec(this.text);
    if (match !== null) return Promise.resolve(match);
    return new Promise((resolve) => {
      this.#waiting.push({ pattern, resolve });
    });
  }

  close(): void {
    this.#socket.destroy();
  }
}

describe('A Linux guest under QEMU', () => {
  let host: QemuHost;
  let hypervisor: Hypervisor;
  let image: string;
  let console: Console;
  const vmId = crypto.randomUUID();

  const start = async (restore: boolean): Promise<RunningMachine> => {
    const boot = {
      kernel: join(image, 'vmlinuz'),
      initrd: join(image, 'initrd.img'),
      cmdline: 'console=ttyS0 quiet',
    };
    const configuration = configurationOf({ memoryMiB: 128, cpus: 1, boot });
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
});
