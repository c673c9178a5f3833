/** The demo's guests: made from the guest image that the set-up built, and broken through their serial console. */
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { VmError, type VirtualMachine, type VirtualServer } from '@vmpulse/client';
import { SystemClock } from '../clock.ts';

/** Names of the demo's machines. */
export const demoNames: readonly string[] = ['demo-1', 'demo-2', 'demo-3'];

/** What can be done to a demo guest, and what it is good for. */
export const breakages: Readonly<Record<string, string>> = {
  panic: 'its kernel panics',
  hang: 'all of its user space freezes',
  spin: 'every processor spins at real-time priority (told after 10 s)',
  poweroff: 'it shuts itself down in order: no stop is told',
  reboot: 'it reboots in order: no stop is told',
};

/** How long the guest's console has to answer: it does not when the guest is stopped already. */
const consoleTimeoutMs = 10_000;
/** Answers of the console that are kept while looking for the right one. */
const maxConsoleBytes = 65_536;

/** Makes the machines that are not there yet. Errors: E_FILE_NOT_FOUND when `image` is no guest image. */
export async function makeDemoGuests(server: VirtualServer, image: string): Promise<VirtualMachine[]> {
  const { cmdline, memoryMiB } = await readImage(image);
  const machines: VirtualMachine[] = [];
  for (const name of demoNames) {
    const boot = {
      kernel: join(image, 'vmlinuz'),
      initrd: join(image, 'initrd.img'),
      cmdline: `${cmdline} vmpulse.host=${name}`,
    };
    const known = await server.tryFindVirtualMachine(name);
    if (known !== undefined) await known.change({ boot });
    machines.push(
      known ??
        (await server.createVirtualMachine({ name, memoryMiB, boot, shutdownActionOnQuit: 'turnOff' })),
    );
  }
  return machines;
}

async function readImage(image: string): Promise<{ cmdline: string; memoryMiB: number }> {
  try {
    const description = JSON.parse(await readFile(join(image, 'image.json'), 'utf8')) as Record<
      string,
      unknown
    >;
    return { cmdline: String(description['cmdline']), memoryMiB: Number(description['minMemoryMiB'] ?? 128) };
  } catch (error) {
    throw new VmError(
      'E_FILE_NOT_FOUND',
      `There is no guest image in ${image}; build one with: sh images/build.sh`,
      {
        cause: error,
      },
    );
  }
}

/**
 * Breaks a guest in one of the ways of `breakages`. Resolves when the guest answered that it will.
 * Errors: VM_E_VM_NOT_RUNNING, VM_E_ADDITIONS_NOT_AVAIL when its console does not answer.
 */
export async function breakGuest(machine: VirtualMachine, how: string): Promise<void> {
  const { files, state } = await machine.refresh();
  if (state !== 'running')
    throw new VmError('VM_E_VM_NOT_RUNNING', `${machine.name} is ${state}; start it first.`);
  const silent = new VmError(
    'VM_E_ADDITIONS_NOT_AVAIL',
    `${machine.name} does not answer on its console; it may have stopped already. vmpulse status shows it.`,
  );
  await new Promise<void>((resolve, reject) => {
    const socket = connect(files.serialSocket);
    const timer = new SystemClock().setTimer(() => socket.destroy(silent), consoleTimeoutMs);
    let text = '';
    socket.on('connect', () => socket.write(`\n${how}\n`));
    socket.on('data', (chunk) => {
      text = (text + chunk.toString('latin1')).slice(-maxConsoleBytes);
      if (text.includes(`ok ${how}`)) socket.end();
    });
    socket.on('error', (error) => reject(error === silent ? silent : VmError.from(error)));
    socket.on('close', () => {
      timer.cancel();
      resolve();
    });
  });
}
