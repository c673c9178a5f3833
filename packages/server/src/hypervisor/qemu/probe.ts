/**
 * Which accelerator really runs a guest here. /dev/kvm may exist, open and even make a machine, and still run none
 * (nested virtualization that is switched off, a seccomp filter), or emulate its instructions a thousand times slower
 * than a processor (kvm-pvm, no unrestricted guests). Only a guest that did some work in reasonable time proves it.
 */
import { spawn } from 'node:child_process';
import { access, constants, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../../clock.ts';
import { maxStderrBytes, probeTimeoutMs, probeWorkTimeoutMs } from '../../limits.ts';
import type { HypervisorInfo } from '../hypervisor.ts';
import { missing } from './process.ts';

/**
 * Under coreutils' timeout the guest ends by itself, also when the service was killed while it ran: nobody else would
 * end it then, and a guest that counts forever keeps a processor busy.
 */
const limited = ['timeout', '-k', '1', String(Math.ceil((probeTimeoutMs + probeWorkTimeoutMs) / 1_000))];

/** What the probe's guest writes to the debug-exit device, from which QEMU makes its exit status. */
const guestWord = 0x2a;
const guestExitStatus = guestWord * 2 + 1;
const debugExitPort = 0xf4;
/** Where it says first that it runs: QEMU copies what is written there to its output. */
const debugConsolePort = 0xe9;
const guestGreeting = 'V';
/** Loops the guest counts then: 20 ms for a processor, 0.2 s for tcg, a minute for an emulating kvm (measured). */
const guestLoops = 20_000_000;

/** What a probe found. */
export interface Probe extends HypervisorInfo {
  /** False for what may change while the service runs: it is worth another look. */
  readonly lasting: boolean;
}

/** Why kvm is not used; `tried` when a guest was run to know, null when kvm ran it. */
export interface KvmFinding {
  readonly reason: string | null;
  readonly tried: boolean;
}

/** The version of a QEMU, or why it cannot be told. Never rejects. */
export async function probeVersion(
  binary: string,
  clock: Clock,
): Promise<{ readonly version: string | null; readonly failure: string | null }> {
  const told = await run([binary, '--version'], clock);
  if (told.notStarted === null) return { version: parseVersion(told.output), failure: null };
  const missed = told.notStarted.code === 'ENOENT' ? missing(binary, told.notStarted) : told.notStarted;
  return { version: null, failure: missed.message };
}

/** Can the device be opened? Null when it can, else what to do. It costs nothing, and may change at any time. */
export async function whyNoDevice(kvmDevice: string): Promise<string | null> {
  try {
    await access(kvmDevice, constants.R_OK | constants.W_OK);
    return null;
  } catch (error) {
    return deviceError(kvmDevice, error as NodeJS.ErrnoException);
  }
}

/** Runs the probe's guest under kvm. Never rejects. */
export async function tryKvm(binary: string, clock: Clock): Promise<KvmFinding> {
  let folder: string | undefined;
  try {
    folder = await mkdtemp(join(tmpdir(), 'vmpulse-probe-'));
    const rom = join(folder, 'probe.rom');
    await writeFile(rom, probeRom());
    const ran = await run([...limited, binary, ...probeArguments(rom)], clock, guestGreeting);
    if (ran.notStarted !== null) return untried(ran.notStarted);
    return { reason: verdict(ran), tried: true };
  } catch (error) {
    return untried(error);
  } finally {
    if (folder !== undefined) await rm(folder, { recursive: true, force: true }).catch(() => undefined);
  }
}

function untried(error: unknown): KvmFinding {
  const words = error instanceof Error ? error.message : String(error);
  return { reason: `kvm could not be tried: ${words}`, tried: false };
}

/** `7.2.22` from QEMU's --version. */
export function parseVersion(text: string): string | null {
  return /^QEMU emulator version (\d+\.\d+(?:\.\d+)?)/m.exec(text)?.[1] ?? null;
}

function verdict(ran: Ran): string | null {
  if (ran.exitCode === guestExitStatus) return null;
  if (!ran.timedOut) {
    return `A test guest did not run under kvm: ${ran.output.trim().split('\n')[0] ?? 'QEMU ended'}`;
  }
  return ran.output.includes(guestGreeting)
    ? 'kvm runs a test guest here, but more slowly than tcg does: this host seems to emulate virtualization.'
    : `A test guest did not run under kvm within ${probeTimeoutMs / 1_000} s.`;
}

function deviceError(kvmDevice: string, error: NodeJS.ErrnoException): string {
  if (error.code === 'ENOENT') {
    return `There is no ${kvmDevice}: load kvm_intel or kvm_amd, and switch virtualization on in the firmware.`;
  }
  if (error.code === 'EACCES' || error.code === 'EPERM') {
    return `${kvmDevice} cannot be opened: permission denied; add the user to the group kvm.`;
  }
  return `${kvmDevice} cannot be opened: ${error.message}`;
}

function probeArguments(rom: string): string[] {
  const machine = ['-display', 'none', '-machine', 'pc,accel=kvm', '-m', '16', '-bios', rom];
  const exit = `isa-debug-exit,iobase=${debugExitPort},iosize=4`;
  const console = [
    '-chardev',
    'stdio,id=console',
    '-device',
    `isa-debugcon,iobase=${debugConsolePort},chardev=console`,
  ];
  return ['-nodefaults', '-no-user-config', ...machine, '-device', exit, ...console];
}

/** A firmware of 64 KiB: 16-bit code 256 bytes before its end, and a jump there from the reset vector, 16 before it. */
export function probeRom(loops: number = guestLoops): Buffer {
  const rom = Buffer.alloc(65_536, 0xf4);
  const [code, reset] = [rom.length - 256, rom.length - 16];
  const counter = Buffer.alloc(4);
  counter.writeUInt32LE(loops);
  const program = [
    [0xb0, guestGreeting.charCodeAt(0), 0xe6, debugConsolePort], // mov al, greeting; out port, al
    [0x66, 0xb9, ...counter], // mov ecx, loops
    [0x66, 0x49, 0x75, 0xfc], // dec ecx; jnz to the dec
    [0xb0, guestWord, 0xe6, debugExitPort], // mov al, word; out port, al
    [0xf4, 0xeb, 0xfd], // hlt; jmp to the hlt
  ].flat();
  rom.set(program, code);
  const jump = 3;
  rom[reset] = 0xe9;
  rom.writeInt16LE(code - (reset + jump), reset + 1);
  return rom;
}

interface Ran {
  readonly exitCode: number | null;
  readonly timedOut: boolean;
  readonly output: string;
  /** Set when there was no process. */
  readonly notStarted: NodeJS.ErrnoException | null;
}

/** Runs a program to its end, which comes at the probe's deadline at the latest, and sooner once it greeted. */
function run(commandLine: readonly string[], clock: Clock, greeting?: string): Promise<Ran> {
  return new Promise((resolve) => {
    const [program = '', ...parameters] = commandLine;
    // A process group of its own, so that what it starts is ended with it.
    const child = spawn(program, parameters, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    let output = '';
    let timedOut = false;
    const end = (): void => {
      timedOut = true;
      killGroup(child.pid);
    };
    let timer = clock.setTimer(end, probeTimeoutMs);
    const take = (chunk: Buffer): void => {
      const greeted = greeting !== undefined && output.includes(greeting);
      output = (output + chunk.toString('latin1')).slice(-maxStderrBytes);
      if (greeted || greeting === undefined || !output.includes(greeting)) return;
      timer.cancel();
      timer = clock.setTimer(end, probeWorkTimeoutMs);
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.once('error', (error) => {
      timer.cancel();
      resolve({ exitCode: null, timedOut, output, notStarted: error });
    });
    child.once('close', (exitCode) => {
      timer.cancel();
      resolve({ exitCode, timedOut, output, notStarted: null });
    });
  });
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}
