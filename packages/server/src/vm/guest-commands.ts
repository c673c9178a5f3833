/**
 * What an operator asks of a guest by its agent, machine by machine: a guest that is slow delays nobody but who asked.
 * Errors of all, as the original has them: VM_E_VM_UNKNOWN, VM_E_VM_NOT_RUNNING, VM_E_VM_PAUSED,
 * VM_E_ADDITIONS_NOT_AVAIL, VM_E_ADDITIONS_FEATURE_NOT_AVAIL, VM_E_TIMED_OUT, E_INVALIDARG, VM_E_OUT_OF_RESOURCE.
 */
import {
  guestBounds,
  type GuestExecutionResult,
  type GuestFreezeResult,
  type GuestOutput,
  type GuestParameter,
  isActive,
  VmError,
} from '@vmpulse/wire';
import type { Clock } from '../clock.ts';
import { maxAgentLineBytes, maxGuestPrograms } from '../limits.ts';
import type { GuestLink } from './guest-link.ts';
import { readParameter, writeParameters } from './guest-parameters.ts';
import { checkExecution, checkFreeze, checkParameterChange, checkParameterName } from './guest-request.ts';
import type { Machine } from './machine.ts';
import type { GuestService } from './machine-service.ts';

/** What the commands work with. */
export interface GuestCommandPorts {
  readonly clock: Clock;
  /** Errors: VM_E_VM_UNKNOWN, VM_E_APP_SHUTTING_DOWN. */
  readonly find: (vm: string) => Machine;
}

/** See the head of this file. */
export class GuestCommands implements GuestService {
  readonly #ports: GuestCommandPorts;
  /** Programs under way, by guest. */
  readonly #programs = new WeakMap<GuestLink, number>();

  constructor(ports: GuestCommandPorts) {
    this.#ports = ports;
  }

  async execute(vm: string, request: unknown): Promise<GuestExecutionResult> {
    const machine = this.#ports.find(vm);
    const { path, args, input, timeoutMs } = checkExecution(request);
    const link = linkOf(machine);
    const { agent } = link;
    if (link.lastFileSystems === 'frozen') {
      const detail = `The file systems of ${machine.name} are frozen, so its agent runs nothing; thaw them first.`;
      throw new VmError('VM_E_ADDITIONS_FEATURE_NOT_AVAIL', detail);
    }
    const running = this.#programs.get(link) ?? 0;
    if (running >= maxGuestPrograms) {
      const detail = `${running} programs are waited for in ${machine.name} already; wait for one of them.`;
      throw new VmError('VM_E_OUT_OF_RESOURCE', detail);
    }
    const { clock } = this.#ports;
    const beganMs = clock.monotonicMs();
    const options = { timeoutMs, maxOutputBytes: guestBounds.maxOutputBytes };
    this.#programs.set(link, running + 1);
    try {
      const ended = await agent.execute(
        path,
        args,
        input === undefined ? options : { ...options, input: Buffer.from(input) },
      );
      const { exitCode, signal, truncated } = ended;
      return {
        exitCode,
        signal,
        stdout: output(ended.stdout, truncated),
        stderr: output(ended.stderr, truncated),
        truncated,
        durationMs: clock.monotonicMs() - beganMs,
      };
    } catch (thrown) {
      throw programError(machine, path, VmError.from(thrown));
    } finally {
      this.#programs.set(link, (this.#programs.get(link) ?? 1) - 1);
    }
  }

  async parameter(vm: string, name: string): Promise<GuestParameter> {
    const machine = this.#ports.find(vm);
    checkParameterName(name);
    const value = await readParameter(linkOf(machine).agent, name);
    if (value !== null) return { name, value };
    const detail = `No parameter '${name}' is set in the guest of ${machine.name} since it booted; set it first.`;
    throw new VmError('E_INVALIDARG', detail, { field: '/name' });
  }

  async setParameter(vm: string, name: string, request: unknown): Promise<GuestParameter> {
    const machine = this.#ports.find(vm);
    checkParameterName(name);
    const { value } = checkParameterChange(request);
    await writeParameters(linkOf(machine).agent, new Map([[name, value]]));
    return { name, value };
  }

  async freeze(vm: string, request: unknown): Promise<GuestFreezeResult> {
    const machine = this.#ports.find(vm);
    const { timeoutMs } = checkFreeze(request);
    return { fileSystems: await linkOf(machine).freezer.freeze(timeoutMs) };
  }

  async thaw(vm: string): Promise<GuestFreezeResult> {
    return { fileSystems: await linkOf(this.#ports.find(vm)).freezer.thaw() };
  }
}

/** The link to the guest of a machine that runs. */
function linkOf(machine: Machine): GuestLink {
  const { state, name, phase, process } = machine;
  if (phase.kind === 'seeking') {
    const detail = `vmpulse has not found out yet whether ${name} runs; it keeps trying, so ask again.`;
    throw new VmError('VMPULSE_E_HYPERVISOR', detail);
  }
  if (state === 'paused') throw new VmError('VM_E_VM_PAUSED', `${name} is paused; resume it first.`);
  if (state !== 'running' || process === null) {
    const advice = isActive(state) ? 'wait until it runs.' : 'start it first.';
    throw new VmError('VM_E_VM_NOT_RUNNING', `${name} is ${state}; ${advice}`);
  }
  return process.link;
}

/** What the agent says went wrong, in the words of whoever asked for the program. */
function programError(machine: Machine, path: string, error: VmError): VmError {
  if (error.code === 'E_BUFFER_OVERFLOW') {
    const bound = Math.round((maxAgentLineBytes * 3) / 4 / 1024);
    const detail = `${path} wrote more than the ${bound} KiB that vmpulse takes; its end is not known.`;
    return new VmError(error.code, `${detail} Let it write into a file of the guest.`, { cause: error });
  }
  if (error.code !== 'E_FAIL' || !/No such file or directory/.test(error.message)) return error;
  const detail = `There is no program '${path}' in the guest of ${machine.name}; give its whole path.`;
  return new VmError('E_FILE_NOT_FOUND', detail, { field: '/path', cause: error });
}

const strictText = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const lossyText = new TextDecoder('utf-8', { ignoreBOM: true });

/** One stream. A character that the cut at the bound went through is left out. */
function output(bytes: Uint8Array, truncated: boolean): GuestOutput {
  const whole = truncated && bytes.length === guestBounds.maxOutputBytes ? wholeCharacters(bytes) : bytes;
  try {
    return { text: strictText.decode(whole), base64: null };
  } catch {
    return { text: lossyText.decode(bytes), base64: Buffer.from(bytes).toString('base64') };
  }
}

function wholeCharacters(bytes: Uint8Array): Uint8Array {
  for (let back = 1; back <= Math.min(4, bytes.length); back += 1) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? bytes.subarray(0, bytes.length - back) : bytes;
  }
  return bytes;
}
